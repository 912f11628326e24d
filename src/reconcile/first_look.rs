//! A look at records without an object before anything is paired: on a disk, a name may open although no directory lists it,
//! and what lies below a mount that has gone is not judged.

use std::hash::{BuildHasher as _, RandomState};
use std::io;

use super::closing::Whose;
use super::mounts::Withheld;
use super::numbers::{Numbers, Sorted};
use super::run::Run;
use super::spool::{Spool, Spooled};
use super::stop::Stop;
use super::waiting::{CAME, DOUBTED, Item, LEFT, NOT_GONE, Parked, join, lower, upper};
use crate::model::{Orphan, Prefix};
use crate::storage::Glance;

/// How many names are looked for at a time.
const LOOKS: usize = 4_000;

/// Orphans and objects whose name differs by case or normalisation alone: the place of the orphan, the path that is listed,
/// and the place of the object, unless it has a record.
pub(super) type Respelled = Spooled<(u64, String, Option<u64>)>;

/// What the first look has found.
#[derive(Debug)]
pub(super) struct FirstLook {
    /// Places in the upper half, what is marked there in the lower one.
    pub(super) marks: Sorted,
    /// Names that are listed in another spelling.
    pub(super) respelled: Respelled,
}

impl Run<'_> {
    /// Looks at the orphans among what waits.
    pub(super) async fn first_look(
        &mut self,
        parked: &Parked,
        whose: &Whose,
        prefix: &Prefix,
    ) -> Result<FirstLook, Stop> {
        let (mut marks, mut respelled) = (Numbers::default(), Spool::default());
        let withheld = self.leave_mounts();
        if parked.has_orphan && !self.storage.is_remote() {
            let (mut items, mut batch) = (parked.items.iter()?, Vec::new());
            loop {
                self.cancel.reason().map_or(Ok(()), Err)?;
                let next = items.next()?;
                let is_end = next.is_none();
                if let Some((place, Item::Orphan(orphan))) = next {
                    let key = prefix.key_of(&orphan.path);
                    match withheld.iter().any(|withheld| key.starts_with(&withheld.below)) {
                        true => marks.push(join(place, DOUBTED))?,
                        false => batch.push((place, orphan)),
                    }
                }
                if batch.len() == LOOKS || is_end {
                    self.look_at(std::mem::take(&mut batch), prefix, &mut marks, &mut respelled).await?;
                }
                if is_end {
                    break;
                }
            }
        }
        let respelled = find_objects(parked, whose, respelled.finish()?, &mut marks)?;
        Ok(FirstLook { marks: marks.sort()?, respelled })
    }

    /// Tells of the mounts below which the current user's records are not judged.
    fn leave_mounts(&mut self) -> Vec<Withheld> {
        let Some(scope) = self.scopes.current() else { return Vec::new() };
        let withheld = self.mounts.leave(&scope.start);
        for Withheld { below, message } in &withheld {
            scope.complete = false;
            self.report.note("mount_missing", message.clone(), Some(below.trim_end_matches('/').to_owned()));
        }
        withheld
    }

    async fn look_at(
        &mut self,
        orphans: Vec<(u64, Orphan)>,
        prefix: &Prefix,
        marks: &mut Numbers,
        respelled: &mut Spool<(u64, String)>,
    ) -> Result<(), Stop> {
        let paths: Vec<String> = orphans.iter().map(|(_, orphan)| orphan.path.clone()).collect();
        let glances = self.looks.look(prefix, &paths).await;
        for ((place, orphan), glance) in orphans.into_iter().zip(glances) {
            match glance {
                Glance::Absent => {}
                Glance::Respelled { path } => {
                    respelled.push(&(place, path))?;
                    marks.push(join(place, LEFT))?;
                }
                Glance::Unlisted { since } => {
                    marks.push(join(place, DOUBTED))?;
                    self.doubt_listing(orphan.user, &prefix.key_of(&orphan.path), since);
                }
                Glance::Present { .. } | Glance::Unaddressable | Glance::Unknown(_) => {
                    marks.push(join(place, NOT_GONE))?
                }
            }
        }
        Ok(())
    }
}

/// Finds the objects without a record among those that are listed in another spelling than an orphan has.
fn find_objects(
    parked: &Parked,
    whose: &Whose,
    respelled: Spooled<(u64, String)>,
    marks: &mut Numbers,
) -> io::Result<Respelled> {
    let (mut numbers, hasher) = (Numbers::default(), RandomState::new());
    let mut names = respelled.iter()?;
    let mut any = false;
    while let Some((at, (_, path))) = names.next()? {
        any = true;
        numbers.push(join(hasher.hash_one(path), at << 1))?;
    }
    let (mut found, mut objects) = (Spool::default(), Numbers::default());
    if any {
        let mut items = parked.items.iter()?;
        while let Some((place, item)) = items.next()? {
            if let Item::Missing(object) = item {
                numbers.push(join(hasher.hash_one(&object.key[whose.path_at..]), place << 1 | 1))?;
            }
        }
        // Those of one path stand together.
        let numbers = numbers.sort()?;
        let (mut all, mut print, mut waiting) = (numbers.iter(), None, Vec::new());
        while let Some(next) = all.next()? {
            if print.replace(upper(next)) != Some(upper(next)) {
                waiting.clear();
            }
            let place = lower(next) >> 1;
            if lower(next) & 1 == 0 {
                waiting.push(place);
            } else if !waiting.is_empty() {
                // The first of several spellings takes the object, so that it is there when the others are merged with it.
                objects.push(join(waiting.remove(0), place))?;
            }
        }
    }
    let objects = objects.sort()?;
    let (mut names, mut objects) = (respelled.iter()?, super::waiting::Marks::new(&objects));
    while let Some((at, (orphan, path))) = names.next()? {
        let object = objects.first_of(at)?;
        if let Some(object) = object {
            marks.push(join(object, CAME))?;
        }
        found.push(&(orphan, path, object))?;
    }
    found.finish()
}
