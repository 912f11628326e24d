//! What can be typed behind `storage`.

use std::path::PathBuf;

use clap::Subcommand;

use super::args::Format;

#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Show the storage's marker, what the index is bound to, what a run would say, what the storage can do, and which
    /// files others can read
    Status {
        /// Where the server keeps findings: whether others can read them is shown as well
        #[arg(long, env = "FINDINGS", value_name = "DIR", hide_env_values = true)]
        findings: Option<PathBuf>,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Bind the index to this storage; without --force, say what that would do
    Bind {
        /// Do it: take the storage's id, or write a marker where there is none
        #[arg(long)]
        force: bool,
        /// Print a marker for the storage's owner to upload, and change nothing
        #[arg(long, conflicts_with = "force")]
        print: bool,
    },
    /// List or forget the file systems that are mounted below the root of the storage
    #[command(subcommand)]
    Mounts(MountsCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum MountsCommand {
    /// List the mounted file systems that the index remembers
    List {
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Forget a file system that is not coming back: its files count as gone from then on
    Forget {
        /// The path below the root of the storage, as `list` prints it
        path: String,
    },
}
