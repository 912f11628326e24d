//! Keys to the API outlive their index, and open no more than they did.

use serde_json::{Value, json};
use storm_index::reconcile::{Mode, Request};

use crate::support::playground::{Playground, Ran};

const TASKS: &str = "/api/v1/index/tasks";

fn import(playground: &Playground, lines: &str, args: &[&str]) -> Ran {
    std::fs::write(playground.path("in.ndjson"), lines).unwrap();
    let file = playground.path("in.ndjson");
    playground.run(&[&["index", "import", file.to_str().unwrap(), "--format", "json"], args].concat())
}

fn export(playground: &Playground) -> String {
    playground.run(&["index", "export", "-"]).ends(0).out
}

/// The keys of a list, without what is another one's in another index.
fn list(playground: &Playground) -> Vec<Value> {
    let list = playground.run(&["key", "list", "--format", "json"]).ends(0).json();
    let mut list = list.as_array().unwrap().clone();
    for key in &mut list {
        for own in ["id", "user_id", "last_used_at"] {
            key.as_object_mut().unwrap().remove(own);
        }
    }
    list
}

#[test]
fn keys_open_the_index_that_was_rebuilt() {
    let lost = Playground::with_user();
    let admin = lost.key(&["--admin", "--name", "ci"]);
    let plain = lost.key(&["--expires", "90d"]);
    let revoked = lost.admin_key();
    lost.run(&["key", "revoke", &revoked[3..11]]).ends(0);
    let file = export(&lost);
    assert!(file.contains("\"api_key\":3") && !file.contains(&admin[12..]), "{file}");
    // The index is gone; the user of that prefix was adopted, and gets the name back in the same import.
    let new = Playground::new();
    new.write("1/a", "x");
    new.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    let dry = import(&new, &file, &["--dry-run"]).ends(0).json();
    assert_eq!(list(&new), Vec::<Value>::new());
    let done = import(&new, &file, &[]).ends(0).json();
    let counts = json!({"in_file": 3, "imported": 3, "present": 0, "revoked": 0, "without_owner": 0, "conflicts": 0});
    assert_eq!((&done["keys"], &dry["keys"]), (&counts, &counts));
    assert_eq!(list(&new), list(&lost));
    let again = import(&new, &file, &[]).ends(0).json();
    assert_eq!((&again["keys"]["present"], &again["keys"]["imported"]), (&json!(3), &json!(0)));
    assert_eq!(list(&new), list(&lost));
    let server = new.serve(&[]);
    server.get(TASKS, &admin).is(200);
    server.get(TASKS, &plain).problem(403, "admin_required");
    server.get(TASKS, &revoked).problem(401, "key_revoked");
}

#[test]
fn what_was_revoked_stays_revoked_wherever_that_was() {
    let playground = Playground::with_user();
    let (here, there) = (playground.admin_key(), playground.admin_key());
    let living = export(&playground);
    playground.run(&["key", "revoke", &here[3..11]]).ends(0);
    let before = list(&playground);
    let done = import(&playground, &living, &[]).ends(0).json();
    assert_eq!((&done["keys"]["present"], list(&playground)), (&json!(2), before));
    let mut lines: Vec<Value> = living.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in lines.iter_mut().filter(|line| line["prefix"] == there[3..11]) {
        line["revoked_at"] = "2026-11-23T08:54:54+00:00".into();
    }
    let dead = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    import(&playground, &dead, &["--dry-run"]).ends(0);
    assert!(list(&playground)[1]["revoked_at"].is_null());
    let done = import(&playground, &dead, &[]).ends(0).json();
    assert_eq!((&done["keys"]["revoked"], &done["keys"]["present"]), (&json!(1), &json!(1)));
    assert!(list(&playground).iter().all(|key| key["revoked_at"].is_string()));
}

/// Nobody gets another person's key, and no key another secret.
#[test]
fn keys_go_to_the_same_user_only() {
    let old = Playground::with_user();
    let admin = old.admin_key();
    let file = export(&old);
    // Somebody else has the prefix now.
    let new = Playground::new();
    new.add_user("eve", 1);
    let done = import(&new, &file, &[]).ends(4).json();
    assert_eq!((&done["keys"]["without_owner"], &done["problems"][0]["code"]), (&json!(1), &json!("without_owner")));
    assert_eq!(list(&new), Vec::<Value>::new());
    // The same prefix names another key here.
    let new = Playground::with_user();
    new.admin_key();
    new.sql(&format!("UPDATE api_keys SET prefix = '{}'", &admin[3..11]));
    let before = list(&new);
    let done = import(&new, &file, &[]).ends(4).json();
    assert_eq!((&done["keys"]["conflicts"], &done["problems"][0]["code"]), (&json!(1), &json!("key_taken")));
    assert_eq!(list(&new), before);
    new.serve(&[]).get(TASKS, &admin).problem(401, "invalid_key");
    // Without a line of the user, id and name have to be the same.
    let header = "{\"kind\":\"storm_index_export\",\"version\":1}\n";
    let key = file.lines().find(|line| line.contains("\"api_key\"") && line.contains("hash")).unwrap();
    let new = Playground::with_user();
    import(&new, &format!("{header}{key}\n"), &[]).ends(0);
    new.serve(&[]).get(TASKS, &admin).is(200);
    let new = Playground::new();
    new.add_user("ann", 2);
    import(&new, &format!("{header}{key}\n"), &[]).ends(4);
    // What cannot be an end in the table has come.
    if !crate::support::database::on_postgres() {
        old.sql("UPDATE api_keys SET expires_at = 'someday'");
        let new = Playground::with_user();
        import(&new, &export(&old), &[]).ends(0);
        new.serve(&[]).get(TASKS, &admin).problem(401, "key_expired");
    }
}
