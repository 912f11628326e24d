//! Log lines on stderr.

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

/// Starts logging.
pub(super) fn start(loudness: Loudness, format: LogFormat) {
    let level = match loudness {
        Loudness::Quiet => Level::ERROR,
        Loudness::Normal => Level::WARN,
        Loudness::Verbose => Level::INFO,
        Loudness::All => Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false);
    // What libraries tell beside us is known already, or of no use to who runs the program.
    let chatty = if level == Level::DEBUG { Level::DEBUG } else { level.min(Level::WARN) };
    let ours = Targets::new().with_default(level).with_targets(["poem", "sea_orm_migration"].map(|t| (t, chatty)));
    // A second subscriber would only be set by a library user, whose choice stays.
    let _ = match format {
        LogFormat::Text => lines.with_target(false).finish().with(ours).try_init(),
        LogFormat::Json => lines.json().finish().with(ours).try_init(),
    };
}
