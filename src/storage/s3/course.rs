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

/// The least and the greatest key of a page, be it an object's, a marker's or a folder's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) least: Option<String>,
    pub(super) greatest: Option<String>,
}

impl Extent {
    /// Takes in another key.
    pub(super) fn take(&mut self, key: &str) {
        if self.least.as_deref().is_none_or(|least| key < least) {
            self.least = Some(key.to_owned());
        }
        if self.greatest.as_deref().is_none_or(|greatest| key > greatest) {
            self.greatest = Some(key.to_owned());
        }
    }
}

impl Course {
    /// Begins a listing.
    pub(super) fn shared() -> Arc<Mutex<Self>> {
        Arc::default()
    }

    /// Goes on by a page that has the keys of `extent`, if it has any, and of which something is `shown`.
    ///
    /// # Errors
    /// When nothing has come for so long that the listing will never end, and when the page goes back, unless it shows that
    /// itself: it may have come in the place of another one.
    pub(super) fn go_on(&mut self, extent: Extent, shown: bool) -> Result<(), PageError> {
        let Extent { least, greatest } = extent;
        if let Some(least) = least.filter(|least| !shown && *least <= self.greatest) {
            return Err(PageError::WentBack(least));
        }
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
        let extent = |key: &str| {
            let mut extent = Extent::default();
            extent.take(key);
            extent
        };
        let key = |n: usize| extent(&format!("k{n:05}"));
        for n in 0..3 * BARREN {
            assert!(course.go_on(key(n / 2), true).is_ok(), "{n}");
        }
        for _ in 1..BARREN {
            assert!(course.go_on(Extent::default(), false).is_ok());
        }
        assert!(course.go_on(extent("z"), true).is_ok());
        for _ in 0..BARREN {
            assert!(course.go_on(key(7), true).is_ok());
        }
        assert_eq!(course.go_on(key(7), true), Err(PageError::Barren(BARREN)));
    }
    #[test]
    fn a_page_that_shows_nothing_may_not_go_back() {
        let mut course = Course::default();
        let of = |keys: &[&str]| {
            let mut extent = Extent::default();
            keys.iter().for_each(|key| extent.take(key));
            extent
        };
        assert_eq!(of(&["b", "a", "c"]), Extent { least: Some("a".into()), greatest: Some("c".into()) });
        for (keys, shown, is_good) in [
            (&["c", "d"][..], true, true),
            (&["e", "f"], false, true),
            (&[], false, true),
            (&["f", "g"], true, true),
            (&["g"], false, false),
            (&["a", "z"], false, false),
            (&["h"], false, true),
        ] {
            assert_eq!(course.go_on(of(keys), shown).is_ok(), is_good, "{keys:?}");
        }
    }
}
