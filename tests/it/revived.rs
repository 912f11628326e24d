//! Law 10 and its border: a restore brings back what a run took, and never gives anybody what its owner has taken away.

use crate::support::playground::{Playground, Ran};

fn task(ran: &Ran) -> String {
    ran.json()["task_id"].as_str().unwrap().to_owned()
}

fn restore(playground: &Playground, task: &str, code: i32) -> Ran {
    playground.run(&["restore", task, "--format", "json"]).ends(code)
}

/// Links that open something now.
fn open(playground: &Playground) -> Vec<String> {
    let links = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    let active = links.as_array().unwrap().iter().filter(|link| link["is_active"] == true);
    active.map(|link| link["token"].as_str().unwrap().to_owned()).collect()
}

/// A link that was active when a restore replaced its record, and was revoked since, stays revoked.
#[test]
fn law_10_a_revoked_link_is_not_brought_back_to_life() {
    for removes_user in [false, true] {
        let playground = Playground::with_user();
        let clean = || task(&playground.rebuild(&["--mode", "clean", "--force", "--max-delete", "100%"]).ends(0));
        playground.add_user("anna", 2);
        playground.write("2/k", "mine");
        playground.sync();
        playground.remove("2/k");
        let cleaned = clean();
        playground.write("2/k", "mine");
        playground.sync();
        let token = playground.share(2, "k");
        let restored = task(&restore(&playground, &cleaned, 0));
        assert_eq!(open(&playground), [token.as_str()], "the newer record's link goes to the old one");
        playground.run(&["share", "revoke", &token]).ends(0);
        if removes_user {
            // Another person has the id now.
            playground.run(&["user", "remove", "anna"]).ends(0);
            playground.run(&["user", "add", "bob", "--id", "2", "--prefix", "zz"]).ends(0);
            playground.write("zz/k", "a secret");
            playground.sync();
            let ran = restore(&playground, &restored, 4);
            assert!(ran.out.contains("user_gone"), "{ran:?}");
            assert_eq!(
                playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).out.trim(),
                "[]"
            );
        } else {
            playground.remove("2/k");
            clean();
            restore(&playground, &restored, 0);
        }
        assert_eq!(open(&playground), [""; 0]);
    }
}

/// What the journal has forgotten is told, rather than passed over.
#[test]
fn law_10_a_forgotten_journal_is_told() {
    let playground = Playground::with_user();
    for name in ["a", "b"] {
        playground.write(&format!("1/{name}"), "x");
    }
    playground.sync();
    playground.remove("1/a");
    let cleaned = task(&playground.rebuild(&["--mode", "clean", "--force"]).ends(0));
    playground.rebuild(&["--mode", "sync", "--journal-keep", "0"]).ends(0);
    let ran = restore(&playground, &cleaned, 4);
    assert_eq!(ran.result()["errors"][0]["code"], "journal_trimmed", "{ran:?}");
}
