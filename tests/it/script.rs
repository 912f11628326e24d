//! scripts/rebuild-index.sh, with other programs of the names that it looks for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::playground::copy_program;

fn program(path: &Path, script: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = path.with_extension("text");
    std::fs::write(&text, script).unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(&text, path);
}

/// Docker lists containers that are paused or restarting as well, and can run nothing in them.
#[test]
fn a_container_that_does_not_run_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rebuild-index.sh");
    std::fs::create_dir(root.join("scripts")).unwrap();
    copy_program(&script, &root.join("scripts/rebuild-index.sh"));
    let docker = |runs: &str| {
        let root = root.display();
        format!(
            "#!/bin/sh\ncase \"$*\" in\n  ps*status=running*) {runs} ;;\n  ps*) echo paused {root} ;;\n  \
             'exec paused'*) exit 1 ;;\n  *) echo in docker: \"$@\" ;;\nesac\n"
        )
    };
    let run = || {
        let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(root.join("scripts/rebuild-index.sh"));
        command.env_remove("STORAGE_URL").env_remove("DATABASE_URL").env_remove("STORM_INDEX_BIN");
        let ran = command.env_remove("CARGO_TARGET_DIR").env("PATH", path).args(["--mode", "audit"]).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    program(&root.join("bin/storm-index"), "#!/bin/sh\necho installed: \"$@\"\n");
    program(&root.join("bin/docker"), &docker(":"));
    assert_eq!(run(), (Some(0), "installed: rebuild --mode audit\n".to_owned()));
    program(&root.join("bin/docker"), &docker(&format!("echo running {}", root.display())));
    assert_eq!(run(), (Some(0), "in docker: exec running storm-index rebuild --mode audit\n".to_owned()));
}
