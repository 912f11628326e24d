//! Which folders become users, and with which ids, so that a lost index is rebuilt from the storage alone.

use std::collections::{BTreeMap, HashMap};

use super::scopes::Scopes;
use crate::index::{IndexError, User, check_free, check_name};
use crate::model::{HIGHEST_USER_ID, Prefix, UserId};

/// The users that a run may register, by their folder. They are registered when their first object is met.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    users: BTreeMap<String, Planned>,
    /// The next id for a folder that is no number.
    free: UserId,
}

/// Folders that cannot become users, and what is in the way of each.
pub(super) type Taken = Vec<(String, IndexError)>;

/// A user who may be registered.
#[derive(Debug)]
struct Planned {
    /// The id that the folder's name is; any other folder gets one when its turn comes. Only a disk has folders in which
    /// nothing is, and they cost none.
    id: Option<UserId>,
    prefix: Prefix,
}

impl Adoption {
    /// Plans a user for each of `folders` that nobody owns: a decimal becomes the user of that id and name, any other
    /// gets an id from `next_id` on, which is above all of users and decimals, and its own text as name.
    ///
    /// # Errors
    /// When a name or id is another user's: all such folders, and what is in the way of each. Nothing is if a folder has no
    /// object.
    pub(super) fn plan(mut folders: Vec<String>, scopes: &Scopes, next_id: UserId) -> Result<Self, Taken> {
        folders.retain(|folder| scopes.is_free(folder));
        folders.sort_unstable();
        folders.dedup();
        let ids: HashMap<UserId, &User> = scopes.iter().map(|s| (s.user.id, &s.user)).collect();
        let names: HashMap<&str, &User> = scopes.iter().map(|s| (s.user.name.as_str(), &s.user)).collect();
        let highest = folders.iter().filter_map(|f| decimal(f)).max().unwrap_or(0);
        let free = next_id.max(highest.saturating_add(1));
        let (mut users, mut taken) = (BTreeMap::new(), Vec::new());
        for folder in folders {
            // What cannot be a prefix or a name stays unclaimed, and does not hinder the others.
            let Ok(prefix) = Prefix::parse(&folder) else { continue };
            if check_name(&folder).is_err() {
                continue;
            }
            let id = decimal(&folder);
            // The folders themselves differ, and so do the ids that they get: only a registered user can be in the way.
            let owner = id.and_then(|id| ids.get(&id));
            let others = owner.into_iter().chain(names.get(folder.as_str())).copied();
            let mut in_the_way =
                others.map(|other| check_free(std::slice::from_ref(other), id.unwrap_or(free), &folder, &prefix));
            match in_the_way.find_map(Result::err) {
                Some(error) => taken.push((folder, error)),
                None => drop(users.insert(folder, Planned { id, prefix })),
            }
        }
        if taken.is_empty() { Ok(Self { users, free }) } else { Err(taken) }
    }

    /// Takes the user who is planned for the top folder of `key`, if there is one.
    pub(super) fn take(&mut self, key: &str) -> Option<User> {
        let (folder, _) = key.split_once('/')?;
        let (name, Planned { id, prefix }) = self.users.remove_entry(folder)?;
        let id = id.unwrap_or_else(|| {
            self.free += 1;
            self.free - 1
        });
        Some(User { id, name, prefix })
    }
}

/// Reads the id out of a folder's name that is exactly a positive number's.
fn decimal(folder: &str) -> Option<UserId> {
    let id: UserId = folder.parse().ok()?;
    ((1..=HIGHEST_USER_ID).contains(&id) && id.to_string() == folder).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folders: &[&str], owned: &[(UserId, &str, &str)], next_id: UserId) -> Result<Vec<(String, UserId)>, Taken> {
        let users = owned
            .iter()
            .map(|(id, name, prefix)| User { id: *id, name: (*name).into(), prefix: Prefix::parse(prefix).unwrap() })
            .collect();
        let scopes = Scopes::new(users).unwrap();
        let mut adoption = Adoption::plan(folders.iter().map(|f| (*f).to_owned()).collect(), &scopes, next_id)?;
        let mut met: Vec<String> = folders.iter().map(|folder| format!("{folder}/x")).collect();
        met.sort_unstable();
        Ok(met.iter().filter_map(|key| adoption.take(key)).map(|user| (user.name, user.id)).collect())
    }

    #[test]
    fn decimals_keep_their_id_and_texts_get_the_next_free_ones() {
        let got = plan(&["1", "1a", "2", "alpha", "007", "!x", "30"], &[], 1).unwrap();
        let want = [("!x", 31), ("007", 32), ("1", 1), ("1a", 33), ("2", 2), ("30", 30), ("alpha", 34)];
        assert_eq!(got, want.map(|(f, id)| (f.to_owned(), id)));
    }

    #[test]
    fn a_folder_without_objects_costs_no_id() {
        let folders = ["a", "empty", "b", "7"].map(str::to_owned).to_vec();
        let mut adoption = Adoption::plan(folders, &Scopes::new(Vec::new()).unwrap(), 1).unwrap();
        let met = ["7/x", "a/x", "a/y", "b/x", "loose"].map(|key| adoption.take(key).map(|user| user.id));
        assert_eq!(met, [Some(7), Some(8), None, Some(9), None]);
    }

    #[test]
    fn what_somebody_owns_is_left_out() {
        let got = plan(&["1", "teams", "b"], &[(1, "one", "1"), (2, "t", "teams/alpha")], 3).unwrap();
        assert_eq!(got, [("b".to_owned(), 3)]);
        assert!(plan(&["x"], &[(1, "all", "")], 2).unwrap().is_empty());
    }

    #[test]
    fn a_taken_name_or_id_names_both() {
        let (folder, error) = plan(&["7"], &[(7, "old", "somewhere")], 8).unwrap_err().remove(0);
        let error = error.to_string();
        assert_eq!(folder, "7");
        assert!(error.contains("\"7\"") && error.contains("\"somewhere\""), "{error}");
        let mut taken = plan(&["bob", "carl", "dora"], &[(1, "bob", "b"), (2, "dora", "d")], 3).unwrap_err();
        assert_eq!(taken.len(), 2);
        let (folder, error) = taken.remove(0);
        let error = error.to_string();
        assert_eq!(folder, "bob");
        assert!(error.contains("\"bob\"") && error.contains("\"b\""), "{error}");
    }

    #[test]
    fn only_exact_positive_numbers_are_ids() {
        for (folder, id) in [
            ("1", Some(1)),
            ("0", None),
            ("-1", None),
            ("007", None),
            ("+1", None),
            ("9223372036854775807", None),
            ("1 ", None),
        ] {
            assert_eq!(decimal(folder), id, "{folder}");
        }
    }
}
