//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Command as Clap, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

#[cfg(feature = "server")]
use super::server_args::{HealthArgs, KeyCommand, ServeArgs};
use super::storage_args::StorageCommand;
use crate::config::{LogFormat, SHORTEST_LEASE};
use crate::model::{HIGHEST_USER_ID, Identity, InodeNumbers, Order};
use crate::reconcile::{MaxDelete, Mode};

/// Keep a database index of files in step with the storage that is their truth
#[derive(Debug, Parser)]
#[command(name = "storm-index", version, propagate_version = true, after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Args {
    /// Reads what was typed, and the environment.
    pub(super) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Lets no argument be given by a variable that is there and empty, as those are that a list of settings passes on.
fn without_empty_variables(command: Clap) -> Clap {
    let command = command.mut_args(|arg| {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(None::<&str>) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  an audit or dry run found drift
  2  bad usage
  3  a guard refused: the deletions, or on a wrong storage everything
  4  incomplete or failed: storage or database trouble
  5  another run is writing into the index; it is named";

/// Options of every command.
#[derive(Debug, Parser)]
pub(super) struct Global {
    /// Where the files are: a path, file:///srv/files, s3://bucket/prefix or memory:///
    #[arg(long, global = true, env = "STORAGE_URL", value_name = "URL", hide_env_values = true)]
    pub(super) storage: Option<String>,
    /// Where the index is [default: sqlite://data/index.sqlite3]
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(super) database: Option<String>,
    /// Let so many connections to the database read at a time
    #[arg(long, global = true, env = "DATABASE_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), hide_env_values = true)]
    pub(super) database_connections: Option<u32>,
    /// By what the storage is known again: a marker in it, or nothing, for one that cannot hold a marker [default: marker]
    #[arg(long, global = true, env = "STORAGE_IDENTITY", value_name = "HOW", hide_env_values = true)]
    pub(super) identity: Option<Identity>,
    /// In which order the storage lists its keys: by their bytes, or none; auto learns it from a listing [default: auto]
    #[arg(long, global = true, env = "STORAGE_ORDER", value_name = "ORDER", hide_env_values = true)]
    pub(super) order: Option<Order>,
    /// Whether inode numbers of a local disk last: where that is known (auto), or on any file system [default: auto]
    #[arg(long, global = true, env = "STORAGE_INODE_NUMBERS", value_name = "WHICH", hide_env_values = true)]
    pub(super) inode_numbers: Option<InodeNumbers>,
    /// Read settings from this TOML file: storage, database, database_connections, log_format, identity, order,
    /// inode_numbers, lease_expiry; and for the server: listen, startup_audit, audit_every, metrics_auth, auth_failures,
    /// findings
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A writing run that is silent for so long has lost its lease [default: 30s]
    #[arg(long, global = true, env = "LEASE_EXPIRY", value_name = "DURATION", value_parser = lease, hide_env_values = true)]
    pub(super) lease_expiry: Option<Duration>,
    /// How lines on stderr look
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormat>,
    /// Say more; twice: matched files too
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Say nothing but the result and errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Compare index and storage, and bring the index in step
    Rebuild(RebuildArgs),
    /// Make a small real storage with drift in ./data, and audit it
    Demo(DemoArgs),
    /// Register, rename, remove or list users
    #[command(subcommand)]
    User(UserCommand),
    /// Make, list or revoke share links
    #[command(subcommand)]
    Share(ShareCommand),
    /// Show what the storage is and can do, bind the index to it, or list the file systems mounted in it
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Undo what a run did to the index: records and links come back with their ids
    ///
    /// A record that the run moved goes back only if the storage has nothing at the old path, or provably the same file. Else
    /// it stays where it is, and is reported as `kept: path_taken`, or `kept: path_unknown` if the storage does not say.
    Restore(RestoreArgs),
    /// Carry what people made, users, share links and keys, out of an index or into one
    #[command(subcommand)]
    Index(IndexCommand),
    /// List runs, show one, or ask one to end
    #[command(subcommand)]
    Task(TaskCommand),
    /// Say what is known of one path, and what a full run would do about it, and why
    ///
    /// It is the dry run of `rebuild --mode full` over all users, told of one path: limits are for all users together, and
    /// files move between them. So it lists the whole storage, and takes as long as that run.
    Explain(ExplainArgs),
    /// Serve the admin API over HTTP
    #[cfg(feature = "server")]
    Serve(ServeArgs),
    /// Make, list or revoke keys to the API
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Key(KeyCommand),
    /// Ask a server whether it lives
    #[cfg(feature = "server")]
    Health(HealthArgs),
    /// Print the specification of the API
    #[cfg(feature = "server")]
    Openapi {
        /// As YAML instead of JSON
        #[arg(long)]
        yaml: bool,
    },
    /// Bring the database's schema up to date, or show its state
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// How a result looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Parser)]
pub(super) struct RebuildArgs {
    /// audit (report only), sync (add and refresh), clean (delete orphans), full (sync and clean)
    #[arg(long, default_value = "audit", value_parser = parse::<Mode>)]
    pub(super) mode: Mode,
    /// Count and report what would be done, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Consent to deleting orphaned records (clean, full)
    #[arg(long)]
    pub(super) force: bool,
    /// Only this user
    #[arg(long, value_name = "ID")]
    pub(super) user_id: Option<i64>,
    /// Register a user for each top-level folder that nobody owns
    #[arg(long)]
    pub(super) adopt: bool,
    /// Let so many deletions through, instead of the built-in limits
    #[arg(long, value_name = "N|P%", value_parser = parse::<MaxDelete>)]
    pub(super) max_delete: Option<MaxDelete>,
    /// Keep orphans whose record is younger, e.g. 2h or 7d
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(super) min_age: Duration,
    /// Leave these paths out, in the storage and in the index: '*.tmp' anywhere, '/top' from the top, 'cache/' a folder
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,
    /// Leave out what systems leave behind: .DS_Store, @eaDir/, Thumbs.db, lost+found/
    #[arg(long)]
    pub(super) exclude_noise: bool,
    /// Do not look for renamed files: they are missing and orphaned like any others
    #[arg(long)]
    pub(super) no_moves: bool,
    /// After a writing run that ended well, forget what is older in the journal, e.g. 30d [default: nothing]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) journal_keep: Option<Duration>,
    /// Write every finding into this file, one JSON object or one row of CSV a line
    #[arg(long, value_name = "FILE.ndjson|FILE.csv")]
    pub(super) report: Option<PathBuf>,
    /// How the result on stdout looks
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Parser)]
pub(super) struct RestoreArgs {
    /// The task whose changes are undone; see `task list`
    #[arg(value_name = "TASK")]
    pub(super) task: String,
    /// Count and report what would be undone, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How the result on stdout looks
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Parser)]
pub(super) struct DemoArgs {
    /// Throw an earlier playground away first
    #[arg(long)]
    pub(super) fresh: bool,
}

#[derive(Debug, Parser)]
pub(super) struct ExplainArgs {
    /// The user whose path it is
    #[arg(long, value_name = "ID")]
    pub(super) user_id: i64,
    /// The path below the user's prefix
    pub(super) path: String,
    /// How the result on stdout looks
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Register a user, who owns all keys under a prefix
    Add {
        /// The name
        name: String,
        /// The id [default: the next free one]
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..=HIGHEST_USER_ID))]
        id: Option<i64>,
        /// The key prefix; "" for the whole storage [default: the id]
        #[arg(long)]
        prefix: Option<String>,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Give a user another name
    Rename {
        /// The name
        name: String,
        /// The new name
        new_name: String,
    },
    /// Remove a user and the user's records; files are not touched
    Remove {
        /// The name
        name: String,
    },
    /// List all users
    List {
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ShareCommand {
    /// Make a share link for a file, and print its token
    Create {
        /// The user whose file it is
        #[arg(long, value_name = "ID")]
        user_id: i64,
        /// The path below the user's prefix
        path: String,
        /// When the link ends, from now, e.g. 7d
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List all share links
    List {
        /// Only those whose file is gone from the storage
        #[arg(long)]
        dangling: bool,
        /// Show whole tokens, not only their first characters
        #[arg(long)]
        show_tokens: bool,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// End a share link
    Revoke {
        /// Its id or its token; - reads either from a line on stdin, so that no list of processes shows it
        #[arg(value_name = "ID|TOKEN|-")]
        link: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum IndexCommand {
    /// Write users, share links and the hashes of keys into a file, one JSON object a line; it holds tokens, so keep it secret
    Export {
        /// The file; - for stdout
        file: PathBuf,
    },
    /// Take users, share links and keys from such a file, and leave what is there as it is
    Import {
        /// The file; - for stdin
        file: PathBuf,
        /// Count and report what would be done, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// List the newest runs
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Ask a run to end at its next border between two batches, wherever it is carried out
    Cancel {
        /// The id
        id: String,
    },
    /// Show one run: what was asked, and what it came to
    Show {
        /// The id
        id: String,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Bring the schema up to date
    Up,
    /// Show which steps the database has
    Status {
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

fn parse<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn lease(text: &str) -> Result<Duration, String> {
    let expiry = duration(text)?;
    if expiry < SHORTEST_LEASE {
        Err("a lease of less than a second would be lost at once".to_owned())
    } else {
        Ok(expiry)
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is no duration; write e.g. 30s, 10m, 2h or 7d"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "7", "-1d", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
