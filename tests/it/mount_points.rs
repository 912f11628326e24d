//! Law 18: a file system that is mounted below the root and goes away is not an emptied folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use storm_index::reconcile::Mode;

use crate::support::mounted::Mounted;
use crate::support::playground::{Playground, forced};

/// Mounts the directory `from` a second time.
fn bind(from: &Path, at: &Path) -> Option<Mounted> {
    Mounted::new(&["--bind", from.to_str().unwrap()], at)
}

/// 60 files of a user on the disk, 40 on a mount below, all indexed.
fn with_mount(mount: impl FnOnce(&Playground, &Path) -> Option<Mounted>) -> Option<(Playground, Mounted)> {
    let playground = Playground::with_user();
    (0..60).for_each(|n| playground.write(&format!("1/own/{n:02}"), "x"));
    let mounted = mount(&playground, &playground.path("files/1/usb"))?;
    (0..40).for_each(|n| playground.write(&format!("1/usb/{n:02}"), "x"));
    playground.sync();
    Some((playground, mounted))
}

const FULL: [&str; 3] = ["--mode", "full", "--force"];

fn remount(playground: &Playground) -> Mounted {
    Mounted::tmpfs(&playground.path("files/1/usb")).unwrap()
}

#[test]
fn law_18_records_of_a_file_system_that_has_gone_are_kept() {
    let Some((playground, mounted)) = with_mount(|_, at| Mounted::tmpfs(at)) else { return };
    let list = playground.run(&["storage", "mounts", "list", "--format", "json"]).ends(0).json();
    assert_eq!((&list[0]["path"], &list[0]["records"]), (&json!("1/usb"), &json!(40)), "{list}");
    drop(mounted);
    playground.remove("1/own/00");
    for _ in 0..2 {
        let ran = playground.rebuild(&FULL).ends(4);
        let result = ran.result();
        assert_eq!(result["incomplete_users"], json!([1]), "{result}");
        assert_eq!(result["errors"][0]["code"], "mount_missing", "{result}");
        assert!(result["errors"][0]["message"].as_str().unwrap().contains("storage mounts forget"), "{result}");
        assert_eq!(playground.paths().len(), 99);
    }
    // Another one in its place is not believed either.
    let other = remount(&playground);
    playground.write("1/usb/other", "x");
    let result = playground.troubled(&forced(Mode::Full));
    assert_eq!((&result["records_deleted"], &result["records_created"]), (&0.into(), &1.into()), "{result}");
    drop(other);
    // Until it is forgotten: what the storage shows counts then.
    playground.run(&["storage", "mounts", "forget", "1/usb"]).ends(0);
    playground.run(&["storage", "mounts", "forget", "1/usb"]).ends(2);
    let result = playground.full();
    assert_eq!(result["records_deleted"], 41, "{result}");
}

/// The same files on another file system in its place: most of the records match, so it is the right one from then on.
#[test]
fn law_18_a_file_system_with_the_same_files_takes_the_place() {
    let Some((playground, mounted)) = with_mount(|_, at| Mounted::tmpfs(at)) else { return };
    let (usb, copy) = (playground.path("files/1/usb"), playground.path("copy"));
    let copies = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
    };
    fs::create_dir(&copy).unwrap();
    copies(&usb, &copy);
    drop(mounted);
    let other = remount(&playground);
    copies(&copy, &usb);
    fs::remove_file(usb.join("00")).unwrap();
    let result = playground.full();
    assert_eq!((&result["records_deleted"], &result["identities_refreshed"]), (&1.into(), &39.into()), "{result}");
    drop(other);
    playground.troubled(&forced(Mode::Full));
    // And the same files in the folder itself end the watch over it.
    copies(&copy, &usb);
    playground.full();
    let list = playground.run(&["storage", "mounts", "list", "--format", "json"]).ends(0).json();
    assert_eq!(list, json!([]));
}

/// A user whose prefix is the mount, and one whose prefix lies below it.
#[test]
fn law_18_a_prefix_that_was_a_mount_is_not_emptied() {
    let playground = Playground::new();
    for (name, prefix) in [("ann", "1"), ("bea", "disks/bea"), ("cat", "3")] {
        playground.run(&["user", "add", name, "--prefix", prefix]).ends(0);
    }
    let files = playground.path("files");
    let Some(one) = Mounted::tmpfs(&files.join("1")) else { return };
    let two = Mounted::tmpfs(&files.join("disks")).unwrap();
    for key in ["1/a", "1/b", "disks/bea/a", "3/a", "3/b"] {
        playground.write(key, "x");
    }
    playground.sync();
    drop((one, two));
    playground.remove("3/a");
    let result = playground.troubled(&forced(Mode::Full));
    assert_eq!((&result["records_deleted"], &result["incomplete_users"]), (&1.into(), &json!([1, 2])), "{result}");
    // The mount points themselves may be gone as well.
    fs::remove_dir(files.join("1")).unwrap();
    fs::remove_dir(files.join("disks")).unwrap();
    playground.troubled(&forced(Mode::Full));
    for user in ["1", "2"] {
        playground.rebuild(&[&FULL[..], &["--user-id", user]].concat()).ends(4);
    }
    assert_eq!(playground.paths(), ["1/a", "1/b", "2/a", "3/b"]);
}

/// A container whose host disk is missing: the directory is mounted as always, but from another file system.
#[test]
fn law_18_a_bind_mount_of_another_file_system_is_not_believed() {
    let Some((playground, mounted)) = with_mount(|playground, at| {
        let host = Mounted::tmpfs(&playground.path("host"))?;
        let bound = bind(&playground.path("host"), at);
        drop(host);
        bound
    }) else {
        return;
    };
    drop(mounted);
    let _bound = bind(&playground.path("host"), &playground.path("files/1/usb")).unwrap();
    let result = playground.troubled(&forced(Mode::Full));
    assert_eq!(
        (&result["records_deleted"], &result["errors"][0]["code"]),
        (&0.into(), &json!("mount_missing")),
        "{result}"
    );
}

/// A bind mount of the same file system is noticed too, though the device is that of the directory above.
#[test]
fn law_18_a_bind_mount_of_the_same_file_system_is_noticed() {
    let Some((playground, mounted)) = with_mount(|playground, at| {
        fs::create_dir(playground.path("host")).unwrap();
        bind(&playground.path("host"), at)
    }) else {
        return;
    };
    drop(mounted);
    assert_eq!(playground.troubled(&forced(Mode::Full))["records_deleted"], 0);
    let _again = bind(&playground.path("host"), &playground.path("files/1/usb")).unwrap();
    assert_eq!(playground.full()["records_deleted"], 0);
}

/// The directory that file systems keep for themselves: root's, and closed. It is no error, whoever owns the prefix.
#[test]
fn lost_and_found_is_no_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let closed = |path: PathBuf| {
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    };
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    closed(playground.path("files/lost+found"));
    for args in [&["rebuild", "--mode", "sync", "--adopt"][..], &["rebuild", "--mode", "audit"]] {
        playground.run_as_nobody(args).ends(0);
    }
    // At the root of a file system that is a user's.
    let Some(_mounted) = Mounted::tmpfs(&playground.path("files/1/disk")) else { return };
    playground.write("1/disk/b", "x");
    closed(playground.path("files/1/disk/lost+found"));
    playground.run_as_nobody(&["rebuild", "--mode", "sync"]).ends(0);
    playground.run_as_nobody(&["rebuild", "--mode", "audit"]).ends(0);
    // Any other closed folder of a user still is one.
    closed(playground.path("files/1/closed"));
    playground.run_as_nobody(&["rebuild", "--mode", "audit"]).ends(4);
}
