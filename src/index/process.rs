//! Whether the process that holds something is still there: only what can be seen for certain counts as gone.

use std::sync::OnceLock;

use uuid::Uuid;

/// Returns what processes must have in common to see each other: the boot of the machine and the namespace of process
/// ids. Where that cannot be known, nobody shares it.
pub(super) fn this_machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        match (boot, namespace) {
            (Some(boot), Some(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
            _ => Uuid::now_v7().to_string(),
        }
    })
}

/// Returns what names this process and no later one of the same id.
pub(super) fn this_process() -> String {
    let id = std::process::id();
    format!("{id} {}", started(&id.to_string()).unwrap_or_default())
}

/// Tells whether a process of this machine is certainly gone.
pub(super) fn is_gone(process: &str) -> bool {
    let Some((id, start)) = process.split_once(' ').filter(|(_, start)| !start.is_empty()) else { return false };
    if id.parse::<u32>().is_err() {
        return false;
    }
    match std::fs::metadata(format!("/proc/{id}")) {
        Ok(_) => started(id).is_some_and(|now| now != start),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound && std::fs::metadata("/proc/self").is_ok(),
    }
}

/// Returns when a process started, in ticks since the boot: field 22 of `stat`, counted behind the name, which may have
/// blanks and parentheses in it. A process that has ended and not yet been waited for counts as not there.
fn started(id: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.to_owned();
    Some(if matches!(state, "Z" | "X") { format!("{start} ended") } else { start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_gone_is_gone() {
        assert!(!is_gone(&this_process()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = child.id().to_string();
        let name = format!("{id} {}", started(&id).unwrap());
        assert!(!is_gone(&name));
        assert!(is_gone(&format!("{id} 1")), "a later process of the same id");
        child.kill().unwrap();
        while !is_gone(&name) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_gone(&name));
        for unclear in ["", "7", "7 ", "x 1", "-1 1"] {
            assert!(!is_gone(unclear), "{unclear:?}");
        }
    }
}
