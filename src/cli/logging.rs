//! Log lines on stderr.

use std::ffi::OsString;
use std::io;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::args::Command;
use crate::config::LogFormat;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loudness {
    /// The result and errors.
    Quiet,
    /// What one wants to see.
    Normal,
    /// What is going on.
    Verbose,
    /// Everything, matched files included.
    All,
}

impl Loudness {
    pub(super) fn of(verbose: u8, quiet: bool) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Verbose,
            (false, _) => Self::All,
        }
    }

    /// A server says what it does, as nobody looks over its shoulder.
    pub(super) fn for_command(self, command: &Command) -> Self {
        #[cfg(feature = "server")]
        if matches!(command, Command::Serve(_)) && self == Self::Normal {
            return Self::Verbose;
        }
        let _ = command;
        self
    }
}

/// Returns how log lines look according to arguments that nobody has read yet, and that may be wrong.
pub(super) fn format_in(args: impl Iterator<Item = OsString>) -> LogFormat {
    let args: Vec<OsString> = args.take_while(|arg| arg != "--").collect();
    let is_json = args.iter().any(|arg| arg == "--log-format=json")
        || args.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    if is_json { LogFormat::Json } else { LogFormat::Text }
}

/// Starts logging.
pub(super) fn start(loudness: Loudness, format: LogFormat) {
    let level = match loudness {
        Loudness::Quiet => Level::ERROR,
        Loudness::Normal => Level::WARN,
        Loudness::Verbose => Level::INFO,
        Loudness::All => Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false);
    let ours = heard(level);
    // A second subscriber would only be set by a library user, whose choice stays.
    let _ = match format {
        LogFormat::Text => lines.with_target(false).finish().with(ours).try_init(),
        LogFormat::Json => lines.json().finish().with(ours).try_init(),
    };
}

/// Says who is heard how loudly: what libraries tell beside us is known already, or of no use to who runs the program.
fn heard(level: Level) -> Targets {
    let is_all = level == Level::DEBUG;
    let chatty = if is_all { level } else { level.min(Level::WARN) };
    // A pool warns when somebody has waited for a connection; whoever waits too long hears of it as an error of ours.
    let pools = if is_all { level } else { Level::ERROR };
    let libraries = [("poem", chatty), ("sea_orm_migration", chatty), ("sqlx::pool", pools)];
    Targets::new().with_default(level).with_targets(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_before_the_arguments_are_read() {
        for (args, want) in [
            (&["rebuild", "--log-format", "json", "--nonsense"][..], LogFormat::Json),
            (&["--log-format=json"], LogFormat::Json),
            (&["--log-format", "text", "json"], LogFormat::Text),
            (&["explain", "--", "--log-format=json"], LogFormat::Text),
            (&[], LogFormat::Text),
        ] {
            assert_eq!(format_in(args.iter().map(OsString::from)), want, "{args:?}");
        }
    }

    #[test]
    fn a_slow_pool_is_heard_only_by_who_wants_to_hear_everything() {
        for (level, is_heard) in
            [(Level::ERROR, false), (Level::WARN, false), (Level::INFO, false), (Level::DEBUG, true)]
        {
            assert_eq!(heard(level).would_enable("sqlx::pool::acquire", &Level::WARN), is_heard, "{level}");
            assert_eq!(heard(level).would_enable("storm_index::index", &Level::WARN), level >= Level::WARN, "{level}");
        }
    }
}
