//! Law 21: what storm-index makes only its owner can read, whatever the umask is.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::playground::{Playground, Ran};
use crate::support::server::LONG;

/// One that takes nothing away, one that takes even the owner's right to write, and the usual one.
const UMASKS: [&str; 3] = ["000", "0277", "022"];

/// Has a command run under a umask.
fn under(umask: &str, command: &mut Command) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    *command = shell;
}

fn run_under(playground: &Playground, umask: &str, args: &[&str]) -> Ran {
    let mut command = playground.command();
    command.env("DATABASE_URL", DATABASE).args(args);
    under(umask, &mut command);
    command.output().unwrap().into()
}

const DATABASE: &str = "sqlite://deep/er/index.sqlite3";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Checks a directory and all that is in it. Returns the names of the files.
#[track_caller]
fn is_private(directory: &Path, umask: &str) -> Vec<String> {
    let (mut open, mut names) = (vec![directory.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        let is_dir = path.is_dir();
        assert_eq!(mode(&path), if is_dir { 0o700 } else { 0o600 }, "{path:?} under umask {umask}");
        if is_dir {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn law_21_database_reports_and_exports_are_private() {
    for umask in UMASKS {
        let playground = Playground::new();
        run_under(&playground, umask, &["user", "add", "ann", "--id", "1"]).ends(0);
        playground.write("1/a", "x");
        for report in ["r.ndjson", "r.csv"] {
            run_under(&playground, umask, &["rebuild", "--report", report]).ends(1);
            assert_eq!(mode(&playground.path(report)), 0o600, "{report} under umask {umask}");
        }
        run_under(&playground, umask, &["index", "export", "people.ndjson"]).ends(0);
        assert_eq!(mode(&playground.path("people.ndjson")), 0o600, "umask {umask}");
        let names = is_private(&playground.path("deep"), umask);
        assert_eq!(names[0], "index.sqlite3", "umask {umask}");
    }
}

#[test]
fn law_21_side_files_and_findings_of_the_server_are_private() {
    for umask in UMASKS {
        let playground = Playground::new();
        run_under(&playground, umask, &["user", "add", "ann", "--id", "1"]).ends(0);
        let key = run_under(&playground, umask, &["key", "create", "--user", "ann", "--admin"]).ends(0).out;
        playground.write("1/a", "x");
        for args in [&["--findings", "kept/findings"][..], &[]] {
            let place = playground.path("tmp");
            std::fs::create_dir_all(&place).unwrap();
            let server = playground.serve_with(args, |command| {
                command.env("DATABASE_URL", DATABASE).env("TMPDIR", &place);
                under(umask, command);
            });
            let audit = r#"{"mode": "audit"}"#;
            server.rebuild(key.trim(), &[LONG], audit).is(200);
            let names = is_private(&playground.path("deep"), umask);
            assert_eq!(names, ["index.sqlite3", "index.sqlite3-shm", "index.sqlite3-wal"]);
            let findings = match args {
                [] => {
                    let rooms: Vec<PathBuf> = std::fs::read_dir(&place).unwrap().map(|e| e.unwrap().path()).collect();
                    assert_eq!(rooms.len(), 1, "{rooms:?}");
                    is_private(&rooms[0], umask)
                }
                _ => is_private(&playground.path("kept"), umask),
            };
            assert!(findings.iter().any(|name| name.ends_with(".ndjson")), "{findings:?}");
        }
    }
}

#[test]
fn law_21_the_demo_is_private() {
    for umask in UMASKS {
        let playground = Playground::new();
        run_under(&playground, umask, &["demo"]).ends(0);
        for path in ["data", "data/files", "data/files/1/photos"] {
            assert_eq!(mode(&playground.path(path)), 0o700, "{path} under umask {umask}");
        }
        for path in ["data/index.sqlite3", "data/files/1/photos/2024/beach.jpg"] {
            assert_eq!(mode(&playground.path(path)), 0o600, "{path} under umask {umask}");
        }
    }
}

/// SQLite follows a link to a file that does not exist yet.
#[test]
fn law_21_a_database_behind_a_link_is_private() {
    let playground = Playground::new();
    std::fs::create_dir(playground.path("deep")).unwrap();
    std::fs::create_dir(playground.path("deep/er")).unwrap();
    std::os::unix::fs::symlink("../real.sqlite3", playground.path("deep/er/index.sqlite3")).unwrap();
    run_under(&playground, "000", &["user", "add", "ann"]).ends(0);
    assert_eq!(mode(&playground.path("deep/real.sqlite3")), 0o600);
    assert!(playground.path("deep/er/index.sqlite3").is_symlink());
}

#[test]
fn law_21_what_exists_keeps_its_mode() {
    let playground = Playground::new();
    for directory in ["deep", "deep/er", "kept"] {
        std::fs::create_dir(playground.path(directory)).unwrap();
        set_mode(&playground.path(directory), 0o755);
    }
    let empty = playground.path("deep/er/index.sqlite3");
    std::fs::write(&empty, "").unwrap();
    set_mode(&empty, 0o640);
    std::fs::write(playground.path("r.ndjson"), "old").unwrap();
    set_mode(&playground.path("r.ndjson"), 0o664);
    run_under(&playground, "077", &["user", "add", "ann", "--id", "1"]).ends(0);
    run_under(&playground, "077", &["rebuild", "--report", "r.ndjson"]).ends(0);
    let server = playground.serve_with(&["--findings", "kept"], |command| {
        command.env("DATABASE_URL", DATABASE);
    });
    for (path, want) in [
        ("deep", 0o755),
        ("deep/er", 0o755),
        ("deep/er/index.sqlite3", 0o640),
        // Who may read the database has to read these as well.
        ("deep/er/index.sqlite3-wal", 0o640),
        ("r.ndjson", 0o664),
        ("kept", 0o755),
    ] {
        assert_eq!(mode(&playground.path(path)), want, "{path}");
    }
    drop(server);
}

#[test]
fn law_21_storage_status_names_what_others_can_read_and_how_to_mend_it() {
    let playground = Playground::new();
    run_under(&playground, "022", &["user", "add", "ann", "--id", "1"]).ends(0);
    let findings = playground.path("my findings");
    std::fs::create_dir(&findings).unwrap();
    let status = |args: &[&str]| {
        let args = [&["storage", "status", "--findings", findings.to_str().unwrap()], args].concat();
        run_under(&playground, "022", &args)
    };
    let told = |ran: &Ran| ran.json()["readable_by_others"].as_array().cloned().unwrap_or_default();
    set_mode(&findings, 0o700);
    assert_eq!(told(&status(&["--format", "json"]).ends(0)), Vec::<Value>::new());
    assert!(!status(&[]).ends(0).out.contains("chmod"));
    let database = playground.path("deep/er/index.sqlite3");
    set_mode(&database, 0o644);
    set_mode(&findings, 0o755);
    let ran = status(&["--format", "json"]).ends(0);
    let exposed = told(&ran);
    let (first, last) = (exposed.first().unwrap(), exposed.last().unwrap());
    assert_eq!((&first["mode"], &last["mode"]), (&"0644".into(), &"0755".into()), "{ran:?}");
    assert!(first["path"].as_str().unwrap().ends_with("index.sqlite3"), "{ran:?}");
    let text = status(&[]).ends(0).out;
    for exposed in &exposed {
        let [path, fix] = ["path", "fix"].map(|key| exposed[key].as_str().unwrap());
        assert!(text.contains(path) && text.contains(fix), "{exposed} {text}");
        // As it is typed into a shell.
        let mended = Command::new("/bin/sh").args(["-c", fix]).current_dir(playground.dir.path()).status().unwrap();
        assert!(mended.success(), "{fix}");
    }
    assert_eq!(told(&status(&["--format", "json"]).ends(0)), Vec::<Value>::new());
}
