//! Door: the command line. One file a command; what is printed goes through `output`.

mod abilities;
mod args;
mod dangling;
mod demo;
mod exit;
mod explain;
mod export_file;
mod exposed;
#[cfg(feature = "server")]
mod findings_room;
mod generate;
mod index;
#[cfg(feature = "server")]
mod key;
mod link_list;
mod logging;
mod migrate;
mod mounts;
mod output;
mod progress;
mod rebuild;
mod report_file;
mod restore;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod server_args;
mod share;
mod storage;
mod storage_args;
mod task;
mod text;
mod user;

use std::process::ExitCode;
use std::time::Duration;

use self::args::{Args, Command};
use self::exit::{Exit, Failure};
use crate::config::{Config, Given};
use crate::index::{Access, Index, IndexError, LeaseTerms, READERS};
use crate::reconcile::Reconciler;
use crate::storage::{OpenError, Storage};

/// How long threads are waited for that nobody waits for any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs the program: parses the arguments, carries out the command, and says how it ended.
pub fn main() -> ExitCode {
    // What is wrong with the arguments is told before anybody could have read them.
    output::speak(logging::format_in(std::env::args_os().skip(1)));
    let args = match Args::read() {
        Ok(args) => args,
        Err(e) => return refuse(&e).into(),
    };
    let exit = run(args).unwrap_or_else(|failure| failure.tell());
    if output::is_whole() {
        return exit.into();
    }
    output::complain("the result could not be written to stdout");
    if matches!(exit, Exit::Usage | Exit::Busy) { exit.into() } else { Exit::Failed.into() }
}

/// Tells what is wrong with the arguments, in one line; help and version are answers, and printed whole.
fn refuse(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader who has gone away is no error.
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage } else { Exit::Done };
    }
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("Usage:"));
    let line: Vec<&str> = said.filter(|l| !l.starts_with("For more information")).collect();
    output::complain(&format!("{}; see --help", line.join(" ").trim_start_matches("error: ")));
    Exit::Usage
}

/// Makes what brings `index` in step with `storage`, as the settings say.
fn reconciler(storage: &Storage, index: &Index, config: &Config) -> Reconciler {
    Reconciler::new(storage, index).with_identity(config.identity).with_lease_terms(lease_terms(config))
}

fn lease_terms(config: &Config) -> LeaseTerms {
    config.lease_expiry.map(LeaseTerms::of).unwrap_or_default()
}

/// Opens the storage at `url`, which lists and numbers its files as the settings say.
fn open_storage(url: &str, config: &Config) -> Result<Storage, OpenError> {
    Ok(crate::storage::open(url)?.with_order(config.order).with_inode_numbers(config.inode_numbers))
}

/// Opens the index that the settings name.
async fn open_index(config: &Config, access: Access) -> Result<Index, IndexError> {
    Index::open_with(&config.database, access, config.database_connections.unwrap_or(READERS)).await
}

fn run(args: Args) -> Result<Exit, Failure> {
    let Args { global, command } = args;
    let config = Config::load(Given {
        storage: global.storage,
        database: global.database,
        database_connections: global.database_connections,
        log_format: global.log_format,
        lease_expiry: global.lease_expiry,
        identity: global.identity,
        order: global.order,
        inode_numbers: global.inode_numbers,
        file: global.config,
    })?;
    output::speak(config.log_format);
    let loudness = logging::Loudness::of(global.verbose, global.quiet);
    logging::start(loudness.for_command(&command), config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("the runtime cannot start: {e}")))?;
    let ended = runtime.block_on(async {
        match command {
            Command::Rebuild(args) => rebuild::run(args, &config, loudness).await,
            Command::Demo(args) => demo::run(&args, loudness).await,
            Command::User(command) => user::run(command, &config).await,
            Command::Share(command) => share::run(command, &config).await,
            Command::Storage(command) => storage::run(command, &config).await,
            Command::Restore(args) => restore::run(args, &config).await,
            Command::Index(command) => index::run(command, &config).await,
            Command::Task(command) => task::run(command, &config).await,
            #[cfg(feature = "server")]
            Command::Serve(args) => serve::run(args, &config).await,
            #[cfg(feature = "server")]
            Command::Key(command) => key::run(command, &config).await,
            #[cfg(feature = "server")]
            Command::Health(args) => serve::health(args, &config).await,
            #[cfg(feature = "server")]
            Command::Openapi { yaml } => serve::openapi(yaml),
            Command::Explain(args) => explain::run(args, &config).await,
            Command::Migrate(command) => migrate::run(command, &config).await,
            Command::Completions { shell } => generate::completions(shell),
            Command::Man => generate::man(),
        }
    });
    // What a command has to do it has waited for. What is left are looks at a storage that may never answer.
    runtime.shutdown_timeout(FAREWELL);
    ended
}
