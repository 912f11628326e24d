//! The README's commands, typed as they stand there.

use std::path::Path;
use std::process::Command;

use crate::support::playground::{Playground, Ran, binary};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks that are marked as shell.
fn blocks(text: &str) -> Vec<String> {
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_first_screen_has_the_two_commands() {
    let readme = readme();
    let first = blocks(&readme)[0].clone();
    assert_eq!(first.lines().count(), 2, "{first}");
    assert!(first.contains("cargo run --release -- demo") && first.contains("./scripts/test.sh"), "{first}");
    let at = readme[..readme.find("cargo run").unwrap()].lines().count();
    assert!(at < 20, "the two commands come on the first screen, not on line {at}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test.sh");
    assert!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(script).unwrap()) & 0o111 != 0);
}

/// All commands after the first screen, in their order, on the playground that the demo leaves. A line that is expected
/// to end otherwise than with 0 says so: `# exit N`.
#[test]
fn the_next_commands_work_on_the_playground() {
    let playground = Playground::new();
    let bin = binary().parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let run = |script: &str, exports: &[String]| {
        let mut command = Command::new("bash");
        command.current_dir(playground.dir.path()).env_remove("STORAGE_URL").env_remove("DATABASE_URL");
        command.env("PATH", &path).args(["-c", &format!("{}\n{script}", exports.join("\n"))]);
        Ran::from(command.output().unwrap())
    };
    run("storm-index demo", &[]).ends(0);
    let (mut exports, mut commands) = (Vec::new(), 0);
    for block in &blocks(&readme())[1..] {
        for line in block.lines().filter(|l| !l.trim().is_empty()) {
            // The built binary stands where the README builds its own.
            if line.contains("target/release") {
                continue;
            }
            if line.starts_with("export ") {
                exports.push(line.to_owned());
                continue;
            }
            let code = line.split("# exit ").nth(1).map_or(0, |n| n[..1].parse().unwrap());
            let ran = run(line, &exports);
            assert_eq!(ran.code, code, "{line}\n{ran:?}");
            commands += 1;
        }
    }
    assert!(commands >= 8, "{commands}");
}
