//! The walls of the house: no import points up, and the files that judge import plain words only.

use std::path::{Path, PathBuf};

/// Which rooms a room may use besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("private", &[]),
    ("config", &["model"]),
    ("storage", &["model"]),
    ("index", &["model", "clock", "private"]),
    ("reconcile", &["model", "clock", "storage", "index", "error"]),
    ("error", &["storage", "index", "reconcile"]),
    ("task", &["model", "clock", "private", "storage", "index", "reconcile", "error"]),
    ("http", &["model", "clock", "index", "reconcile", "error", "task"]),
    ("cli", &["model", "clock", "private", "config", "storage", "index", "reconcile", "error", "task", "http"]),
];

const PURE: &[&str] = &["identity", "merge", "finding", "plan", "guard", "tally", "report"];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 30, "the sources were not found");
    files
}

/// The part of a file that is not its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn rooms_used(text: &str) -> impl Iterator<Item = &str> {
    code(text).lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|line| {
        line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
    })
}

#[test]
fn no_import_points_up() {
    for (path, text) in sources() {
        let room = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(room, "lib" | "main") {
            continue;
        }
        let (_, allowed) =
            MAY_USE.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("unknown room {room}"));
        for used in rooms_used(&text) {
            assert!(used == room || allowed.contains(&used), "{} uses {used}", path.display());
        }
    }
}

#[test]
fn what_judges_imports_plain_words_only() {
    for file in PURE {
        let (_, text) =
            sources().into_iter().find(|(p, _)| *p == Path::new("reconcile").join(format!("{file}.rs"))).unwrap();
        for used in rooms_used(&text) {
            assert_eq!(used, "model", "reconcile/{file}.rs");
        }
        assert!(!code(&text).contains("async"), "reconcile/{file}.rs waits for something");
    }
}

#[test]
fn only_the_index_speaks_sql_and_only_output_prints() {
    for (path, text) in sources() {
        let speaks_sql = ["sea_orm::", "SELECT ", "INSERT INTO"].iter().any(|word| code(&text).contains(word));
        assert!(!speaks_sql || path.starts_with("index"), "{} speaks SQL", path.display());
        let prints = ["stdout()", "stderr()"].iter().any(|word| code(&text).contains(word));
        let may_print = path.starts_with("cli");
        assert!(!prints || may_print, "{} prints", path.display());
    }
}

#[test]
fn rooms_stay_small() {
    for (path, text) in sources() {
        let lines = code(&text).lines().count();
        assert!(lines <= 400, "{} has {lines} lines before its tests", path.display());
    }
}

#[test]
fn a_migration_is_history() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/Cargo.toml");
    assert!(!std::fs::read_to_string(manifest).unwrap().contains("path ="));
}
