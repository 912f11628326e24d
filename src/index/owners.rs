//! Who owns which keys, as an import finds it and changes it: users of the file become users of the index.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr};

use super::dialect::{Dialect, keep_user_id};
use super::error::IndexError;
use super::people::{Unkept, UserLine};
use super::users::{UserRow, check_name, rows};
use super::writes::json;
use crate::model::{Prefix, Timestamp, UserId};

/// The users of an index, by everything that two of them cannot share.
#[derive(Debug, Default)]
pub(super) struct Owners {
    ids: HashMap<UserId, UserRow>,
    names: HashMap<String, UserId>,
    /// By what the keys begin with. Prefixes never nest, so a key has one owner at the most.
    scopes: BTreeMap<String, UserId>,
    longest_prefix: usize,
}

/// What became of some users of the file, and what has to be written for it.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// To be registered.
    pub(super) registered: Vec<UserRow>,
    /// When those were registered first.
    made: Vec<String>,
    /// To be given the name of the file, in groups: within one nobody takes a name that another one of it gives up.
    renamed: Vec<Vec<(UserId, String)>>,
    /// How many were there already.
    pub(super) present: u64,
    /// Those that contradict the index.
    pub(super) conflicts: Vec<Unkept>,
}

impl Settled {
    /// Counts who gets another name.
    pub(super) fn renamed(&self) -> u64 {
        self.renamed.iter().map(|group| group.len() as u64).sum()
    }
}

impl Owners {
    /// Reads all users; one whose prefix cannot be one owns nothing, but has an id and a name.
    pub(super) async fn read(db: &impl ConnectionTrait, longest_prefix: usize) -> Result<Self, IndexError> {
        let mut owners = Self { longest_prefix, ..Self::default() };
        rows(db).await?.into_iter().for_each(|row| owners.insert(row));
        Ok(owners)
    }

    fn insert(&mut self, row: UserRow) {
        if let Ok(prefix) = Prefix::parse(&row.prefix) {
            self.scopes.insert(prefix.scope(), row.id);
        }
        self.names.insert(row.name.clone(), row.id);
        self.ids.insert(row.id, row);
    }

    /// Returns the user `id`, if that is the name.
    pub(super) fn named(&self, id: UserId, name: &str) -> Option<Prefix> {
        let row = self.ids.get(&id).filter(|row| row.name == name)?;
        Prefix::parse(&row.prefix).ok()
    }

    /// Returns the user of this prefix, if that is the name.
    pub(super) fn called(&self, prefix: &Prefix, name: &str) -> Option<UserId> {
        let id = self.scopes.get(&prefix.scope())?;
        self.ids.get(id).filter(|row| row.name == name).map(|row| row.id)
    }

    /// Returns whose `key` is, and where in it the path below that user's prefix begins.
    pub(super) fn of_key(&self, key: &str) -> Option<(UserId, usize)> {
        let ends = std::iter::once(0).chain(memchr::memchr_iter(b'/', key.as_bytes()).map(|at| at + 1));
        ends.into_iter().find_map(|end| self.scopes.get(&key[..end]).map(|id| (*id, end)))
    }

    /// Returns a user whose prefix lies within `scope`, or the other way round.
    fn nested_with(&self, scope: &str) -> Option<&UserRow> {
        let around = self.of_key(scope).map(|(id, _)| id);
        let within = || self.scopes.range(scope.to_owned()..).next().filter(|(other, _)| other.starts_with(scope));
        around.or_else(|| within().map(|(_, id)| *id)).and_then(|id| self.ids.get(&id))
    }

    /// Decides what becomes of `users` of the file, each with the number of its line.
    ///
    /// The same prefix is the same user, whatever id the index has given. Such a user who is called by the prefix, as an
    /// adopted one is, gets the name back that people gave, if it is free.
    pub(super) fn settle(&mut self, users: &[(u64, UserLine)]) -> Settled {
        let mut settled = Settled::default();
        let mut wishes = Vec::new();
        let mut strangers = Vec::new();
        for (number, user) in users {
            let same = Prefix::parse(&user.prefix).ok().and_then(|prefix| self.scopes.get(&prefix.scope())).copied();
            match same.and_then(|id| self.ids.get(&id)) {
                None => strangers.push((*number, user)),
                Some(row) if row.name != user.name && row.name == row.prefix => wishes.push((row.id, *number, user)),
                Some(_) => settled.present += 1,
            }
        }
        self.rename(wishes, &mut settled);
        for (number, user) in strangers {
            match self.obstacle(user) {
                Some((code, why)) => settled.conflicts.push(conflict(number, user, code, &why)),
                // The same line twice.
                None if self.ids.get(&user.id).is_some_and(|row| row.prefix == user.prefix) => settled.present += 1,
                None => {
                    let row = UserRow { id: user.id, name: user.name.clone(), prefix: user.prefix.clone() };
                    self.insert(row.clone());
                    settled.registered.push(row);
                    settled.made.push(user.created_at.clone());
                }
            }
        }
        settled
    }

    /// Gives names back, as long as one of them is free.
    fn rename(&mut self, mut wishes: Vec<(UserId, u64, &UserLine)>, settled: &mut Settled) {
        loop {
            let mut group = Vec::new();
            let mut given_up = HashSet::new();
            wishes.retain(|(id, _, user)| {
                let free = !self.names.contains_key(&user.name) && check_name(&user.name).is_ok();
                if free && let Some(row) = self.ids.get_mut(id) {
                    given_up.insert(std::mem::replace(&mut row.name, user.name.clone()));
                    self.names.insert(user.name.clone(), *id);
                    group.push((*id, user.name.clone()));
                }
                !free
            });
            self.names.retain(|name, _| !given_up.contains(name));
            if group.is_empty() {
                break;
            }
            settled.renamed.push(group);
        }
        for (id, number, user) in wishes {
            let why = match check_name(&user.name) {
                Err(error) => error.to_string(),
                Ok(()) => format!("that name belongs to another user, so user {id} keeps the name of the prefix"),
            };
            settled.conflicts.push(conflict(number, user, "name_taken", &why));
        }
    }

    /// Says what keeps `user` from being registered.
    fn obstacle(&self, user: &UserLine) -> Option<(&'static str, String)> {
        let owner = |id: &UserId| self.ids.get(id).map_or("", |row| row.prefix.as_str());
        let prefix = match Prefix::parse(&user.prefix) {
            Ok(prefix) => prefix,
            Err(error) => return Some(("bad_prefix", error.to_string())),
        };
        if prefix.as_str().len() > self.longest_prefix {
            return Some(("bad_prefix", format!("the prefix is longer than {} bytes", self.longest_prefix)));
        }
        if let Err(error) = check_name(&user.name) {
            return Some(("bad_name", error.to_string()));
        }
        if let Some(other) = self.ids.get(&user.id) {
            if other.prefix == user.prefix && other.name == user.name {
                return None;
            }
            return Some(("id_taken", format!("id {} belongs to the user of prefix {:?}", user.id, other.prefix)));
        }
        if let Some(other) = self.names.get(&user.name) {
            return Some(("name_taken", format!("that name belongs to the user of prefix {:?}", owner(other))));
        }
        self.nested_with(&prefix.scope()).map(|other| {
            let why = format!("it would lie within prefix {:?} of user {:?}, or around it", other.prefix, other.name);
            ("nested_prefix", why)
        })
    }
}

fn conflict(number: u64, user: &UserLine, code: &'static str, why: &str) -> Unkept {
    Unkept {
        code,
        message: format!(
            "line {number}: user {} ({:?}) of prefix {:?} is not taken over: {why}",
            user.id, user.name, user.prefix
        ),
        line: Some(number),
        user_id: Some(user.id),
        user: Some(user.name.clone()),
        ..Unkept::default()
    }
}

/// Writes down what was settled.
pub(super) async fn write(db: &impl ConnectionTrait, settled: &Settled) -> Result<(), DbErr> {
    let dialect = Dialect::of(db);
    let rows = dialect.words().rows;
    for group in &settled.renamed {
        let rename = format!(
            "UPDATE users SET name = new.name FROM (SELECT CAST(value->>0 AS bigint) AS new_id, value->>1 AS name \
             FROM {rows}) AS new WHERE users.id = new.new_id"
        );
        db.execute_raw(dialect.sql(&rename, [json(group.iter()).into()])).await?;
    }
    let Some(highest) = settled.registered.iter().map(|row| row.id).max() else { return Ok(()) };
    let insert = format!(
        "INSERT INTO users (id, name, prefix, created_at) \
         SELECT CAST(value->>0 AS bigint), value->>1, value->>2, {} FROM {rows}",
        dialect.time("value->>3")
    );
    let made = settled.made.iter().map(|made| Timestamp::from_text(made).map(Timestamp::to_text));
    let new = settled.registered.iter().zip(made).map(|(row, made)| (row.id, &row.name, &row.prefix, made));
    db.execute_raw(dialect.sql(&insert, [json(new).into()])).await?;
    keep_user_id(db, highest).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(users: &[(UserId, &str, &str)]) -> Owners {
        let mut owners = Owners { longest_prefix: 100, ..Owners::default() };
        for (id, name, prefix) in users {
            owners.insert(UserRow { id: *id, name: (*name).into(), prefix: (*prefix).into() });
        }
        owners
    }

    fn line(id: UserId, name: &str, prefix: &str) -> UserLine {
        UserLine { id, name: name.into(), prefix: prefix.into(), created_at: "2026-11-23T08:54:54+00:00".into() }
    }

    #[test]
    fn users_of_the_file_become_users_of_the_index() {
        let there = [(1, "ann", "1"), (2, "docs", "docs"), (3, "9", "9"), (4, "x y", "teams/alpha")];
        for (file, want) in [
            (line(1, "ann", "1"), "present"),
            // The same prefix is the same user, whatever the id.
            (line(77, "ann", "1"), "present"),
            (line(1, "renamed since", "1"), "present"),
            (line(77, "papers", "docs"), "renamed"),
            (line(9, "nine", "9"), "renamed"),
            (line(9, "ann", "9"), "name_taken"),
            (line(9, " ", "9"), "name_taken"),
            (line(5, "eve", "5"), "registered"),
            (line(5, "eve", "teams/beta"), "registered"),
            (line(5, "eve", "docs2"), "registered"),
            (line(2, "eve", "5"), "id_taken"),
            (line(5, "ann", "5"), "name_taken"),
            (line(5, "eve", "docs/deep"), "nested_prefix"),
            (line(5, "eve", "teams"), "nested_prefix"),
            (line(5, "eve", ""), "nested_prefix"),
            (line(5, "eve", "a//b"), "bad_prefix"),
            (line(5, "eve", &"p".repeat(101)), "bad_prefix"),
            (line(5, "", "5"), "bad_name"),
        ] {
            let settled = owners(&there).settle(&[(2, file.clone())]);
            let became = match (&settled.registered[..], settled.renamed(), settled.present, &settled.conflicts[..]) {
                ([_], 0, 0, []) => "registered",
                ([], 1, 0, []) => "renamed",
                ([], 0, 1, []) => "present",
                ([], 0, 0, [conflict]) => conflict.code,
                other => panic!("{file:?}: {other:?}"),
            };
            assert_eq!(became, want, "{file:?}");
        }
    }

    /// Twice the same file changes nothing the second time, also where names are passed on from one to the next.
    #[test]
    fn a_second_time_nothing_is_left_to_do() {
        let mut owners = owners(&[(1, "a", "a"), (2, "b", "b"), (3, "c", "c")]);
        let file =
            [line(10, "b", "a"), line(11, "c", "b"), line(12, "free", "c"), line(13, "d", "d"), line(13, "d", "d")];
        let file: Vec<_> = (2..).zip(file).collect();
        let first = owners.settle(&file);
        assert_eq!(
            (first.renamed(), first.renamed.len(), first.registered.len(), first.present),
            (3, 3, 1, 1),
            "{first:?}"
        );
        let second = owners.settle(&file);
        assert_eq!((second.renamed(), second.registered.len(), second.present), (0, 0, 5), "{second:?}");
        assert!(first.conflicts.is_empty() && second.conflicts.is_empty());
    }

    #[test]
    fn a_key_has_one_owner() {
        let some = owners(&[(1, "ann", "1"), (2, "alpha", "teams/alpha"), (3, "beta", "teams/beta")]);
        for (key, want) in [
            ("1/a/b", Some((1, 2))),
            ("teams/alpha/x", Some((2, 12))),
            ("teams/alphabet/x", None),
            ("teams", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(some.of_key(key), want, "{key}");
        }
        assert_eq!(owners(&[(1, "ann", "")]).of_key("x/y"), Some((1, 0)));
    }
}
