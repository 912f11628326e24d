//! A listing in byte order -> key-ordered batches of object facts, and at the end one word: complete, or in doubt.
//!
//! A failed listing looks like a short one, so "no more items" is never taken for the end by itself: one that broke off is
//! taken up again once behind its last key, and an error that stays is remembered. A key that comes late is left out, and
//! the span that it went back over is told, because a merge would have lied there; so is what lies between it and the next
//! new key, because a page that comes again may have come in the place of another.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;

use super::doubt::{Doubt, Span};
use super::listed::{Item, Items, Listed, SeenMount};
use super::trouble::{Trouble, trouble_of};
use crate::model::{BadEntry, BadReason, ObjectFacts, Order, Timestamp, is_reserved};

/// How many items one batch has at the most.
const BATCH: usize = 4096;

/// How many keys in a row may lie behind the greatest one before the listing counts as going round in a circle: several
/// pages of an object store.
const CIRCLE: usize = 5_000;

/// Objects in key order, and the bad entries that were met among them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The objects, each key greater than the one before.
    pub objects: Vec<ObjectFacts>,
    /// The entries that are no objects. They stand before anything that they could hide.
    pub bad: Vec<BadEntry>,
    /// Where the listing went back. The late objects themselves are left out.
    pub late: Vec<Span>,
    /// The directories at which file systems are mounted. They stand before anything that lies below them.
    pub mounts: Vec<SeenMount>,
    /// The moment, by the storage's own clock, at which the objects were listed at the earliest.
    pub as_of: Option<Timestamp>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.bad.is_empty() && self.late.is_empty() && self.mounts.is_empty()
    }
}

/// What a listing says next.
#[derive(Debug)]
pub enum Step {
    /// More.
    Batch(Batch),
    /// Everything in scope has been listed, but for what the bad entries hide.
    Complete,
    /// The listing ended in doubt.
    Incomplete(Doubt),
}

/// Starts the listing once more, behind a key.
pub(super) type Again = Box<dyn Fn(&str) -> Items + Send>;

/// A listing that is under way.
pub struct Listing {
    items: futures::stream::ReadyChunks<Items>,
    again: Option<Again>,
    /// Where it was started once more.
    resumed: Option<String>,
    /// The greatest key so far.
    last: Option<String>,
    /// How many keys in a row came late; the next new one ends what they could hide.
    late: usize,
    disorder: Option<Doubt>,
    /// The greatest odd key so far, and the one that it was when the listing was started once more.
    odd: Option<String>,
    odd_before: Option<String>,
    broken_off: Option<Doubt>,
    hidden: Arc<[String]>,
    as_of: Option<Timestamp>,
    learned: Option<Order>,
}

impl Listing {
    /// Takes the items of a listing, and what starts it `again` should it break off.
    pub(super) fn new(items: Items, again: Option<Again>, hidden: Arc<[String]>) -> Self {
        Self {
            items: items.ready_chunks(BATCH),
            again,
            resumed: None,
            last: None,
            late: 0,
            disorder: None,
            odd: None,
            odd_before: None,
            broken_off: None,
            hidden,
            as_of: None,
            learned: None,
        }
    }

    /// Returns the order of the storage, if this listing has shown it so far.
    pub fn learned(&self) -> Option<Order> {
        self.learned
    }

    /// Waits for the next step. After `Complete` or `Incomplete` it keeps saying the same.
    pub async fn next(&mut self) -> Step {
        loop {
            if let Some(doubt) = &self.broken_off {
                return Step::Incomplete(doubt.clone());
            }
            let Some(items) = self.items.next().await else {
                if let Some(from) = self.last.clone().filter(|_| std::mem::take(&mut self.late) > 0) {
                    return Step::Batch(Batch { late: vec![Span { from, to: None }], ..Batch::default() });
                }
                return self.disorder.clone().map_or(Step::Complete, Step::Incomplete);
            };
            let batch = self.sift(items);
            if !batch.is_empty() {
                return Step::Batch(batch);
            }
        }
    }

    fn sift(&mut self, items: Vec<Item>) -> Batch {
        let mut batch = Batch { objects: Vec::with_capacity(items.len()), as_of: self.as_of, ..Batch::default() };
        for item in items {
            match item {
                Ok(Listed::Object(object)) => {
                    let key = &object.key;
                    let last = batch.objects.last().map(|o| o.key.as_str()).max(self.last.as_deref());
                    if let Some(last) = last.filter(|last| key.as_str() <= *last).map(str::to_owned) {
                        self.note_late(object.key, last, &mut batch);
                        if self.broken_off.is_some() {
                            break;
                        }
                        continue;
                    }
                    if std::mem::take(&mut self.late) > 0 {
                        let from = last.map_or_else(String::new, str::to_owned);
                        batch.late.push(Span { from, to: Some(key.clone()) });
                    }
                    if is_reserved(key) || self.hidden.contains(key) {
                        self.last = Some(object.key);
                        continue;
                    }
                    batch.objects.push(object);
                }
                Ok(Listed::Mount(mount)) => batch.mounts.push(mount),
                Ok(Listed::AsOf(moment)) => {
                    self.as_of = Some(moment);
                    batch.as_of = batch.as_of.or(self.as_of);
                }
                Ok(Listed::Order(order)) => self.learned = Some(order),
                Ok(Listed::Doubt(doubt)) => {
                    batch.late.push(Span { from: String::new(), to: None });
                    self.disorder = Some(doubt);
                }
                Ok(Listed::Bad(entry)) => {
                    if self.is_new(&entry) {
                        batch.bad.push(entry);
                    }
                }
                Err(error) => {
                    let last = batch.objects.last().map(|o| o.key.as_str()).max(self.last.as_deref());
                    let last = last.map(str::to_owned);
                    self.break_off(trouble_of(&error), last);
                    break;
                }
            }
        }
        let last = batch.objects.last().map(|o| o.key.as_str());
        if last > self.last.as_deref() {
            self.last = last.map(str::to_owned);
        }
        batch
    }

    /// Notes that `key` came after `last`, which is not less.
    fn note_late(&mut self, key: String, last: String, batch: &mut Batch) {
        self.disorder.get_or_insert_with(|| Doubt::OutOfOrder { last: last.clone(), next: key.clone() });
        self.late += 1;
        if self.late > CIRCLE {
            let message = format!("it goes round in a circle, {key:?} came again and again");
            let trouble = Trouble { code: "listing_out_of_order", message };
            self.broken_off = Some(Doubt::BrokenOff { trouble, last: Some(last.clone()) });
        }
        batch.late.push(Span { from: key, to: Some(last) });
    }

    /// Tells whether an entry was not told before the listing was started once more.
    fn is_new(&mut self, entry: &BadEntry) -> bool {
        if entry.reason != BadReason::Unaddressable || self.again.is_none() {
            return true;
        }
        // They come in order, as objects do, if not in order with them.
        let key = Some(entry.shown.as_str());
        if key > self.odd.as_deref() {
            self.odd = key.map(str::to_owned);
        }
        key > self.odd_before.as_deref()
    }

    /// Starts once more behind the last key; a second time at the same place is the end.
    fn break_off(&mut self, trouble: Trouble, last: Option<String>) {
        match (&self.again, &last) {
            (Some(again), Some(key)) if self.resumed != last => {
                tracing::warn!(after = key, why = trouble.message, "the listing broke off and is taken up again");
                self.items = again(key).ready_chunks(BATCH);
                self.resumed = last;
                self.odd_before.clone_from(&self.odd);
            }
            _ => self.broken_off = Some(Doubt::BrokenOff { trouble, last }),
        }
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("last", &self.last)
            .field("broken_off", &self.broken_off)
            .finish_non_exhaustive()
    }
}
