//! How the server is set up: by flags, the environment, and a file.

use std::collections::BTreeSet;

use crate::support::playground::Playground;

/// Every variable that the help of the server names.
fn variables(playground: &Playground) -> BTreeSet<String> {
    let help = playground.run(&["serve", "--help"]).ends(0).out;
    let names = help.split("[env: ").skip(1).map(|rest| rest.split(']').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn an_empty_variable_is_one_that_is_not_given() {
    let playground = Playground::with_user();
    let names = variables(&playground);
    for name in ["STORAGE_URL", "DATABASE_URL", "LISTEN", "METRICS_AUTH", "AUDIT_EVERY", "STARTUP_AUDIT", "FINDINGS"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let file = playground.path("c.toml");
    let (files, index) = (playground.path("files"), playground.index.url());
    // Nobody can listen there, so a server that is set up well ends with 4 at once.
    let text = format!("storage = {files:?}\ndatabase = {index:?}\nlisten = '256.0.0.1:1'\n");
    std::fs::write(&file, text).unwrap();
    let serve = |empty: &[&String]| {
        let mut command = playground.command();
        command.env("TMPDIR", playground.dir.path()).args(["serve", "--config"]).arg(&file);
        command.envs(empty.iter().map(|name| (name, "")));
        crate::support::playground::Ran::from(command.output().unwrap())
    };
    for name in &names {
        let ran = serve(&[name]);
        assert!(ran.code == 4 && ran.err.contains("256.0.0.1:1"), "{name}: {ran:?}");
    }
    let ran = serve(&names.iter().collect::<Vec<_>>());
    assert!(ran.code == 4 && ran.err.contains("256.0.0.1:1"), "{ran:?}");
    let mut without = playground.command();
    without.env("STORAGE_URL", "").arg("rebuild");
    crate::support::playground::Ran::from(without.output().unwrap()).ends(2).complains(&["no storage is named"]);
}

#[test]
fn what_guards_the_metrics_is_said_by_flag_variable_or_file_in_this_order() {
    let playground = Playground::with_user();
    let file = playground.path("c.toml");
    for (in_file, variable, flag, guarded) in [
        ("", None, None, false),
        ("metrics_auth = true", None, None, true),
        ("metrics_auth = true", Some("false"), None, false),
        ("metrics_auth = true", Some("0"), None, false),
        ("metrics_auth = true", Some("false"), Some("--metrics-auth"), true),
        ("", Some("true"), None, true),
        ("", Some("1"), Some("--metrics-auth=false"), false),
        ("metrics_auth = false", None, Some("--metrics-auth=true"), true),
    ] {
        std::fs::write(&file, in_file).unwrap();
        let mut args = vec!["--config", file.to_str().unwrap()];
        args.extend(flag);
        let server = playground.serve_with(&args, |command| {
            command.envs(variable.map(|value| ("METRICS_AUTH", value)));
        });
        let status = server.send("GET", "/metrics", &[], b"").status;
        assert_eq!(status, if guarded { 401 } else { 200 }, "{in_file:?} {variable:?} {flag:?}");
    }
    playground.run(&["serve", "--metrics-auth=perhaps"]).ends(2).complains(&["--metrics-auth", "perhaps"]);
}

#[test]
fn an_audit_that_never_comes_is_bad_usage() {
    let playground = Playground::with_user();
    playground
        .run(&["serve", "--listen", "256.0.0.1:1", "--audit-every", "0 0 30 2 *"])
        .ends(2)
        .complains(&["--audit-every", "never comes"]);
}
