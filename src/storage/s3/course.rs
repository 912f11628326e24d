//! The course of a listing over its pages.

use std::sync::{Arc, Mutex};

use super::page::PageError;

/// How many pages in a row may bring no key that is greater than all before. There are such pages: a server counts what
/// it had to pass, deleted versions for instance, and answers with what it found there, which may be nothing.
const BARREN: usize = 5_000;

tokio::task_local! {
    /// The course of the listing that is being polled: each one its own, however many are under way.
    pub(super) static COURSE: Arc<Mutex<Course>>;
}

/// What is known of a listing across its pages.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Keys that no path can hold, until the listing that met them picks them up.
    pub(super) odd: Vec<String>,
    /// The greatest key of all pages, be it an object's, a marker's or a folder's.
    greatest: String,
    /// How many pages in a row brought none that is greater.
    barren: usize,
}

impl Course {
    /// Begins a listing.
    pub(super) fn shared() -> Arc<Mutex<Self>> {
        Arc::default()
    }

    /// Goes on by a page whose greatest key is `greatest`, if it has any.
    ///
    /// # Errors
    /// When nothing has come for so long that the listing will never end.
    pub(super) fn go_on(&mut self, greatest: Option<String>) -> Result<(), PageError> {
        match greatest.filter(|key| *key > self.greatest) {
            Some(key) => (self.greatest, self.barren) = (key, 0),
            None => self.barren += 1,
        }
        if self.barren > BARREN { Err(PageError::Barren(BARREN)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_without_a_greater_key_are_borne_for_a_while() {
        let mut course = Course::default();
        let key = |n: usize| Some(format!("k{n:05}"));
        for n in 0..3 * BARREN {
            assert!(course.go_on(key(n / 2)).is_ok(), "{n}");
        }
        for _ in 1..BARREN {
            assert!(course.go_on(None).is_ok());
        }
        assert!(course.go_on(Some("z".into())).is_ok());
        for _ in 0..BARREN {
            assert!(course.go_on(key(7)).is_ok());
        }
        assert_eq!(course.go_on(key(7)), Err(PageError::Barren(BARREN)));
    }
}
