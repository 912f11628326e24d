//! The course of a listing over its pages.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::page::PageError;
use crate::model::Timestamp;

/// How many pages in a row may bring no key that is greater than all before. There are such pages: a server counts what
/// it had to pass, deleted versions for instance, and answers with what it found there, which may be nothing.
const BARREN: usize = 5_000;

/// How many pages are remembered where keys may come in any order.
const REMEMBERED: usize = 1_000_000;

/// For how long, at the most.
const BARREN_FOR: Duration = Duration::from_secs(3 * 60);

tokio::task_local! {
    /// The course of the listing that is being polled: each one its own, however many are under way.
    pub(super) static COURSE: Arc<Mutex<Course>>;

    /// Set where a listing is begun whose keys may come in any order.
    pub(in super::super) static ANY_ORDER: ();
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
    /// When the first one of them was asked for.
    barren_since: Option<Instant>,
    /// The bucket that the pages name, if they do.
    name: Option<String>,
    /// Whether keys may come in any order.
    any_order: bool,
    /// The pages so far where keys may come in any order, by what they begin and end with.
    pages: HashSet<u64>,
    hasher: RandomState,
    /// How many pages showed none of their keys, and the keys of the last one whose number is a power of two: every circle
    /// comes back to one of these.
    unshown: (u64, Extent),
    /// The moment of the last page by the server's clock, if it said so: as of then the keys are listed.
    pub(super) told_at: Option<Timestamp>,
}

/// What is known of one page.
#[derive(Debug)]
pub(super) struct PageFacts {
    /// Its keys.
    pub(super) extent: Extent,
    /// Whether anything of it is shown as an object or folder.
    pub(super) shown: bool,
    /// The bucket that it names.
    pub(super) name: Option<String>,
    /// Its moment by the server's clock.
    pub(super) date: Option<Timestamp>,
    /// When it was asked for.
    pub(super) asked_at: Instant,
    /// When it was there.
    pub(super) came_at: Instant,
}

/// Reads the moment in a `Date` header.
pub(super) fn moment(date: &str) -> Option<Timestamp> {
    let moment = DateTime::parse_from_rfc2822(date.trim()).ok()?;
    Some(Timestamp::from(moment.with_timezone(&Utc)))
}

/// The least and the greatest key of a page, be it an object's, a marker's or a folder's.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
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
        let any_order = ANY_ORDER.try_with(|()| ()).is_ok();
        Arc::new(Mutex::new(Self { any_order, ..Self::default() }))
    }

    /// Goes on by a page.
    ///
    /// # Errors
    /// When nothing has come for so long that the listing will never end, when the page is of another bucket, and when it
    /// goes back, unless it shows that itself: it may have come in the place of another one.
    pub(super) fn go_on(&mut self, page: PageFacts) -> Result<(), PageError> {
        let PageFacts { extent, shown, name, date, asked_at, came_at } = page;
        self.told_at = date;
        match (&self.name, name) {
            (Some(before), Some(said)) if *before != said => {
                return Err(PageError::Name { said, before: before.clone() });
            }
            (None, Some(said)) => self.name = Some(said),
            _ => {}
        }
        if self.any_order {
            return self.go_on_in_any_order(extent, shown, asked_at, came_at);
        }
        let Extent { least, greatest } = extent;
        if let Some(least) = least.filter(|least| !shown && *least <= self.greatest) {
            return Err(PageError::WentBack(least));
        }
        if let Some(key) = greatest.filter(|key| *key > self.greatest) {
            (self.greatest, self.barren, self.barren_since) = (key, 0, None);
            return Ok(());
        }
        self.bear(asked_at, came_at)
    }

    /// Counts a page that brings nothing new, asked for and come at these moments.
    fn bear(&mut self, asked_at: Instant, came_at: Instant) -> Result<(), PageError> {
        self.barren += 1;
        // What comes between two pages that bring something is the time of those who take it.
        let since = *self.barren_since.get_or_insert(asked_at);
        if self.barren > BARREN {
            return Err(PageError::Barren(BARREN));
        }
        if came_at.saturating_duration_since(since) > BARREN_FOR {
            return Err(PageError::Stalled(BARREN_FOR.as_secs() / 60));
        }
        Ok(())
    }

    /// Goes on where keys may come in any order. Objects that come again are noticed where they are sorted, so only pages
    /// that show none are judged.
    fn go_on_in_any_order(
        &mut self,
        extent: Extent,
        shown: bool,
        asked_at: Instant,
        came_at: Instant,
    ) -> Result<(), PageError> {
        if !shown && extent.least.is_none() {
            return self.bear(asked_at, came_at);
        }
        if self.pages.len() >= REMEMBERED {
            self.pages.clear();
        }
        // No two pages of a listing begin and end with the same keys.
        if self.pages.insert(self.hasher.hash_one(&extent)) {
            (self.barren, self.barren_since) = (0, None);
        } else {
            self.bear(asked_at, came_at)?;
        }
        let (count, remembered) = &mut self.unshown;
        if !shown && extent == *remembered {
            return Err(PageError::SamePlace);
        }
        if !shown {
            *count += 1;
            if count.is_power_of_two() {
                *remembered = extent;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that says no more than its keys, and comes at once.
    fn page(extent: Extent, shown: bool) -> PageFacts {
        let now = Instant::now();
        PageFacts { extent, shown, name: None, date: None, asked_at: now, came_at: now }
    }

    impl Course {
        fn take(&mut self, extent: Extent, shown: bool) -> Result<(), PageError> {
            self.go_on(page(extent, shown))
        }
    }

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
            assert!(course.take(key(n / 2), true).is_ok(), "{n}");
        }
        for _ in 1..BARREN {
            assert!(course.take(Extent::default(), false).is_ok());
        }
        assert!(course.take(extent("z"), true).is_ok());
        for _ in 0..BARREN {
            assert!(course.take(key(7), true).is_ok());
        }
        assert_eq!(course.take(key(7), true), Err(PageError::Barren(BARREN)));
    }

    #[test]
    fn in_any_order_only_the_same_pages_again_are_a_circle() {
        let of = |keys: &[String]| {
            let mut extent = Extent::default();
            keys.iter().for_each(|key| extent.take(key));
            extent
        };
        let course = || Course { any_order: true, ..Course::default() };
        // Pages that go back go on; those that come again are borne for as long as pages without keys.
        let mut goes_on = course();
        for n in (0..3 * BARREN).rev() {
            assert_eq!(goes_on.take(of(&[format!("{n:06}")]), n % 2 == 0), Ok(()), "{n}");
            assert_eq!(goes_on.take(of(&["same".to_owned()]), true), Ok(()));
        }
        let ended =
            (0..2 * BARREN).map(|_| goes_on.take(of(&["same".to_owned()]), true)).position(|went| went.is_err());
        assert_eq!(ended, Some(BARREN - 1));
        let (mut slow, start) = (course(), Instant::now());
        for (seconds, goes_on) in [(0, true), (1, true), (180, true), (182, false)] {
            let came_at = start + Duration::from_secs(seconds);
            let facts = PageFacts { asked_at: came_at, came_at, ..page(of(&["same".to_owned()]), true) };
            assert_eq!(slow.go_on(facts).is_ok(), goes_on, "{seconds} s");
        }
        for length in [1, 2, 7, 1_000] {
            let mut circles = course();
            let pages = (0..10_000).map(|n| format!("marker {}/", n % length));
            let ended = pages.map(|key| circles.take(of(&[key]), false)).find(Result::is_err);
            assert_eq!(ended, Some(Err(PageError::SamePlace)), "a circle of {length} pages");
        }
        let mut barren = course();
        let ended = (0..2 * BARREN).map(|_| barren.take(Extent::default(), false)).position(|went| went.is_err());
        assert_eq!(ended, Some(BARREN));
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
            assert_eq!(course.take(of(keys), shown).is_ok(), is_good, "{keys:?}");
        }
    }

    #[test]
    fn pages_without_a_greater_key_are_borne_for_three_minutes() {
        let of = |key: &str| Extent { least: Some(key.to_owned()), greatest: Some(key.to_owned()) };
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut course = Course::default();
        // Asked for so many seconds after the beginning, and there a second later.
        let mut go_on = |extent, seconds: u32| {
            let asked_at = begun + second * seconds;
            course.go_on(PageFacts { asked_at, came_at: asked_at + second, ..page(extent, true) })
        };
        assert!(go_on(Extent::default(), 0).is_ok());
        assert!(go_on(Extent::default(), 179).is_ok());
        // A new key ends the waiting, and the time until the next page is not the server's.
        assert!(go_on(of("a"), 300).is_ok());
        assert!(go_on(Extent::default(), 1_000).is_ok());
        assert!(go_on(of("a"), 1_179).is_ok());
        assert_eq!(go_on(of("a"), 1_180), Err(PageError::Stalled(3)));
    }

    #[test]
    fn the_pages_of_a_listing_name_one_bucket() {
        let mut course = Course::default();
        let mut go_on = |name: Option<&str>| {
            course.go_on(PageFacts { name: name.map(str::to_owned), ..page(Extent::default(), false) })
        };
        for name in [None, Some("b"), None, Some("b")] {
            assert_eq!(go_on(name), Ok(()));
        }
        assert_eq!(go_on(Some("c")), Err(PageError::Name { said: "c".into(), before: "b".into() }));
    }

    #[test]
    fn the_moment_of_the_last_page_is_known() {
        let known = Timestamp::from_unix(784_111_777, 0);
        for (date, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(known)),
            (" 06 Nov 1994 09:49:37 +0100 ", Some(known)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("784111777", None),
            ("", None),
        ] {
            assert_eq!(moment(date), want, "{date:?}");
            let mut course = Course::default();
            course.go_on(PageFacts { date: moment(date), ..page(Extent::default(), false) }).unwrap();
            assert_eq!(course.told_at, want);
        }
    }
}
