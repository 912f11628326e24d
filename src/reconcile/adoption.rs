//! Which folders become users, and with which ids, so that a lost index is rebuilt from the storage alone.

use std::collections::{BTreeMap, HashMap};

use super::scopes::Scopes;
use crate::index::{IndexError, User, check_free, check_name};
use crate::model::{HIGHEST_USER_ID, Prefix, UserId};

/// The users that a run may register, by their folder. They are registered when their first object is met.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    users: BTreeMap<String, User>,
}

impl Adoption {
    /// Plans a user for each of `folders` that nobody owns: a decimal becomes the user of that id and name, any other
    /// gets the ids from `next_id` on and its own text as name.
    ///
    /// # Errors
    /// When a name or id is another user's.
    pub(super) fn plan(mut folders: Vec<String>, scopes: &Scopes, next_id: UserId) -> Result<Self, IndexError> {
        folders.retain(|folder| scopes.is_free(folder));
        folders.sort_unstable();
        folders.dedup();
        let ids: HashMap<UserId, &User> = scopes.iter().map(|s| (s.user.id, &s.user)).collect();
        let names: HashMap<&str, &User> = scopes.iter().map(|s| (s.user.name.as_str(), &s.user)).collect();
        let highest = folders.iter().filter_map(|f| decimal(f)).max().unwrap_or(0);
        let mut free = next_id.max(highest.saturating_add(1));
        let mut users = BTreeMap::new();
        for folder in folders {
            // What cannot be a prefix or a name stays unclaimed, and does not hinder the others.
            let Ok(prefix) = Prefix::parse(&folder) else { continue };
            if check_name(&folder).is_err() {
                continue;
            }
            let id = decimal(&folder).unwrap_or_else(|| {
                free += 1;
                free - 1
            });
            // The folders themselves differ, and so do the ids that they get: only a registered user can be in the way.
            for other in ids.get(&id).into_iter().chain(names.get(folder.as_str())) {
                check_free(std::slice::from_ref(*other), id, &folder, &prefix)?;
            }
            users.insert(folder.clone(), User { id, name: folder, prefix });
        }
        Ok(Self { users })
    }

    /// Takes the user who is planned for the top folder of `key`, if there is one.
    pub(super) fn take(&mut self, key: &str) -> Option<User> {
        let (folder, _) = key.split_once('/')?;
        self.users.remove(folder)
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

    fn plan(
        folders: &[&str],
        owned: &[(UserId, &str, &str)],
        next_id: UserId,
    ) -> Result<Vec<(String, UserId)>, IndexError> {
        let users = owned
            .iter()
            .map(|(id, name, prefix)| User { id: *id, name: (*name).into(), prefix: Prefix::parse(prefix).unwrap() })
            .collect();
        let scopes = Scopes::new(users)?;
        let adoption = Adoption::plan(folders.iter().map(|f| (*f).to_owned()).collect(), &scopes, next_id)?;
        Ok(adoption.users.into_iter().map(|(folder, user)| (folder, user.id)).collect())
    }

    #[test]
    fn decimals_keep_their_id_and_texts_get_the_next_free_ones() {
        let got = plan(&["1", "1a", "2", "alpha", "007", "!x", "30"], &[], 1).unwrap();
        let want = [("!x", 31), ("007", 32), ("1", 1), ("1a", 33), ("2", 2), ("30", 30), ("alpha", 34)];
        assert_eq!(got, want.map(|(f, id)| (f.to_owned(), id)));
    }

    #[test]
    fn what_somebody_owns_is_left_out() {
        let got = plan(&["1", "teams", "b"], &[(1, "one", "1"), (2, "t", "teams/alpha")], 3).unwrap();
        assert_eq!(got, [("b".to_owned(), 3)]);
        assert!(plan(&["x"], &[(1, "all", "")], 2).unwrap().is_empty());
    }

    #[test]
    fn a_taken_name_or_id_names_both() {
        let error = plan(&["7"], &[(7, "old", "somewhere")], 8).unwrap_err().to_string();
        assert!(error.contains("\"7\"") && error.contains("\"somewhere\""), "{error}");
        let error = plan(&["bob"], &[(1, "bob", "b")], 2).unwrap_err().to_string();
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
