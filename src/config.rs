//! Flags, environment, file -> where storage and index are. Every bad value ends here with a clear error.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::model::{Identity, InodeNumbers, Order};

/// Where the index is when nobody says otherwise.
pub const DEFAULT_DATABASE: &str = "sqlite://data/index.sqlite3";

/// A shorter lease would be lost while its holder waits for the disk.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What flags and environment say; flags have won already.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The URL of the storage.
    pub storage: Option<String>,
    /// The URL of the database.
    pub database: Option<String>,
    /// How many connections to the database read at a time.
    pub database_connections: Option<u32>,
    /// How log lines look.
    pub log_format: Option<LogFormat>,
    /// By what the storage is known again.
    pub identity: Option<Identity>,
    /// In which order the storage lists its keys.
    pub order: Option<Order>,
    /// Whether inode numbers last.
    pub inode_numbers: Option<InodeNumbers>,
    /// After so long a silence of its holder the lease is free.
    pub lease_expiry: Option<Duration>,
    /// A file with the same settings.
    pub file: Option<PathBuf>,
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    storage: Option<String>,
    /// The URL of the database.
    pub database: String,
    /// How many connections to the database read at a time, if somebody says so.
    pub database_connections: Option<u32>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// By what the storage is known again.
    pub identity: Identity,
    /// In which order the storage lists its keys.
    pub order: Order,
    /// Whether inode numbers last.
    pub inode_numbers: InodeNumbers,
    /// After so long a silence of its holder the lease is free, if somebody says so.
    pub lease_expiry: Option<Duration>,
    /// What the file says of the server.
    pub serve: Serve,
}

/// What a file says of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens.
    pub listen: Option<String>,
    /// Whether it makes an audit when it has started.
    pub startup_audit: Option<bool>,
    /// When it makes an audit again.
    pub audit_every: Option<String>,
    /// Whether `/metrics` needs a key.
    pub metrics_auth: Option<bool>,
    /// How many requests without a valid key an address has a minute.
    pub auth_failures: Option<NonZeroU32>,
    /// Where findings are kept.
    pub findings: Option<PathBuf>,
}

/// The settings of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    storage: Option<String>,
    database: Option<String>,
    database_connections: Option<NonZeroU32>,
    log_format: Option<LogFormat>,
    identity: Option<Identity>,
    order: Option<Order>,
    inode_numbers: Option<InodeNumbers>,
    #[serde(default, deserialize_with = "duration")]
    lease_expiry: Option<Duration>,
    listen: Option<String>,
    startup_audit: Option<bool>,
    audit_every: Option<String>,
    metrics_auth: Option<bool>,
    auth_failures: Option<NonZeroU32>,
    findings: Option<PathBuf>,
}

/// Reads a duration as people write it.
fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let parsed = humantime::parse_duration(&text).ok().filter(|expiry| *expiry >= SHORTEST_LEASE);
    parsed.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration of a second or more")))
}

/// Why the settings do not hold together.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config file {file:?} cannot be read: {source}")]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "config file {file:?}: {why}; settings are storage, database, database_connections, log_format, identity, order, \
         inode_numbers, lease_expiry, listen, startup_audit, audit_every, metrics_auth, auth_failures and findings"
    )]
    Wrong {
        /// Which.
        file: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// Nobody says where the files are.
    #[error("no storage is named; use --storage, STORAGE_URL, or `storage` in a config file")]
    NoStorage,
}

impl Config {
    /// Fills what was not given from the file, and what the file does not say with what is usual.
    ///
    /// # Errors
    /// When the file cannot be read or has a setting that is not known.
    pub fn load(given: Given) -> Result<Self, ConfigError> {
        let file = given.file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self {
            storage: given.storage.or(file.storage),
            database: given.database.or(file.database).unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
            database_connections: given.database_connections.or(file.database_connections.map(NonZeroU32::get)),
            log_format: given.log_format.or(file.log_format).unwrap_or_default(),
            identity: given.identity.or(file.identity).unwrap_or_default(),
            order: given.order.or(file.order).unwrap_or_default(),
            inode_numbers: given.inode_numbers.or(file.inode_numbers).unwrap_or_default(),
            lease_expiry: given.lease_expiry.or(file.lease_expiry),
            serve: Serve {
                listen: file.listen,
                startup_audit: file.startup_audit,
                audit_every: file.audit_every,
                metrics_auth: file.metrics_auth,
                auth_failures: file.auth_failures,
                findings: file.findings,
            },
        })
    }

    /// Returns the URL of the storage.
    ///
    /// # Errors
    /// When nobody has named one: a guess could be another storage than the one that is meant.
    pub fn storage(&self) -> Result<&str, ConfigError> {
        self.storage.as_deref().ok_or(ConfigError::NoStorage)
    }
}

fn read(file: &Path) -> Result<File, ConfigError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    toml::from_str(&text).map_err(|e| ConfigError::Wrong { file: file.to_owned(), why: e.message().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "storage = '/from/file'\nlog_format = 'json'\nidentity = 'none'\n").unwrap();
        let given = Given { storage: Some("/from/flag".into()), file: Some(file.clone()), ..Given::default() };
        let config = Config::load(given).unwrap();
        assert_eq!(config.storage().unwrap(), "/from/flag");
        assert_eq!((config.database.as_str(), config.log_format), (DEFAULT_DATABASE, LogFormat::Json));
        let config = Config::load(Given { file: Some(file.clone()), ..Given::default() }).unwrap();
        assert_eq!((config.storage().unwrap(), config.identity), ("/from/file", Identity::None));
        let given = Given { identity: Some(Identity::Marker), file: Some(file), ..Given::default() };
        assert_eq!(Config::load(given).unwrap().identity, Identity::Marker);
        assert!(matches!(Config::load(Given::default()).unwrap().storage(), Err(ConfigError::NoStorage)));
    }

    #[test]
    fn unknown_and_impossible_settings_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        for (setting, word) in [("storagee = '/x'\n", "storagee"), ("database_connections = 0\n", "nonzero")] {
            std::fs::write(&file, setting).unwrap();
            let error = Config::load(Given { file: Some(file.clone()), ..Given::default() }).unwrap_err().to_string();
            assert!(error.contains(word) && error.lines().count() == 1, "{error}");
        }
        let missing = Given { file: Some("/no/such/file".into()), ..Given::default() };
        assert!(matches!(Config::load(missing), Err(ConfigError::Unreadable { .. })));
    }
}
