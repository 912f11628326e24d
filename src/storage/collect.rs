//! A listing in any order -> the same listing in byte order: all of it is collected, sorted on disk with flat memory, and
//! told from its beginning.
//!
//! What could not be known before the end is told first: that it broke off, that keys came more than once. A listing
//! without an order cannot be taken up behind its last key, so one that breaks off starts again from its beginning, once.

use std::cmp::Ordering;
use std::io;

use futures::{StreamExt as _, stream};
use object_store::Error;

use super::doubt::Doubt;
use super::listed::{Items, Listed, SeenMount};
use super::sort::{Sortable, Sorted, Sorter, read_text, write_text};
use super::trouble::{Trouble, trouble_of};
use crate::model::{BadEntry, BadReason, Hides, ObjectFacts, Order, Timestamp};

/// How many bytes of a listing are sorted in memory.
const ROOM: usize = 16 << 20;

/// How many items are taken at a time.
const CHUNK: usize = 4096;

/// Starts a listing from its beginning.
pub(super) type Start = Box<dyn Fn() -> Items + Send>;

/// Tells in byte order what the listing of `start` says in any order.
pub(super) fn in_byte_order(start: Start) -> Items {
    sorted_in(ROOM, start)
}

fn sorted_in(room: usize, start: Start) -> Items {
    let collected = async move {
        let (pass, end) = match Pass::read(start(), room).await {
            (Pass { last: Some(last), .. }, End::BrokenOff(error)) => {
                tracing::warn!(
                    after = last,
                    why = trouble_of(&error).message,
                    "the listing broke off and starts again"
                );
                Pass::read(start(), room).await
            }
            first => first,
        };
        pass.tell(end).await.unwrap_or_else(|error| stream::iter([Err(error)]).boxed())
    };
    stream::once(collected).flatten().boxed()
}

/// One way through a listing.
struct Pass {
    sorter: Sorter<Entry>,
    evidence: Evidence,
    as_of: Option<Timestamp>,
    mounts: Vec<SeenMount>,
    /// The key that came last.
    last: Option<String>,
}

/// How a way through a listing ended.
enum End {
    Complete,
    BrokenOff(Error),
    /// More keys came again than there are.
    Circle,
}

impl Pass {
    async fn read(items: Items, room: usize) -> (Self, End) {
        let sorter = Sorter::new(room);
        let mut pass = Self { sorter, evidence: Evidence::default(), as_of: None, mounts: Vec::new(), last: None };
        let mut chunks = items.ready_chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            for item in chunk {
                let is_full = match item {
                    Ok(item) => pass.take(item),
                    Err(error) => return (pass, End::BrokenOff(error)),
                };
                if !is_full {
                    continue;
                }
                let mut sorter = std::mem::replace(&mut pass.sorter, Sorter::new(room));
                let spilled = blocking(move || Ok((sorter.spill()?, sorter))).await;
                match spilled {
                    Ok((true, sorter)) => {
                        pass.sorter = sorter;
                        return (pass, End::Circle);
                    }
                    Ok((false, sorter)) => pass.sorter = sorter,
                    Err(error) => {
                        // Another try would need as much room.
                        pass.last = None;
                        return (pass, End::BrokenOff(error));
                    }
                }
            }
        }
        (pass, End::Complete)
    }

    /// Takes an item. Tells whether there is no room for another one.
    fn take(&mut self, item: Listed) -> bool {
        match item {
            Listed::Object(object) => {
                self.evidence.see(&object.key);
                self.last = Some(object.key.clone());
                self.sorter.push(Entry::Object(object))
            }
            Listed::Bad(entry) => {
                self.last = Some(entry.shown.clone());
                self.sorter.push(Entry::Bad(entry))
            }
            Listed::Mount(mount) => {
                self.mounts.push(mount);
                false
            }
            Listed::AsOf(moment) => {
                self.as_of = Some(self.as_of.map_or(moment, |earliest| earliest.min(moment)));
                false
            }
            Listed::Order(_) | Listed::Doubt(_) => false,
        }
    }

    /// Tells what was collected, with what can be known at the end before everything else.
    async fn tell(self, end: End) -> Result<Items, Error> {
        let Self { sorter, evidence, as_of, mounts, last } = self;
        let mut sorted: Sorted<Entry> = blocking(move || sorter.finish()).await?;
        let repeats = std::mem::take(&mut sorted.repeats);
        let is_whole = matches!(end, End::Complete);
        let order = evidence.order(is_whole, repeats.count);
        let doubt = match (end, repeats.example) {
            (End::BrokenOff(error), _) if last.is_none() => return Err(error),
            (End::BrokenOff(error), _) => Some(Doubt::BrokenOff { trouble: trouble_of(&error), last }),
            (End::Circle, _) => {
                let message = "it goes round in a circle: most of its keys came again".to_owned();
                let trouble = Trouble { code: "listing_out_of_order", message };
                Some(Doubt::BrokenOff { trouble, last })
            }
            (End::Complete, Some(entry)) => {
                Some(Doubt::Repeated { key: entry.shown().to_owned(), count: repeats.count })
            }
            (End::Complete, None) => None,
        };
        let first = [doubt.map(Listed::Doubt), order.map(Listed::Order), as_of.map(Listed::AsOf)];
        let first = first.into_iter().flatten().chain(mounts.into_iter().map(Listed::Mount)).map(Ok);
        let rest = sorted.map(|entry| entry.map(Listed::from).map_err(no_room));
        Ok(stream::iter(first.chain(rest)).boxed())
    }
}

/// Does what keeps the disk busy aside from the threads that serve others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|done| done).map_err(no_room)
}

/// Trouble with temporary files says nothing of the storage.
fn no_room(error: io::Error) -> Error {
    let why = format!("the listing is sorted on disk, and temporary files fail (TMPDIR): {error}");
    Error::Generic { store: "sorting", source: why.into() }
}

/// What a listing shows of the order in which the storage lists.
#[derive(Debug, Default)]
struct Evidence {
    /// The greatest key so far.
    greatest: String,
    /// How many keys came after a greater or equal one.
    late: u64,
    /// Whether two keys in a row are in byte order, and would not be in the order of their segments.
    tells: bool,
}

impl Evidence {
    fn see(&mut self, key: &str) {
        if key <= self.greatest.as_str() {
            self.late += 1;
            return;
        }
        self.tells |= tells(&self.greatest, key);
        key.clone_into(&mut self.greatest);
    }

    /// Returns the order that a listing with so many repetitions has shown.
    fn order(&self, is_whole: bool, repeats: u64) -> Option<Order> {
        match self.late {
            // A repetition comes late wherever it stands; a new key does so only where there is no order.
            late if late > repeats => Some(Order::None),
            0 if is_whole && repeats == 0 && self.tells => Some(Order::Bytes),
            _ => None,
        }
    }
}

/// Tells whether `less`, which comes before `greater` by its bytes, would come behind it where folders are listed one by
/// one: `a-b` and `a/b`.
fn tells(less: &str, greater: &str) -> bool {
    let differing = less.bytes().zip(greater.bytes()).find(|(a, b)| a != b);
    differing.is_some_and(|(a, b)| a < b'/' && b == b'/')
}

/// An object or a bad entry, at its place in the listing.
#[derive(Debug)]
enum Entry {
    Object(ObjectFacts),
    Bad(BadEntry),
}

impl Entry {
    fn shown(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::Bad(entry) => &entry.shown,
        }
    }

    /// Returns where it stands: a bad entry before all that it could hide.
    fn place(&self) -> (&str, bool, &str, &str) {
        match self {
            Self::Object(object) => (&object.key, true, "", ""),
            Self::Bad(entry) => {
                (entry.hides.first_key().unwrap_or(&entry.shown), false, &entry.shown, entry.reason.code())
            }
        }
    }
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Object(object) => Self::Object(object),
            Entry::Bad(entry) => Self::Bad(entry),
        }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Sortable for Entry {
    fn weight(&self) -> usize {
        match self {
            Self::Object(object) => object.key.len() + object.etag.as_ref().map_or(0, String::len),
            Self::Bad(entry) => 2 * entry.shown.len(),
        }
    }

    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Self::Object(object) => {
                // What only a local disk knows, which needs no sorting, is left out.
                let ObjectFacts { key, size, last_modified, etag, file_id: _, device: _, linked: _ } = object;
                out.write_all(if etag.is_some() { b"e" } else { b"o" })?;
                write_text(out, key.as_bytes())?;
                out.write_all(&size.to_le_bytes())?;
                out.write_all(&last_modified.micros().to_le_bytes())?;
                etag.as_ref().map_or(Ok(()), |etag| write_text(out, etag.as_bytes()))
            }
            Self::Bad(BadEntry { shown, reason, hides }) => {
                let kind = match hides {
                    Hides::Nothing => b"n",
                    Hides::Key(_) => b"k",
                    Hides::Tree(_) => b"t",
                };
                out.write_all(kind)?;
                write_text(out, shown.as_bytes())?;
                write_text(out, hides.first_key().unwrap_or_default().as_bytes())?;
                write_text(out, &serde_json::to_vec(reason)?)
            }
        }
    }

    fn read(from: &mut impl io::Read) -> io::Result<Self> {
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        let first = read_string(from)?;
        if matches!(kind, [b'o' | b'e']) {
            let size = u64::from_le_bytes(read_number(from)?);
            let last_modified = Timestamp::from_micros(i64::from_le_bytes(read_number(from)?));
            let etag = if kind == [b'e'] { Some(read_string(from)?) } else { None };
            let object =
                ObjectFacts { key: first, size, last_modified, etag, file_id: None, device: None, linked: false };
            return Ok(Self::Object(object));
        }
        let key = read_string(from)?;
        let hides = match kind {
            [b'k'] => Hides::Key(key),
            [b't'] => Hides::Tree(key),
            _ => Hides::Nothing,
        };
        let reason: BadReason = serde_json::from_slice(&read_text(from)?)?;
        Ok(Self::Bad(BadEntry { shown: first, reason, hides }))
    }
}

fn read_string(from: &mut impl io::Read) -> io::Result<String> {
    String::from_utf8(read_text(from)?).map_err(io::Error::other)
}

fn read_number(from: &mut impl io::Read) -> io::Result<[u8; 8]> {
    let mut number = [0; 8];
    from.read_exact(&mut number)?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::listed::Item;
    use super::super::listing::{Listing, Step};
    use super::*;

    fn object(key: &str) -> Item {
        Ok(Listed::Object(ObjectFacts {
            key: key.to_owned(),
            size: key.len() as u64,
            last_modified: Timestamp::from_micros(7),
            etag: key.len().is_multiple_of(2).then(|| format!("tag of {key}")),
            file_id: None,
            device: None,
            linked: false,
        }))
    }

    fn bad(key: &str, hides: Hides) -> Item {
        let reason = BadReason::Unreadable(format!("why {key}"));
        Ok(Listed::Bad(BadEntry { shown: key.to_owned(), reason, hides }))
    }

    fn broken() -> Item {
        Err(Error::Generic { store: "test", source: "the wire was cut".into() })
    }

    /// What the listing of several attempts comes to.
    struct Told {
        objects: Vec<ObjectFacts>,
        bad: Vec<BadEntry>,
        late: Vec<String>,
        as_of: Option<Timestamp>,
        doubt: Option<Doubt>,
        learned: Option<Order>,
    }

    async fn told(room: usize, attempts: Vec<Vec<Item>>) -> Told {
        let attempts = Mutex::new(attempts.into_iter());
        let start = move || {
            let items = attempts.lock().unwrap().next().expect("no further attempt was expected");
            stream::iter(items).boxed()
        };
        let mut listing = Listing::new(sorted_in(room, Box::new(start)), None, std::sync::Arc::default());
        let mut told = Told { objects: vec![], bad: vec![], late: vec![], as_of: None, doubt: None, learned: None };
        let mut is_first = true;
        loop {
            match listing.next().await {
                Step::Batch(batch) => {
                    told.objects.extend(batch.objects);
                    told.bad.extend(batch.bad);
                    told.as_of = told.as_of.or(batch.as_of);
                    assert!(is_first || batch.late.is_empty(), "a doubt that comes late");
                    told.late.extend(batch.late.into_iter().map(|span| span.from));
                    is_first = false;
                }
                Step::Complete => break,
                Step::Incomplete(doubt) => {
                    told.doubt = Some(doubt);
                    break;
                }
            }
        }
        told.learned = listing.learned();
        told
    }

    fn keys(told: &Told) -> Vec<&str> {
        told.objects.iter().map(|object| object.key.as_str()).collect()
    }

    #[tokio::test]
    async fn everything_that_a_listing_says_is_told_in_byte_order() {
        for room in [1, 500, ROOM] {
            let items = vec![
                Ok(Listed::AsOf(Timestamp::from_micros(5))),
                object("photos/b"),
                bad("x//y", Hides::Key("x//y".into())),
                Ok(Listed::AsOf(Timestamp::from_micros(3))),
                object("photos/a"),
                object("photos-old/c"),
                bad("photos", Hides::Tree("photos".into())),
                bad("\u{fffd}", Hides::Nothing),
                object("photos"),
                object("é"),
            ];
            let told = told(room, vec![items]).await;
            assert_eq!(keys(&told), ["photos", "photos-old/c", "photos/a", "photos/b", "é"]);
            let want = told.objects.iter().map(|o| object(&o.key)).map(|item| match item {
                Ok(Listed::Object(object)) => object,
                _ => unreachable!(),
            });
            assert_eq!(told.objects, want.collect::<Vec<_>>());
            let hidden: Vec<_> = told.bad.iter().map(|b| (b.shown.as_str(), b.hides.clone())).collect();
            assert_eq!(
                hidden,
                [
                    ("photos", Hides::Tree("photos".into())),
                    ("x//y", Hides::Key("x//y".into())),
                    ("\u{fffd}", Hides::Nothing)
                ]
            );
            assert_eq!(told.bad[1].reason, BadReason::Unreadable("why x//y".into()));
            assert_eq!(told.as_of, Some(Timestamp::from_micros(3)));
            assert_eq!((told.doubt, told.learned), (None, Some(Order::None)));
            assert!(told.late.is_empty());
        }
    }

    #[tokio::test]
    async fn a_bad_entry_stands_before_what_it_could_hide() {
        let items = vec![object("a"), object("a/1"), bad("a", Hides::Tree("a".into()))];
        let mut listed = sorted_in(
            1,
            Box::new({
                let items = Mutex::new(Some(items));
                move || stream::iter(items.lock().unwrap().take().unwrap()).boxed()
            }),
        );
        assert!(matches!(listed.next().await, Some(Ok(Listed::Bad(_)))));
        assert!(matches!(listed.next().await, Some(Ok(Listed::Object(_)))));
    }

    #[tokio::test]
    async fn the_order_is_learned_from_a_pair_that_tells_or_from_a_break() {
        for (keys, want) in [
            (&["a", "b", "c/d"][..], None),
            (&["a-b", "a/b"], Some(Order::Bytes)),
            (&["a/b", "a-b"], Some(Order::None)),
            (&["a b", "a.b", "a0"], None),
            (&["x", "x.d/y", "x/y"], Some(Order::Bytes)),
            (&["b", "a"], Some(Order::None)),
            // A repetition is no break, and a listing with one proves nothing.
            (&["a-b", "a/b", "a-b", "a/b"], None),
            (&["a-b", "a/b", "a/b"], None),
            (&["a-b", "a/b", "a-b", "a.b"], Some(Order::None)),
        ] {
            let told = told(ROOM, vec![keys.iter().copied().map(object).collect()]).await;
            assert_eq!(told.learned, want, "{keys:?}");
        }
        // What broke off shows no order, unless it was broken.
        for (keys, want) in [(["a-b", "a/b"], None), (["a/b", "a-b"], Some(Order::None))] {
            let items = || keys.iter().copied().map(object).chain([broken()]).collect();
            assert_eq!(told(ROOM, vec![items(), items()]).await.learned, want);
        }
    }

    #[tokio::test]
    async fn law_06_repetitions_put_the_whole_listing_in_doubt() {
        for room in [1, 500, ROOM] {
            let items = ["b", "c", "a", "b", "d", "c"].into_iter().map(object).collect();
            let told = told(room, vec![items]).await;
            assert_eq!(keys(&told), ["a", "b", "c", "d"]);
            assert_eq!(told.late, [""]);
            let Some(Doubt::Repeated { key, count: 2 }) = told.doubt else { panic!("{:?}", told.doubt) };
            assert!(["b", "c"].contains(&key.as_str()));
        }
        let odd = || bad("x//y", Hides::Key("x//y".into()));
        let told = told(ROOM, vec![vec![odd(), object("a"), odd()]]).await;
        assert_eq!((told.bad.len(), told.late.len()), (1, 1));
    }

    #[tokio::test]
    async fn law_06_a_listing_that_breaks_off_starts_again_once() {
        let cut = |count| ["c", "a", "b"].into_iter().take(count).map(object).chain([broken()]).collect();
        let whole = || ["c", "a", "b"].into_iter().map(object).collect();
        let once = told(ROOM, vec![cut(2), whole()]).await;
        assert_eq!((keys(&once), &once.doubt, once.late.len()), (vec!["a", "b", "c"], &None, 0));
        let twice = told(ROOM, vec![cut(1), cut(2)]).await;
        assert_eq!((keys(&twice), twice.late.as_slice()), (vec!["a", "c"], &[String::new()][..]));
        let Some(Doubt::BrokenOff { last: Some(last), .. }) = &twice.doubt else { panic!("{:?}", twice.doubt) };
        assert_eq!(last, "a", "the key that came last");
        // Where nothing was listed, nothing starts again, and nothing is told.
        for attempts in [vec![cut(0)], vec![cut(1), cut(0)]] {
            let told = told(ROOM, attempts).await;
            assert!(told.objects.is_empty());
            assert!(matches!(told.doubt, Some(Doubt::BrokenOff { last: None, .. })), "{:?}", told.doubt);
        }
    }

    #[tokio::test]
    async fn law_06_a_listing_without_an_end_is_ended() {
        let endless = || {
            let keys = (0..).map(|n| object(&format!("k{}", n * 7 % 300)));
            stream::iter(keys).boxed()
        };
        let mut listing = Listing::new(sorted_in(10_000, Box::new(endless)), None, std::sync::Arc::default());
        let mut count = 0;
        let doubt = loop {
            match listing.next().await {
                Step::Batch(batch) => count += batch.objects.len(),
                Step::Complete => panic!("it has no end"),
                Step::Incomplete(doubt) => break doubt,
            }
        };
        assert_eq!((count, doubt.code()), (300, "listing_out_of_order"));
        assert!(doubt.to_string().contains("round in a circle"), "{doubt}");
    }
}
