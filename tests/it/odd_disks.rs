//! Real file systems with habits of their own: names that ignore case, inode numbers that do not last, listings with gaps,
//! several disks below one root.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use storm_index::index::{Access, Index};
use storm_index::model::Timestamp;
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent};
use storm_index::storage::{MARKER, Storage, marker_document};
use uuid::Uuid;

use crate::moves::{ids, moves, opens, share};
use crate::support::database::column;
use crate::support::fuse::{Births, Faults, FuseDisk, Manners, Names, Numbers};
use crate::support::mounted::Mounted;
use crate::support::playground::{Playground, block_on, dry};

const FULL: &[&str] = &["--mode", "full", "--force", "--max-delete", "100%"];

/// Files in `below`, which are shown in `files` by a file system in user space, and an index of user 1 of them.
struct Odd {
    disk: Option<FuseDisk>,
    playground: Playground,
}

impl Odd {
    fn new() -> Self {
        let odd = Self { disk: None, playground: Playground::with_user() };
        std::fs::create_dir(odd.below("")).unwrap();
        odd.write(MARKER, &marker_document(Uuid::now_v7(), Timestamp::from_micros(0)));
        odd
    }

    fn below(&self, key: &str) -> PathBuf {
        self.playground.path("below").join(key)
    }

    /// Writes below, with a fixed time of last modification.
    fn write(&self, key: &str, content: &str) {
        write(&self.below(key), content);
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.below(from), self.below(to)).unwrap();
    }

    /// Mounts it, again if it was mounted. False where that is not possible.
    fn mount(&mut self, manners: Manners) -> bool {
        self.disk = None;
        self.disk = FuseDisk::new(&self.below(""), &self.playground.path("files"), manners);
        self.disk.is_some()
    }

    fn fail(&self, faults: Faults) {
        self.disk.as_ref().unwrap().fail(faults);
    }

    fn full(&self, code: i32) -> Value {
        self.playground.rebuild(FULL).ends(code).result()
    }

    /// Runs without the program, on a storage whose owner says that inode numbers last.
    fn declared(&self, mode: Mode) -> Report {
        declared(&self.playground, mode)
    }
}

fn declared(playground: &Playground, mode: Mode) -> Report {
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let storage = Storage::local(playground.path("files")).unwrap().with_stable_inodes();
        let request = Request { force: true, ..Request::new(mode) };
        let report = Reconciler::new(&storage, &index).run(&request, &mut Silent).await.unwrap();
        index.close().await;
        report
    })
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

/// One column of a query.
fn query(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { column(&playground.database().await, query).await })
}

fn set(names: &[&str]) -> HashSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A hundred files of one size and time in `1/old`, and some that stay.
fn hundred() -> Odd {
    let odd = Odd::new();
    for n in 0..100 {
        odd.write(&format!("1/old/f{n:03}"), &format!("content {n:03}"));
    }
    for n in 0..3 {
        odd.write(&format!("1/stays/f{n:03}"), &format!("content {n:03}"));
    }
    odd
}

#[test]
fn law_11_inode_numbers_of_a_fuse_mount_prove_nothing() {
    for births in [Births::Untold, Births::Modified] {
        let mut odd = hundred();
        if !odd.mount(Manners { numbers: Numbers::Plus(1_000), births, ..Manners::PLAIN }) {
            return;
        }
        odd.playground.sync();
        let stored = "SELECT file_id FROM stored_files WHERE file_id IS NOT NULL";
        assert_eq!(query(&odd.playground, stored), [""; 0], "{births:?}");
        let before = ids(&odd.playground);
        let tokens: Vec<String> = (0..5).map(|n| share(&odd.playground, &format!("old/f{:03}", n * 20))).collect();
        odd.disk = None;
        odd.rename("1/old", "1/new");
        odd.mount(Manners { numbers: Numbers::Plus(1_001), births, ..Manners::PLAIN });
        let result = odd.playground.sync();
        assert_eq!(moves(&result), [0, 0, 100, 100, 100, 0, 0], "{births:?} {result}");
        let after = ids(&odd.playground);
        assert!(before.iter().all(|(path, id)| after[path] == *id), "{births:?}");
        let opened = opens(&odd.playground);
        for (n, token) in tokens.iter().enumerate() {
            assert_eq!(opened[token], format!("old/f{:03}", n * 20), "{births:?}");
        }
    }
}

#[test]
fn law_11_declared_inode_numbers_that_have_changed_prove_nothing() {
    for (numbers, births, moved) in [
        // Another file's number, and its birth time: all but the rule says that this is the other file.
        (Numbers::Plus(1_001), Births::Modified, 0),
        (Numbers::Plus(1_001), Births::Kept, 0),
        (Numbers::Plus(1_000), Births::Kept, 100),
        (Numbers::Plus(1_000), Births::Untold, 0),
    ] {
        let mut odd = hundred();
        let first = if births == Births::Untold { Births::Kept } else { births };
        if !odd.mount(Manners { numbers: Numbers::Plus(1_000), births: first, ..Manners::PLAIN }) {
            return;
        }
        assert_eq!(odd.declared(Mode::Sync).tally.created, 103);
        let before = ids(&odd.playground);
        let token = share(&odd.playground, "old/f050");
        odd.disk = None;
        odd.rename("1/old", "1/new");
        odd.mount(Manners { numbers, births, ..Manners::PLAIN });
        let tally = odd.declared(Mode::Sync).tally;
        let left = 100 - moved;
        assert_eq!(
            (tally.moved, tally.missing, tally.orphaned),
            (moved, left, left),
            "{numbers:?} {births:?} {tally:?}"
        );
        let (after, place) = (ids(&odd.playground), if moved == 0 { "old" } else { "new" });
        for n in 0..100 {
            let (from, to) = (format!("1/old/f{n:03}"), format!("1/{place}/f{n:03}"));
            assert_eq!(before[&from], after[&to], "{numbers:?} {births:?}");
        }
        assert_eq!(opens(&odd.playground)[&token], format!("{place}/f050"));
    }
}

/// Two disks below one prefix, on which all that tells files apart is equal: the disk is another one.
#[test]
fn law_11_a_file_on_another_disk_is_another_file() {
    let playground = Playground::with_user();
    let (a, b) = (playground.path("a"), playground.path("b"));
    write(&a.join("invoice.pdf"), "AAAAAAAA");
    write(&a.join("other"), "other");
    std::fs::create_dir(&b).unwrap();
    for mount in ["files/1/a", "files/1/b"] {
        std::fs::create_dir_all(playground.path(mount)).unwrap();
    }
    let manners = Manners { numbers: Numbers::One(77), births: Births::Modified, ..Manners::PLAIN };
    let Some(_a) = FuseDisk::new(&a, &playground.path("files/1/a"), manners) else { return };
    let _b = FuseDisk::new(&b, &playground.path("files/1/b"), manners);
    assert_eq!(declared(&playground, Mode::Sync).tally.created, 2);
    let (before, token) = (ids(&playground), share(&playground, "a/invoice.pdf"));
    std::fs::remove_file(a.join("invoice.pdf")).unwrap();
    write(&b.join("photo.jpg"), "BBBBBBBB");
    // On one disk it is a move.
    std::fs::rename(a.join("other"), a.join("renamed")).unwrap();
    let tally = declared(&playground, Mode::Sync).tally;
    assert_eq!((tally.moved, tally.missing, tally.orphaned, tally.created), (1, 1, 1, 1), "{tally:?}");
    let after = ids(&playground);
    assert_eq!(after["1/a/invoice.pdf"], before["1/a/invoice.pdf"]);
    assert_eq!(after["1/a/renamed"], before["1/a/other"]);
    assert_eq!(opens(&playground)[&token], "a/invoice.pdf");
}

#[test]
fn law_11_files_of_two_disks_in_memory_are_two_files() {
    let playground = Playground::with_user();
    let Some(_a) = Mounted::tmpfs(&playground.path("files/1/a")) else { return };
    let _b = Mounted::tmpfs(&playground.path("files/1/b"));
    write(&playground.path("files/1/a/invoice.pdf"), "AAAAAAAA");
    playground.sync();
    let token = share(&playground, "a/invoice.pdf");
    playground.remove("1/a/invoice.pdf");
    write(&playground.path("files/1/b/photo.jpg"), "BBBBBBBB");
    let result = playground.sync();
    assert_eq!(moves(&result)[..5], [0, 0, 1, 1, 1], "{result}");
    assert_eq!(opens(&playground)[&token], "a/invoice.pdf");
}

/// Spellings of one name, and the manners that make them one.
const SPELLINGS: &[(Names, &str, &str)] =
    &[(Names::AnyCase, "PIter.2023", "Piter.2023"), (Names::AnyForm, "caf\u{e9}", "cafe\u{301}")];

fn spelling(names: Names) -> Manners {
    Manners { names, ..Manners::PLAIN }
}

/// A folder that is spelled anew, with one file in it replaced, and a file that is spelled anew.
#[test]
fn law_11_another_spelling_of_a_name_keeps_ids_and_links() {
    for (names, old, new) in SPELLINGS {
        let mut odd = Odd::new();
        for n in 1..=3 {
            odd.write(&format!("1/{old}/{n}.jpg"), &format!("picture {n}"));
        }
        odd.write(&format!("1/file {old}"), "a file");
        odd.write("1/other", "other");
        if !odd.mount(spelling(*names)) {
            return;
        }
        odd.playground.sync();
        let before = ids(&odd.playground);
        let tokens = [1, 2].map(|n| share(&odd.playground, &format!("{old}/{n}.jpg")));
        odd.rename(&format!("1/{old}"), &format!("1/{new}"));
        odd.rename(&format!("1/file {old}"), &format!("1/file {new}"));
        std::fs::remove_file(odd.below(&format!("1/{new}/1.jpg"))).unwrap();
        odd.write(&format!("1/{new}/1.jpg"), "another picture altogether");
        // It opens by its old name.
        assert!(odd.playground.path(&format!("files/1/{old}/1.jpg")).exists());
        let want = |carried| [4, carried, 0, 0, 0, 0, 0];
        assert_eq!(moves(&odd.playground.drifted()), want(0));
        let dry = odd.playground.done(&dry(Mode::Full));
        assert_eq!(moves(&dry), want(4), "{dry}");
        let result = odd.full(0);
        assert_eq!(moves(&result), want(4), "{result}");
        assert_eq!(result["records_skipped"], 0, "{result}");
        let after: BTreeMap<String, String> =
            before.into_iter().map(|(path, id)| (path.replace(old, new), id)).collect();
        assert_eq!(ids(&odd.playground), after);
        let opened = opens(&odd.playground);
        for (n, token) in [1, 2].iter().zip(&tokens) {
            assert_eq!(opened[token], format!("{new}/{n}.jpg"));
        }
        let size = format!("SELECT CAST(size AS TEXT) FROM stored_files WHERE path = '{new}/1.jpg'");
        assert_eq!(query(&odd.playground, &size), ["26"]);
        assert_eq!(moves(&odd.playground.in_step()), [0; 7]);
        assert_eq!(moves(&odd.full(0)), [0; 7]);
    }
}

/// An index that has a record of both spellings, each with a link: the one that is listed takes over.
#[test]
fn law_11_two_records_of_one_file_become_one() {
    for (names, old, new) in SPELLINGS {
        let mut odd = Odd::new();
        for spelling in [old, new] {
            odd.write(&format!("1/{spelling}/1.jpg"), "picture");
            odd.write(&format!("1/{spelling}/2.jpg"), "picture");
        }
        let below = odd.below("").display().to_string();
        odd.playground.rebuild(&["--mode", "sync", "--storage", &below]).ends(0);
        let before = ids(&odd.playground);
        let tokens = [old, new].map(|spelling| share(&odd.playground, &format!("{spelling}/1.jpg")));
        std::fs::remove_dir_all(odd.below(&format!("1/{old}"))).unwrap();
        if !odd.mount(spelling(*names)) {
            return;
        }
        let dry = odd.playground.done(&dry(Mode::Full));
        let ran = odd.playground.rebuild(FULL).ends(0);
        let result = ran.result();
        assert_eq!(moves(&dry), moves(&result), "{result}");
        assert_eq!(moves(&result), [2, 2, 0, 0, 0, 0, 0], "{result}");
        let left: BTreeMap<String, String> =
            before.clone().into_iter().filter(|(path, _)| path.starts_with(&format!("1/{new}/"))).collect();
        assert_eq!(ids(&odd.playground), left);
        let opened = opens(&odd.playground);
        assert!(tokens.iter().all(|token| opened[token] == format!("{new}/1.jpg")), "{opened:?}");
        assert_eq!(moves(&odd.playground.in_step()), [0; 7]);
        // The others can be brought back.
        let task = ran.json()["task_id"].as_str().unwrap().to_owned();
        odd.playground.run(&["restore", &task]).ends(4);
        assert_eq!(ids(&odd.playground), before);
        let opened = opens(&odd.playground);
        let spellings = [old, new].map(|spelling| format!("{spelling}/1.jpg"));
        assert!(tokens.iter().all(|token| spellings.contains(&opened[token])), "{opened:?}");
        assert_eq!(opened[&tokens[1]], spellings[1]);
    }
}

/// Records of two spellings, and neither is the one that is listed: more than one transaction carries.
#[test]
fn law_11_records_of_two_spellings_become_one_of_a_third() {
    let mut odd = Odd::new();
    for n in 0..1_100 {
        odd.write(&format!("1/DIR/f{n:04}"), "x");
        odd.write(&format!("1/Dir/f{n:04}"), "x");
    }
    let below = odd.below("").display().to_string();
    odd.playground.rebuild(&["--mode", "sync", "--storage", &below]).ends(0);
    let tokens = ["DIR", "Dir"].map(|spelling| share(&odd.playground, &format!("{spelling}/f0007")));
    std::fs::remove_dir_all(odd.below("1/Dir")).unwrap();
    odd.rename("1/DIR", "1/dir");
    if !odd.mount(spelling(Names::AnyCase)) {
        return;
    }
    let dry = odd.playground.done(&dry(Mode::Full));
    let result = odd.full(0);
    assert_eq!(moves(&dry), moves(&result), "{result}");
    assert_eq!(moves(&result), [2_200, 2_200, 0, 0, 0, 0, 0], "{result}");
    assert!(ids(&odd.playground).keys().all(|path| path.starts_with("1/dir/")));
    let opened = opens(&odd.playground);
    assert!(tokens.iter().all(|token| opened[token] == "dir/f0007"), "{opened:?}");
    assert_eq!(moves(&odd.playground.in_step()), [0; 7]);
}

/// The old name of a renamed file opens another file, which is listed in another spelling.
#[test]
fn law_18_an_old_name_that_opens_another_file_is_not_gone() {
    let mut odd = Odd::new();
    odd.write("1/A.txt", "first");
    odd.write("1/other", "other");
    let manners = Manners { births: Births::Kept, ..spelling(Names::AnyCase) };
    if !odd.mount(manners) {
        return;
    }
    assert_eq!(odd.declared(Mode::Sync).tally.created, 2);
    let (before, token) = (ids(&odd.playground), share(&odd.playground, "A.txt"));
    odd.rename("1/A.txt", "1/b.txt");
    odd.write("1/a.txt", "another one");
    let tally = odd.declared(Mode::Full).tally;
    assert_eq!((tally.moved, tally.carried, tally.created, tally.deleted), (1, 1, 1, 0), "{tally:?}");
    let after = ids(&odd.playground);
    assert_eq!((&after["1/a.txt"], &after["1/other"]), (&before["1/A.txt"], &before["1/other"]));
    assert!(after["1/b.txt"] != before["1/A.txt"]);
    assert_eq!(opens(&odd.playground)[&token], "a.txt");
    assert_eq!(odd.declared(Mode::Audit).tally.moved, 0);
}

/// Ten files of user 1 in a folder and three more, four of user 2; after a sync, three of the former and one of the latter
/// are removed.
fn with_orphans() -> Odd {
    let odd = Odd::new();
    odd.playground.add_user("bob", 2);
    for n in 0..10 {
        odd.write(&format!("1/dir/f{n}"), "x");
    }
    for n in 0..4 {
        odd.write(&format!("1/g{n}"), "x");
        odd.write(&format!("2/f{n}"), "x");
    }
    odd
}

impl Odd {
    /// Syncs, and removes what is to be orphaned.
    fn orphan(&self) {
        self.playground.sync();
        for key in ["1/g0", "1/g1", "1/g2", "2/f0"] {
            std::fs::remove_file(self.below(key)).unwrap();
        }
    }

    fn has(&self, key: &str) -> bool {
        ids(&self.playground).contains_key(key)
    }
}

#[test]
fn law_18_a_listing_that_leaves_names_out_deletes_nothing_of_that_user() {
    let all: Vec<String> = (0..10).map(|n| format!("1/dir/f{n}")).collect();
    let some = set(&["1/dir/f1", "1/dir/f4", "1/dir/f8"]);
    let all: HashSet<String> = all.into_iter().collect();
    let top = set(&["1/dir", "1/g3"]);
    // The prefix itself, in the listing of the root.
    let prefix = set(&["1"]);
    for (hidden, records) in [(some, 3), (all, 10), (top, 11), (prefix, 11)] {
        let mut odd = with_orphans();
        if !odd.mount(Manners::PLAIN) {
            return;
        }
        odd.orphan();
        odd.fail(Faults { hidden: hidden.clone(), ..Faults::default() });
        for mode in [&["--mode", "full", "--dry-run"][..], FULL] {
            let result = odd.playground.rebuild(mode).ends(4).result();
            assert_eq!(result["incomplete_users"], json!([1]), "{hidden:?} {result}");
            let codes = result["errors"].as_array().unwrap().iter().filter(|e| e["code"] == "unlisted_name");
            assert_eq!(codes.count(), records, "{hidden:?} {result}");
            assert_eq!(result["records_deleted"], 1, "{hidden:?} {result}");
        }
        assert!((0..10).all(|n| odd.has(&format!("1/dir/f{n}"))));
        assert!((0..4).all(|n| odd.has(&format!("1/g{n}"))), "its other orphans are not trusted either");
        assert!(!odd.has("2/f0"), "those of another user are");
        odd.fail(Faults::default());
        let result = odd.full(0);
        assert_eq!((&result["records_deleted"], &result["incomplete_users"]), (&json!(3), &json!([])), "{result}");
    }
}

/// On a file system that ignores case, the prefix of a user opens although its directory has another spelling.
#[test]
fn law_18_a_prefix_that_is_listed_in_another_spelling_is_a_doubt() {
    let mut odd = Odd::new();
    odd.playground.run(&["user", "add", "eve", "--id", "5", "--prefix", "Eve"]).ends(0);
    odd.write("Eve/a", "x");
    odd.write("Eve/b", "x");
    if !odd.mount(spelling(Names::AnyCase)) {
        return;
    }
    odd.playground.sync();
    odd.rename("Eve", "eve");
    let result = odd.full(4);
    assert_eq!((&result["incomplete_users"], &result["records_deleted"]), (&json!([5]), &json!(0)), "{result}");
    assert!(odd.has("5/a") && odd.has("5/b"));
}

/// A name that only the first listing has left out came back: it has its record, and the listing its trust.
#[test]
fn law_18_a_name_that_the_next_listing_has_is_there() {
    let mut odd = with_orphans();
    if !odd.mount(Manners::PLAIN) {
        return;
    }
    odd.orphan();
    odd.fail(Faults { hidden: set(&["1/dir/f1"]), hiding: Some(1), ..Faults::default() });
    let result = odd.full(0);
    assert_eq!((&result["records_deleted"], &result["incomplete_users"]), (&json!(4), &json!([])), "{result}");
    assert!(odd.has("1/dir/f1"));
}

#[test]
fn law_06_a_directory_that_cannot_be_listed_hides_what_is_below_it() {
    for (directory, deleted) in [("1/dir", 4), ("1", 1)] {
        for error in [2, 5] {
            let mut odd = with_orphans();
            if !odd.mount(Manners::PLAIN) {
                return;
            }
            odd.orphan();
            odd.fail(Faults { unlisted: HashMap::from([(directory.to_owned(), error)]), ..Faults::default() });
            let result = odd.full(4);
            assert_eq!(result["incomplete_users"], json!([1]), "{directory} {error} {result}");
            assert_eq!(result["records_deleted"], deleted, "{directory} {error} {result}");
            assert!((0..10).all(|n| odd.has(&format!("1/dir/f{n}"))), "{directory} {error}");
            odd.fail(Faults::default());
            assert_eq!(odd.full(0)["records_deleted"], 4 - deleted);
        }
    }
}

#[test]
fn law_18_a_name_that_is_listed_but_does_not_open_is_not_gone() {
    for (closed, records) in [("1/dir/f3", 1), ("1/dir", 10), ("1", 14)] {
        let mut odd = with_orphans();
        if !odd.mount(Manners::PLAIN) {
            return;
        }
        odd.orphan();
        odd.fail(Faults { closed: set(&[closed]), ..Faults::default() });
        let result = odd.full(4);
        assert_eq!(result["incomplete_users"], json!([1]), "{closed} {result}");
        let left = ids(&odd.playground);
        let kept = left.keys().filter(|path| *path == closed || path.starts_with(&format!("{closed}/"))).count();
        assert_eq!(kept, records, "{closed} {result}");
        assert!(!odd.has("2/f0"));
        odd.fail(Faults::default());
        odd.full(0);
        assert_eq!(ids(&odd.playground).len(), 14);
    }
}

/// Renames a file of each disk in `files/1`, and counts the moves.
fn renamed(playground: &Playground, from: &str, to: &str) -> Value {
    let files = playground.path("files/1");
    std::fs::rename(files.join(from), files.join(to)).unwrap();
    playground.full()
}

#[test]
fn law_11_renames_are_recognised_on_ext4_and_in_memory() {
    for kind in ["ext4", "tmpfs"] {
        let playground = Playground::with_user();
        let at = playground.path("files/1");
        let mounted = match kind {
            "ext4" => Mounted::ext4(&playground.path("image"), &at),
            _ => Mounted::tmpfs(&at),
        };
        let Some(_mounted) = mounted else { continue };
        for n in 0..20 {
            write(&at.join(format!("dir/f{n}")), "x");
        }
        playground.sync();
        let (before, token) = (ids(&playground), share(&playground, "dir/f7"));
        let result = renamed(&playground, "dir", "new");
        assert_eq!(moves(&result), [20, 20, 0, 0, 0, 0, 0], "{kind} {result}");
        let after = ids(&playground);
        assert!((0..20).all(|n| before[&format!("1/dir/f{n}")] == after[&format!("1/new/f{n}")]), "{kind}");
        assert_eq!(opens(&playground)[&token], "new/f7", "{kind}");
    }
}

/// A file of the upper layer keeps its identity; one of the lower layer is copied when it is renamed, and has a new one.
#[test]
fn law_11_renames_are_recognised_in_the_upper_layer_of_an_overlay() {
    for kind in ["ext4", "tmpfs"] {
        let playground = Playground::with_user();
        let disk = playground.path("disk");
        let mounted = match kind {
            "ext4" => Mounted::ext4(&playground.path("image"), &disk),
            _ => Mounted::tmpfs(&disk),
        };
        let Some(_disk) = mounted else { continue };
        write(&disk.join("lower/low"), "low");
        let Some(_overlay) = Mounted::overlay(&disk.join("lower"), &disk, &playground.path("files/1")) else {
            continue;
        };
        write(&playground.path("files/1/up"), "up");
        playground.sync();
        let before = ids(&playground);
        let result = renamed(&playground, "up", "up2");
        assert_eq!(moves(&result), [1, 1, 0, 0, 0, 0, 0], "{kind} {result}");
        let result = renamed(&playground, "low", "low2");
        assert_eq!(moves(&result), [0, 0, 1, 1, 1, 0, 1], "{kind} {result}");
        let after = ids(&playground);
        assert_eq!(after["1/up2"], before["1/up"]);
        assert!(after["1/low2"] != before["1/low"]);
        let result = renamed(&playground, "low2", "low3");
        assert_eq!(moves(&result), [1, 1, 0, 0, 0, 0, 0], "{kind} {result}");
        assert_eq!(ids(&playground)["1/low3"], after["1/low2"]);
    }
}
