//! Law 8 where it is applied: not too much at once, and not bit by bit either.

use serde_json::json;

use crate::support::playground::Playground;

/// Law 8 where it is applied: nothing goes, and the flag of the message lets it go.
#[test]
fn law_08_a_refusal_keeps_everything_and_names_its_flag() {
    let playground = Playground::with_user();
    playground.run(&["user", "add", "bob", "--id", "2"]).ends(0);
    for n in 0..12 {
        playground.write(&format!("1/f{n}"), "x");
    }
    playground.write("2/a", "x");
    playground.write("2/b", "x");
    playground.rebuild(&["--mode", "sync"]).ends(0);
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    playground.remove("2/a");
    playground.write("2/new", "x");
    let before = playground.paths();
    let dry = playground.rebuild(&["--mode", "full", "--dry-run"]).ends(3).result();
    let real = playground.rebuild(&["--mode", "full", "--force"]).ends(3).result();
    for key in ["orphaned_in_db", "records_deleted", "records_skipped", "records_created", "refusal"] {
        assert_eq!(dry[key], real[key], "{key}");
    }
    assert_eq!(
        (&real["orphaned_in_db"], &real["records_deleted"], &real["records_skipped"]),
        (&13.into(), &0.into(), &0.into())
    );
    assert_eq!(real["records_created"], 1, "additions go on");
    assert_eq!(playground.paths().len(), before.len() + 1);
    let message = real["refusal"]["message"].as_str().unwrap();
    assert!(message.contains("12 of the 12 records of user 1"), "{message}");
    let flag = message.rsplit("--max-delete ").next().unwrap();
    let done = playground.rebuild(&["--mode", "clean", "--force", "--max-delete", flag]).ends(0).result();
    assert_eq!(done["records_deleted"], 13);
    assert_eq!(playground.paths(), ["2/b", "2/new"]);
}

/// Law 8: what a refused run, or anybody else, has added since does not soften the limits; consent and a clean run do.
#[test]
fn law_08_a_refused_run_does_not_disarm_the_next_one() {
    for (old, new, limit) in [(200, 201, None), (11, 1, None), (12, 12, Some("50%"))] {
        let playground = Playground::with_user();
        (0..old).for_each(|n| playground.write(&format!("1/old{n}"), "x"));
        playground.rebuild(&["--mode", "sync"]).ends(0);
        std::fs::rename(playground.path("files/1"), playground.path("elsewhere")).unwrap();
        (0..new).for_each(|n| playground.write(&format!("1/new{n}"), "x"));
        let full = |more: &[&str]| {
            let limit = limit.map_or(vec![], |limit| vec!["--max-delete", limit]);
            let limit = if more.contains(&"--max-delete") { vec![] } else { limit };
            playground.rebuild(&[&["--mode", "full"], more, &limit].concat())
        };
        assert_eq!(full(&["--force"]).ends(3).result()["records_created"], new, "additions go on");
        let before = playground.dump();
        full(&["--dry-run"]).ends(3);
        let again = full(&["--force"]).ends(3).result();
        assert_eq!((&again["records_created"], &again["records_deleted"]), (&0.into(), &0.into()));
        playground.rebuild(&["--mode", "sync"]).ends(0);
        playground.rebuild(&["--mode", "clean", "--force", "--max-delete", limit.unwrap_or("50%")]).ends(3);
        full(&["--force"]).ends(3);
        assert_eq!(playground.dump(), before, "{old} {new}");

        // With the old files back there is nothing to refuse, and the limits are the usual ones again.
        for entry in std::fs::read_dir(playground.path("elsewhere")).unwrap() {
            let name = entry.unwrap().file_name();
            std::fs::rename(playground.path("elsewhere").join(&name), playground.path("files/1").join(&name)).unwrap();
        }
        full(&["--force"]).ends(0);
        for n in 0..old {
            playground.remove(&format!("1/old{n}"));
        }
        if old == 200 {
            assert_eq!(full(&["--force"]).ends(0).result()["records_deleted"], old, "200 of 401 are not too many");
        }
        full(&["--force", "--max-delete", &old.to_string()]).ends(0);
        assert_eq!(playground.paths().len(), new);
    }
}

/// Law 6 and law 8 together: a listing in doubt adds, and what it adds does not soften the limits either.
#[test]
fn law_08_a_run_in_doubt_does_not_disarm_the_next_one() {
    let playground = Playground::with_user();
    (0..12).for_each(|n| playground.write(&format!("1/old{n}"), "x"));
    playground.rebuild(&["--mode", "sync"]).ends(0);
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    playground.write("1/new", "x");
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'link/deep')");
    std::os::unix::fs::symlink("/no/such/place", playground.path("files/1/link")).unwrap();
    let doubtful = playground.rebuild(&["--mode", "full", "--force"]).ends(4).result();
    assert_eq!((&doubtful["incomplete_users"], &doubtful["records_created"]), (&json!([1]), &1.into()));
    std::fs::remove_file(playground.path("files/1/link")).unwrap();
    let refused = playground.rebuild(&["--mode", "full", "--force"]).ends(3).result();
    assert_eq!((&refused["orphaned_in_db"], &refused["records_deleted"]), (&13.into(), &0.into()));
}
