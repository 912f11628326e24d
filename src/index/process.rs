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
    let id = std::process::id().to_string();
    let started = if Sight::now().is_own { started(&id) } else { None };
    format!("{id} {}", started.unwrap_or_default())
}

/// What can be seen of processes.
#[derive(Debug, Clone, Default)]
struct Sight {
    /// Whether what is seen are the processes of our namespace: we are there, under our id.
    is_own: bool,
    /// Whether the first process is among them, whosever it is.
    has_first: bool,
    /// What is mounted where, as the kernel says it.
    mounts: String,
}

impl Sight {
    fn now() -> Self {
        let shown = std::fs::read_link("/proc/self").unwrap_or_default();
        Self {
            is_own: shown.to_str() == Some(std::process::id().to_string().as_str()),
            has_first: std::fs::metadata("/proc/1").is_ok(),
            mounts: std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        }
    }

    /// Tells whether whatever is not seen is not there: with `hidepid=2`, each sees but their own.
    fn is_whole(&self) -> bool {
        // <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>: the fifth field is where it is mounted, and behind
        // a dash come the kind, the source and the options. Of several at one place the last one is seen.
        let mut on_top = self.mounts.lines().filter_map(|line| line.split_once(" - ")).filter_map(|(place, what)| {
            let what: Vec<&str> = what.split(' ').collect();
            (place.split(' ').nth(4) == Some("/proc")).then_some(what)
        });
        let shows = ["0", "off", "1", "noaccess"];
        let hides = |option: &str| option.strip_prefix("hidepid=").is_some_and(|how| !shows.contains(&how));
        let shows_all = on_top.next_back().is_some_and(|what| match what[..] {
            ["proc", _, options] => !options.split(',').any(hides),
            _ => false,
        });
        self.is_own && self.has_first && shows_all
    }
}

/// Tells whether a process of this machine is certainly gone.
pub(super) fn is_gone(process: &str) -> bool {
    let Some((id, start)) = process.split_once(' ').filter(|(_, start)| !start.is_empty()) else { return false };
    if id.parse::<u32>().is_err() {
        return false;
    }
    match std::fs::metadata(format!("/proc/{id}")) {
        Ok(_) => started(id).is_some_and(|now| now != start),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound && Sight::now().is_whole(),
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
    fn who_is_not_seen_is_gone_only_where_all_are_seen() {
        let proc = |options: &str| format!("22 27 0:21 / /proc rw,relatime shared:5 - proc proc {options}\n");
        let root = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n23 22 0:22 / /proc/sys rw - sysctl none rw\n";
        let sight = |mounts: String| Sight { is_own: true, has_first: true, mounts };
        for (mounts, is_whole) in [
            (format!("{root}{}", proc("rw")), true),
            (proc("rw,hidepid=0"), true),
            (proc("rw,hidepid=off,gid=4"), true),
            (proc("rw,hidepid=noaccess"), true),
            (proc("rw,hidepid=2"), false),
            (proc("rw,gid=4,hidepid=invisible"), false),
            (proc("rw,hidepid=ptraceable"), false),
            (proc("rw,hidepid=4"), false),
            // What is mounted over it is what is seen.
            (format!("{}{}", proc("rw"), proc("rw,hidepid=2")), false),
            (format!("{}{}", proc("rw,hidepid=2"), proc("rw")), true),
            (format!("{}28 22 0:9 / /proc rw - tmpfs tmpfs rw\n", proc("rw")), false),
            (root.to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(sight(mounts.clone()).is_whole(), is_whole, "{mounts}");
        }
        let all = sight(proc("rw"));
        assert!(!Sight { has_first: false, ..all.clone() }.is_whole());
        assert!(!Sight { is_own: false, ..all }.is_whole(), "the processes of another namespace");
    }

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
