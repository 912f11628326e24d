//! `serve`, `health` and `openapi`: the server, and what is asked about it.

use std::num::NonZeroU32;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};
use super::findings_room::FindingsRoom;
use super::output;
use super::server_args::{HealthArgs, ServeArgs};
use crate::config::Config;
use crate::http::{Options, ask, check_address, serve, specification};
use crate::index::{Index, READERS};
use crate::private;
use crate::task::{Schedule, Settings};

/// Where the server listens when nobody says otherwise.
const LISTEN: &str = "127.0.0.1:8080";

/// How many requests without a valid key an address has a minute when nobody says otherwise.
const AUTH_FAILURES: NonZeroU32 = NonZeroU32::new(10).unwrap();

pub(super) async fn run(args: ServeArgs, config: &Config) -> Result<Exit, Failure> {
    let file = &config.serve;
    let listen = listen(args.listen, config)?;
    let storage = config.storage()?.to_owned();
    // What is badly written is not tried again and again. Whether it is there is not looked at: a storage that hangs
    // keeps the server from nothing.
    crate::storage::check_url(&storage).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Index::check_url(&config.database)?;
    let schedule = args.audit_every.or_else(|| file.audit_every.clone());
    let schedule = schedule.map(|text| text.parse::<Schedule>()).transpose();
    let schedule = schedule.map_err(|error| Failure::new(Exit::Usage, format!("--audit-every: {error}")))?;
    // Without a place of their own, findings go with the server.
    let (findings, _room) = match args.findings.or_else(|| file.findings.clone()) {
        Some(dir) => (make(dir)?, None),
        None => {
            let room = FindingsRoom::make();
            let room =
                room.map_err(|e| Failure::new(Exit::Failed, format!("no directory for findings: {e}; set TMPDIR")))?;
            (room.path().to_owned(), Some(room))
        }
    };
    let options = Options {
        listen,
        startup_audit: args.startup_audit.or(file.startup_audit).unwrap_or(true),
        audit_every: schedule,
        metrics_auth: args.metrics_auth.or(file.metrics_auth).unwrap_or(false),
        auth_failures: args.auth_failures.or(file.auth_failures).unwrap_or(AUTH_FAILURES),
        settings: Settings {
            storage,
            database: config.database.clone(),
            readers: config.database_connections.unwrap_or(READERS),
            identity: config.identity,
            order: config.order,
            inode_numbers: config.inode_numbers,
            lease_terms: super::lease_terms(config),
            findings,
        },
    };
    let cannot = |e: std::io::Error| Failure::new(Exit::Failed, format!("signals cannot be heard: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(options, stop).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    Ok(Exit::Done)
}

/// Returns where the server listens.
fn listen(given: Option<String>, config: &Config) -> Result<String, Failure> {
    let listen = given.or_else(|| config.serve.listen.clone()).unwrap_or_else(|| LISTEN.to_owned());
    check_address(&listen).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(listen)
}

fn make(dir: PathBuf) -> Result<PathBuf, Failure> {
    private::create_dir_all(&dir)
        .map_err(|e| Failure::new(Exit::Failed, format!("the directory for findings {dir:?} cannot be made: {e}")))?;
    Ok(dir)
}

pub(super) async fn health(args: HealthArgs, config: &Config) -> Result<Exit, Failure> {
    let address = listen(args.listen, config)?;
    let path = if args.ready { "/health/ready" } else { "/health/live" };
    let (status, body) = ask(&address, path).await.map_err(|why| Failure::new(Exit::Failed, why))?;
    if status == 200 {
        output::line(body.trim());
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("the server at {address} answers {status}: {}", body.trim())))
}

pub(super) fn openapi(yaml: bool) -> Result<Exit, Failure> {
    output::raw(specification(yaml).as_bytes());
    Ok(Exit::Done)
}
