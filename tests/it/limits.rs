//! Law 8 where it is applied: not too much at once, and not bit by bit either.

use serde_json::json;

use storm_index::reconcile::{Mode, Request};

use crate::support::playground::{Playground, dry, forced, gone_mount};

/// Law 8 where it is applied: nothing goes, and the flag of the message lets it go.
#[test]
fn law_08_a_refusal_keeps_everything_and_names_its_flag() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    for n in 0..12 {
        playground.write(&format!("1/f{n}"), "x");
    }
    playground.write("2/a", "x");
    playground.write("2/b", "x");
    playground.sync();
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    playground.remove("2/a");
    playground.write("2/new", "x");
    let before = playground.paths();
    let dry = playground.refused(&dry(Mode::Full));
    let real = playground.refused(&forced(Mode::Full));
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
        playground.sync();
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
        playground.sync();
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
    (0..12).for_each(|n| playground.write(&format!("1/usb/old{n}"), "x"));
    playground.sync();
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    playground.write("1/new", "x");
    // As if a file system had been mounted there, and is gone.
    playground.sql(&gone_mount("1/usb"));
    let doubtful = playground.troubled(&forced(Mode::Full));
    assert_eq!((&doubtful["incomplete_users"], &doubtful["records_created"]), (&json!([1]), &1.into()));
    playground.sql("DELETE FROM mounts");
    let refused = playground.refused(&forced(Mode::Full));
    assert_eq!((&refused["orphaned_in_db"], &refused["records_deleted"]), (&12.into(), &0.into()));
}

/// The records that a user got in a good way count, whatever happened to somebody else, or before.
#[test]
fn law_08_what_was_refused_to_one_is_not_held_against_another() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    (0..201).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    (0..11).for_each(|n| playground.write(&format!("2/f{n}"), "x"));
    playground.sync();
    (0..150).for_each(|n| playground.remove(&format!("1/f{n}")));
    // A folder that nobody owns becomes a user's in the very run that is refused.
    (0..60).for_each(|n| playground.write(&format!("7/f{n}"), "x"));
    playground.refused(&Request { adopt: true, ..forced(Mode::Full) });
    (11..500).for_each(|n| playground.write(&format!("2/f{n}"), "x"));
    playground.sync();
    (0..11).for_each(|n| playground.remove(&format!("2/f{n}")));
    playground.remove("7/f0");
    let done = playground.rebuild(&["--mode", "clean", "--force", "--user-id", "2"]).ends(0).result();
    assert_eq!(done["records_deleted"], 11, "11 of 500 are not too many");
    let done = playground.rebuild(&["--mode", "clean", "--force", "--user-id", "7"]).ends(0).result();
    assert_eq!(done["records_deleted"], 1);
    for user in ["2", "7"] {
        std::fs::remove_dir_all(playground.path("files").join(user)).unwrap();
        let refused = playground.rebuild(&["--mode", "clean", "--force", "--user-id", user]).ends(3).result();
        assert_eq!(refused["records_deleted"], 0, "all of a user's records");
    }
}

/// A few records at the time of a refusal are no leave to lose the many of today.
#[test]
fn law_08_a_small_past_does_not_open_the_present() {
    let playground = Playground::with_user();
    (0..5).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    playground.sync();
    playground.remove("1/f0");
    playground.rebuild(&["--mode", "clean", "--force", "--max-delete", "0"]).ends(3);
    (5..60).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    playground.sync();
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    let refused = playground.refused(&forced(Mode::Clean));
    assert!(refused["refusal"]["message"].as_str().unwrap().contains("60 of the 60"), "{refused}");
}

/// Neither a look at the old ones only nor a run that breaks off in the middle makes additions count.
#[test]
fn law_08_a_run_that_ends_badly_or_beside_the_point_settles_nothing() {
    for badly in [true, false] {
        let playground = Playground::with_user();
        (0..201).for_each(|n| playground.write(&format!("1/f{n:03}"), "x"));
        playground.sync();
        (0..111).for_each(|n| playground.remove(&format!("1/f{n:03}")));
        // Enough that some are written long before the end.
        let new = if badly { 20_500 } else { 200 };
        (0..new).for_each(|n| playground.write(&format!("1/a/new{n}"), "x"));
        if badly {
            // Killed when the first additions are in. Should it be too quick for that, it was refused.
            let mut command = playground.command();
            command.args(["rebuild", "--mode", "full", "--force", "-q"]).stdout(std::process::Stdio::null());
            let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
            while playground.paths().len() == 201 && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(playground.paths().len() >= 10_201);
        } else {
            playground.refused(&forced(Mode::Full));
            let young = playground.rebuild(&["--mode", "full", "--force", "--min-age", "1d"]).ends(0).result();
            assert_eq!(young["records_skipped"], 111);
        }
        let refused = playground.refused(&forced(Mode::Full));
        assert_eq!(refused["records_deleted"], 0);
    }
}

/// What a run adds for others while it is refused does not soften the limit on all together; what their own runs add does
/// count.
#[test]
fn law_08_additions_for_others_do_not_soften_the_limit_on_all() {
    let playground = Playground::with_user();
    for user in ["2", "3"] {
        playground.add_user(&format!("u{user}"), user.parse().unwrap());
    }
    for user in [1, 2] {
        (0..99).for_each(|n| playground.write(&format!("{user}/f{n}"), "x"));
    }
    playground.sync();
    for user in [1, 2] {
        (0..60).for_each(|n| playground.remove(&format!("{user}/f{n}")));
    }
    (0..100).for_each(|n| playground.write(&format!("3/f{n}"), "x"));
    for _ in 0..2 {
        let refused = playground.refused(&forced(Mode::Full));
        assert!(refused["refusal"]["message"].as_str().unwrap().contains("120 of the 198"), "{refused}");
    }
    playground.rebuild(&["--mode", "full", "--force", "--user-id", "3"]).ends(0);
    assert_eq!(playground.full()["records_deleted"], 120);
}

/// What was refused to a clean stays refused after a sync has added the others.
#[test]
fn law_08_a_sync_between_two_cleans_does_not_disarm_the_second() {
    let playground = Playground::with_user();
    (0..200).for_each(|n| playground.write(&format!("1/old{n}"), "x"));
    playground.sync();
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    (0..201).for_each(|n| playground.write(&format!("1/new{n}"), "x"));
    playground.refused(&forced(Mode::Clean));
    assert_eq!(playground.sync()["records_created"], 201);
    let refused = playground.refused(&forced(Mode::Clean));
    assert_eq!(refused["records_deleted"], 0, "{refused}");
}

/// However often it is refused: a user with nothing to lose is not settled by a run that deletes nothing.
#[test]
fn law_08_the_third_refusal_is_as_firm_as_the_first() {
    let playground = Playground::with_user();
    for user in ["2", "3"] {
        playground.add_user(&format!("u{user}"), user.parse().unwrap());
    }
    for user in [1, 2] {
        (0..99).for_each(|n| playground.write(&format!("{user}/f{n}"), "x"));
    }
    playground.sync();
    for user in [1, 2] {
        (0..60).for_each(|n| playground.remove(&format!("{user}/f{n}")));
    }
    (0..100).for_each(|n| playground.write(&format!("3/f{n}"), "x"));
    for _ in 0..4 {
        let refused = playground.refused(&forced(Mode::Full));
        assert!(refused["refusal"]["message"].as_str().unwrap().contains("120 of the 198"), "{refused}");
    }
}

/// A run that has not judged what was refused, because it is left out, young or undecided, makes no additions count, also
/// when it has deleted something else.
#[test]
fn law_08_what_was_not_judged_settles_nothing() {
    for (without, deleted) in [(["--exclude", "old*"], 0), (["--exclude", "old*"], 1), (["--min-age", "1d"], 0)] {
        let playground = Playground::with_user();
        (0..200).for_each(|n| playground.write(&format!("1/old{n:03}"), "x"));
        (0..9).for_each(|n| playground.write(&format!("1/other{n}"), "x"));
        playground.sync();
        (0..150).for_each(|n| playground.remove(&format!("1/old{n:03}")));
        (0..200).for_each(|n| playground.write(&format!("1/new{n:03}"), "y"));
        playground.refused(&forced(Mode::Full));
        (0..deleted).for_each(|n| playground.remove(&format!("1/other{n}")));
        let done = playground.rebuild(&[&["--mode", "full", "--force"], &without[..]].concat()).ends(0).result();
        assert_eq!(done["records_deleted"], deleted, "{done}");
        let refused = playground.refused(&forced(Mode::Full));
        assert_eq!(refused["records_deleted"], 0, "{without:?}");
    }
}
