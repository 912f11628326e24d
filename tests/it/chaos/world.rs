//! A world, drawn from a seed: what is in the storage, in the index, asked for, and about to go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use storm_index::model::{Identity, Timestamp};
use storm_index::reconcile::{Excludes, MaxDelete, Mode, Request};
use storm_index::storage::{MARKER, content_type_of};
use uuid::Uuid;

use crate::support::chaos_faults::{Deed, Entry, Fault, Objects};
use crate::support::random::Random;

const USERS: [(i64, &str); 5] = [(1, "1"), (2, "images"), (3, "images2"), (10, "10"), (4, "teams/alpha")];

/// Paths that sort, escape and compare in every awkward way, and fit beside each other on a disk.
const PATHS: [&str; 26] = [
    "a-b",
    "a/b",
    "a0",
    "a/b c.txt",
    "a+b",
    "%41",
    "A",
    "a%2Fb",
    "a#b",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{1f389}/party.txt",
    ".hidden",
    ".config/x.json",
    "deep/er/and/deeper.pdf",
    "deep/x.txt",
    "deep.er",
    "deep-er",
    "z'; DROP TABLE users; --",
    "quote\"d",
    "~tilde",
    "b.txt",
    "b.TXT",
    "\u{ff5e}",
    "\u{10000}",
    "trailing ",
];

/// Patterns, and what they match, said in another way.
type Pattern = (&'static str, fn(&str) -> bool);
const PATTERNS: [Pattern; 4] = [
    ("*.txt", |path| path.split('/').any(|segment| segment.ends_with(".txt"))),
    ("/deep/", |path| path.starts_with("deep/")),
    ("a*", |path| path.split('/').any(|segment| segment.starts_with('a'))),
    ("er/", |path| path.contains("/er/") || path.starts_with("er/")),
];

/// A share link of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Active,
    Ending,
    Expired,
    Revoked,
    /// An end that cannot be read, which counts as active.
    Garbled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: i64,
    pub(super) user: i64,
    pub(super) path: String,
    pub(super) size: Option<u64>,
    pub(super) content_type: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) modified: Option<i64>,
    pub(super) young: bool,
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) users: Vec<(i64, &'static str)>,
    pub(super) records: Vec<Record>,
    pub(super) objects: Objects,
    pub(super) request: Request,
    pub(super) patterns: Vec<usize>,
    pub(super) identity: Identity,
    pub(super) bound: Option<Uuid>,
    pub(super) faults: Vec<Fault>,
    pub(super) converges_with_moves: bool,
}

pub(super) const MINE: Uuid = Uuid::from_u128(0x11);
pub(super) const OTHER: Uuid = Uuid::from_u128(0x22);

pub(super) fn marker_of(id: Uuid) -> String {
    storm_index::storage::marker_document(id, Timestamp::from_micros(0))
}

pub(super) fn key_of(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") }
}

/// What happens to a file between the index and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Keep,
    Delete,
    Rename,
    Rewrite,
    Touch,
    Copy,
    Swap,
    Unindex,
}

impl World {
    /// Draws the world of `seed`; a `calm` one has a storage that works.
    pub(super) fn draw(seed: u64, calm: bool) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let users = if r.chance(8) {
            vec![(7, "")]
        } else {
            let first = r.below(USERS.len());
            (0..1 + r.below(4)).map(|n| USERS[(first + n * 2) % USERS.len()]).collect::<Vec<_>>()
        };
        let (mut records, mut objects) = (Vec::new(), Objects::new());
        let mut content = 0;
        for (user, prefix) in &users {
            draw_user(r, (*user, prefix), &mut content, &mut records, &mut objects);
        }
        for key in ["7/adopt.me", "7/sub/x", "nobody/y", "zz/\u{e9}"] {
            if r.chance(25) {
                objects.insert(key.to_owned(), Entry { content: b"unclaimed".to_vec(), micros: 1_700_000_000_000_000 });
            }
        }
        let (request, patterns) = draw_request(r, &users);
        let identity = if r.chance(15) { Identity::None } else { Identity::Marker };
        let bound = (r.chance(80)).then_some(MINE);
        let marker = match r.below(100) {
            0..=79 => Some(marker_of(MINE)),
            80..=86 => Some(marker_of(OTHER)),
            87..=96 => None,
            _ => Some("{}".to_owned()),
        };
        if let Some(marker) = marker {
            objects.insert(MARKER.to_owned(), Entry { content: marker.into_bytes(), micros: 0 });
        }
        let mut faults = if calm || r.chance(25) { Vec::new() } else { draw_faults(r, &objects) };
        // What a run that only looks leaves behind is compared with what was there.
        faults.retain(|fault| request.writes() || !matches!(fault, Fault::AtLook(..)));
        let converges_with_moves = r.chance(50);
        Self { seed, users, records, objects, request, patterns, identity, bound, faults, converges_with_moves }
    }

    pub(super) fn prefix(&self, user: i64) -> &'static str {
        self.users.iter().find(|(id, _)| *id == user).map_or("", |(_, prefix)| prefix)
    }

    pub(super) fn is_excluded(&self, path: &str) -> bool {
        self.patterns.iter().any(|n| PATTERNS[*n].1(path))
    }

    pub(super) fn is_in_scope(&self, user: i64) -> bool {
        self.request.user.is_none_or(|one| one == user)
    }

    /// Returns whose a key is, and its path.
    pub(super) fn owner<'k>(&self, key: &'k str) -> Option<(i64, &'k str)> {
        if key.starts_with(".storm-index/") {
            return None;
        }
        self.users.iter().find_map(|(id, prefix)| match prefix.is_empty() {
            true => Some((*id, key)),
            false => Some((*id, key.strip_prefix(prefix)?.strip_prefix('/')?)),
        })
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.faults.iter().all(Fault::is_repeatable)
    }
}

fn draw_user(
    r: &mut Random,
    (user, prefix): (i64, &str),
    count: &mut u64,
    records: &mut Vec<Record>,
    objects: &mut Objects,
) {
    let mut paths: Vec<String> = PATHS.map(str::to_owned).to_vec();
    (1..paths.len()).for_each(|n| paths.swap(n, r.below(n + 1)));
    let (many, free) = (2 + r.below(13), paths.split_off(15));
    paths.truncate(many);
    // Above a hundred deletions the share counts.
    if r.chance(1) {
        paths.extend((0..220).map(|n| format!("many/{n:03}")));
    }
    let mut free = free.into_iter();
    let (keep, is_first) = (25 + r.below(70), r.chance(10));
    let mut contents: Vec<Vec<u8>> = Vec::new();
    let mut then: BTreeMap<String, Entry> = BTreeMap::new();
    for path in &paths {
        *count += 1;
        let content = match r.below(100) {
            0..=4 => Vec::new(),
            5..=17 if !contents.is_empty() => r.pick(&contents).clone(),
            _ => format!("content {count}").into_bytes(),
        };
        contents.push(content.clone());
        let micros = 1_700_000_000_000_000 + i64::try_from(*count).unwrap() * 1_234_567;
        then.insert(path.clone(), Entry { content, micros });
    }
    let mut now = then.clone();
    let mut unindexed = BTreeSet::new();
    for path in &paths {
        let changes = [
            Change::Delete,
            Change::Delete,
            Change::Rename,
            Change::Rename,
            Change::Rewrite,
            Change::Touch,
            Change::Copy,
            Change::Swap,
            Change::Unindex,
        ];
        let change = if r.chance(keep) { Change::Keep } else { *r.pick(&changes) };
        let other = r.pick(&paths).clone();
        *count += 1;
        match change {
            Change::Keep => {}
            Change::Delete => drop(now.remove(path)),
            Change::Rename => {
                if let (Some(entry), Some(to)) = (now.remove(path), free.next()) {
                    now.insert(to, entry);
                }
            }
            Change::Rewrite => drop(now.insert(
                path.clone(),
                Entry { content: format!("rewritten {count}").into_bytes(), micros: 1_750_000_000_000_000 },
            )),
            Change::Touch => {
                if let Some(entry) = now.get_mut(path) {
                    entry.micros += 1_000_000;
                }
            }
            Change::Copy => {
                if let (Some(entry), Some(to)) = (now.get(path).cloned(), free.next()) {
                    now.insert(to, entry);
                }
            }
            Change::Swap => {
                if let (Some(one), Some(two)) = (now.get(path).cloned(), now.get(&other).cloned()) {
                    now.insert(path.clone(), two);
                    now.insert(other, one);
                }
            }
            Change::Unindex => drop(unindexed.insert(path.clone())),
        }
    }
    for (path, entry) in &then {
        if is_first || unindexed.contains(path) {
            continue;
        }
        let mut record = Record {
            id: 1_000_000 + i64::try_from(records.len()).unwrap(),
            user,
            path: path.clone(),
            size: Some(entry.content.len() as u64),
            content_type: Some(content_type_of(path).to_owned()),
            etag: Some(entry.etag()),
            modified: Some(entry.micros),
            young: r.chance(25),
            links: Vec::new(),
        };
        match r.below(40) {
            0 => record.size = None,
            1 => record.size = Some(999),
            2 => record.content_type = Some("x/y".to_owned()),
            3 => record.etag = None,
            4 => record.modified = None,
            _ => {}
        }
        let links = [Link::Active, Link::Ending, Link::Expired, Link::Revoked, Link::Garbled];
        while r.chance(30) {
            record.links.push(*r.pick(&links));
        }
        records.push(record);
    }
    objects.extend(now.into_iter().map(|(path, entry)| (key_of(prefix, &path), entry)));
}

fn draw_request(r: &mut Random, users: &[(i64, &str)]) -> (Request, Vec<usize>) {
    let mode = *r.pick(&[Mode::Audit, Mode::Sync, Mode::Clean, Mode::Full, Mode::Full, Mode::Full, Mode::Clean]);
    let mut patterns: Vec<usize> = Vec::new();
    if r.chance(15) {
        patterns.push(r.below(PATTERNS.len()));
    }
    let user = r.chance(20).then(|| r.pick(users).0);
    let request = Request {
        dry_run: r.chance(10),
        force: r.chance(93),
        user,
        adopt: r.chance(12) && mode != Mode::Clean && user.is_none(),
        max_delete: match r.below(10) {
            0 => Some(MaxDelete::Count(r.below(6) as u64)),
            1 => Some(MaxDelete::Percent(u8::try_from(r.below(101)).unwrap())),
            2..=4 => Some(MaxDelete::Percent(100)),
            _ => None,
        },
        min_age: if r.chance(12) { Duration::from_secs(3_600) } else { Duration::ZERO },
        exclude: Excludes::parse(patterns.iter().map(|n| PATTERNS[*n].0.to_owned()).collect()).unwrap(),
        moves: r.chance(80),
        ..Request::new(mode)
    };
    (request, patterns)
}

fn draw_faults(r: &mut Random, objects: &Objects) -> Vec<Fault> {
    let some = |r: &mut Random| objects.keys().filter(|key| *key != MARKER && r.chance(25)).cloned().collect();
    let keys: Vec<String> = objects.keys().filter(|key| *key != MARKER).cloned().collect();
    let mut faults = Vec::new();
    for _ in 0..1 + r.below(2) + usize::from(r.chance(20)) {
        let (at, count) = (r.below(1_001), 1 + r.below(6));
        let fault = match r.below(26) {
            0 | 1 => Fault::Break { at, once: false },
            2 => Fault::Break { at, once: true },
            3 | 4 => Fault::Forget(some(r)),
            5 => Fault::Empty,
            6 => Fault::Truncate(at),
            7 => Fault::Repeat { at, count },
            8 if r.chance(12) => Fault::Circle(count),
            8..=10 => Fault::Swap { at, by: count },
            11 | 12 => Fault::Shuffle { at, count: 2 * count, seed: r.next() },
            13 => Fault::Stall { at, polls: count },
            14 | 15 if !keys.is_empty() => {
                let mut change = |_| (r.pick(&keys).clone(), r.chance(40).then(|| b"meddled".to_vec()));
                let mut changes: Vec<(String, Option<Vec<u8>>)> = (0..count).map(&mut change).collect();
                let new = format!("{}+", changes[0].0);
                changes.push((new, Some(b"new".to_vec())));
                Fault::MeddleAt { at, changes }
            }
            16 | 17 => Fault::AtLook(r.below(6), Deed::Share),
            18 => Fault::AtLook(r.below(6), Deed::Edit),
            19 => Fault::AtLook(r.below(6), Deed::Upload),
            20 => Fault::AtLook(r.below(6), Deed::Steal),
            21 => Fault::Deaf(some(r)),
            22..=24 => {
                let says = r.pick(&[None, Some(None), Some(Some(marker_of(OTHER)))]).clone();
                Fault::Marker { after: r.below(4), says }
            }
            _ => Fault::ReadOnly,
        };
        // What was told before somebody changes something is judged before.
        let stall = matches!(fault, Fault::MeddleAt { .. }).then(|| Fault::Stall { at, polls: 1 + r.below(2) });
        faults.push(fault);
        faults.extend(stall);
    }
    faults
}
