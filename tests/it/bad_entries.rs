//! Entries that cannot be objects: each costs one name, and hides nothing that it does not have to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use storm_index::model::BadReason;
use storm_index::storage::{Glance, Storage};

use crate::listing::{all, look};
use crate::support::backend::{Backend, Kind};
use crate::support::playground::{Playground, block_on};

#[test]
fn each_bad_entry_on_disk_is_one_item_that_names_it() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let raw = |name: &[u8]| root.path().join(OsStr::from_bytes(name));
    for dir in ["d", "loop1", "loop2", ".storm-index", "z"] {
        std::fs::create_dir(at(dir)).unwrap();
    }
    for file in ["a", "d/file", "loop1/in", "loop2/in", ".storm-index/identity.json", "z/last", "x#12a"] {
        std::fs::write(at(file), "x").unwrap();
    }
    std::fs::write(raw(b"latin-\xe9"), "x").unwrap();
    std::fs::create_dir(raw(b"dir-\xff")).unwrap();
    std::fs::write(raw(b"dir-\xff/inside"), "x").unwrap();
    std::fs::write(at("new\nline"), "x").unwrap();
    std::fs::write(at("d/x#12"), "x").unwrap();
    symlink(outside.path().join("secret"), at("out-file")).unwrap();
    symlink(outside.path(), at("out-dir")).unwrap();
    symlink("self", at("self")).unwrap();
    symlink("..", at("d/up")).unwrap();
    symlink("../loop2", at("loop1/to2")).unwrap();
    symlink("../loop1", at("loop2/to1")).unwrap();
    symlink("nowhere", at("broken")).unwrap();
    symlink(".storm-index", at("to-marker")).unwrap();
    symlink("a", at("in-file")).unwrap();
    symlink("z", at("in-dir")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());

    let storage = Storage::local(root.path()).unwrap();
    let (objects, bad, doubt) = block_on(all(&storage, None));
    assert_eq!(doubt, None);
    let keys: Vec<&str> = objects.iter().map(|o| o.key.as_str()).collect();
    let want = [
        "a",
        "d/file",
        "in-dir/last",
        "in-file",
        "loop1/in",
        "loop1/to2/in",
        "loop2/in",
        "loop2/to1/in",
        "x#12a",
        "z/last",
    ];
    assert_eq!(keys, want);
    let mut found: Vec<(&str, &BadReason)> = bad.iter().map(|b| (b.shown.as_str(), &b.reason)).collect();
    found.sort_by_key(|(shown, _)| *shown);
    use BadReason::{
        ControlCharacter, LinkBelowLink, LinkBroken, LinkLoop, LinkOutside, NotUtf8, ReservedName, Special,
    };
    assert_eq!(
        found,
        [
            ("broken", &LinkBroken),
            ("d/up", &LinkLoop),
            ("d/x#12", &ReservedName),
            ("dir-\u{fffd}", &NotUtf8),
            ("latin-\u{fffd}", &NotUtf8),
            ("loop1/to2/to1", &LinkBelowLink),
            ("loop2/to1/to2", &LinkBelowLink),
            ("new\nline", &ControlCharacter),
            ("out-dir", &LinkOutside),
            ("out-file", &LinkOutside),
            ("pipe", &Special),
            ("self", &LinkLoop),
            ("to-marker", &LinkOutside),
        ]
    );
    // What is there in any form is never "not found".
    block_on(async {
        for key in ["broken", "self", "pipe", "d/x#12"] {
            assert!(matches!(look(&storage, key).await, Glance::Unknown(_)), "{key}");
        }
        for key in ["in-file", "in-dir/last"] {
            assert!(matches!(look(&storage, key).await, Glance::Present { .. }), "{key}");
        }
        // What a link that leads out shows is no object, and below one that leads nowhere there is none.
        for key in [
            "broken/x",
            "d",
            "a/b",
            "z/gone",
            "out-dir",
            "out-dir/secret",
            "out-dir/other",
            "out-file",
            "to-marker",
            "d/up",
            "loop1/to2/to1",
        ] {
            assert_eq!(look(&storage, key).await, Glance::Absent, "{key}");
        }
    });
}

#[test]
fn a_root_that_went_away_says_nothing_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("disk");
    std::fs::create_dir(&root).unwrap();
    let storage = Storage::local(&root).unwrap();
    std::fs::remove_dir(&root).unwrap();
    block_on(async {
        assert!(all(&storage, None).await.2.is_some());
        assert!(all(&storage, Some("1")).await.2.is_some());
        assert!(matches!(look(&storage, "1/a").await, Glance::Unknown(_)));
    });
}

#[test]
fn odd_keys_on_s3_are_set_aside_and_the_rest_is_listed() {
    let backend = Backend::new(Kind::S3);
    let put = |key: &str| block_on(backend.put(key, b"content"));
    for n in 0..2_100 {
        put(&format!("k/{n:05}"));
    }
    let odd = ["a/../b", "a/./b", "a//b", "k/00500//x", "k/01500/trail/", "tab\tx"];
    odd.into_iter().for_each(put);
    block_on(backend.put("k/00500/", b""));
    block_on(async {
        let (objects, bad, doubt) = all(&backend.storage(), None).await;
        assert_eq!((objects.len(), doubt), (2_100, None));
        let mut names: Vec<&str> = bad.iter().map(|b| b.shown.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, odd);
        assert!(bad.iter().all(|b| b.reason == BadReason::Unaddressable));
    });
}

/// Law 6, first form: what cannot be read keeps the whole of its user.
#[test]
fn law_06_an_unreadable_directory_keeps_what_lies_in_it_and_nothing_else() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    playground.add_user("carl", 3);
    for key in ["1/closed/a", "1/open", "1/gone", "2/stays", "2/gone", "3/stays", "3/gone"] {
        playground.write(key, "x");
    }
    playground.sync();
    playground.remove("1/gone");
    playground.remove("2/gone");
    playground.remove("3/gone");
    playground.write("1/new", "x");
    // The index knows nothing of this one: it hides no record.
    playground.write("3/closed/unknown", "x");
    // Root reads everything, so somebody else has to look.
    let everyone = |mode: u32, path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    everyone(0o000, &playground.path("files/1/closed"));
    everyone(0o000, &playground.path("files/3/closed"));
    let ran = playground.run_as_nobody(&["rebuild", "--format", "json", "--mode", "full", "--force"]);
    let result = ran.ends(4).result();
    everyone(0o755, &playground.path("files/1/closed"));
    everyone(0o755, &playground.path("files/3/closed"));
    assert_eq!(result["incomplete_users"], serde_json::json!([1, 3]), "{result}");
    assert_eq!(result["errors"][0]["key"], "1/closed", "{result}");
    assert_eq!(result["refusal"], serde_json::Value::Null, "{result}");
    assert_eq!((&result["records_created"], &result["records_deleted"]), (&1.into(), &3.into()), "{result}");
    assert_eq!(playground.paths(), ["1/closed/a", "1/new", "1/open", "2/stays", "3/stays"]);
}
