//! What can be typed about the server.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand};

use super::args::{Format, duration};

#[derive(Debug, Parser)]
pub(super) struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, env = "LISTEN", value_name = "HOST:PORT", hide_env_values = true)]
    pub(super) listen: Option<String>,
    /// Audit once the server has started, in the background [default: true]
    #[arg(long, env = "STARTUP_AUDIT", value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_env_values = true)]
    pub(super) startup_audit: Option<bool>,
    /// Audit again, e.g. 6h, or by a cron expression such as '0 3 * * *' (UTC) [default: never]
    #[arg(long, env = "AUDIT_EVERY", value_name = "WHEN", hide_env_values = true)]
    pub(super) audit_every: Option<String>,
    /// Let nobody read /metrics without a key [default: false]
    #[arg(long, env = "METRICS_AUTH", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_env_values = true)]
    pub(super) metrics_auth: Option<bool>,
    /// Refuse an address that sends more requests without a valid key in a minute [default: 10]
    #[arg(long, env = "AUTH_FAILURES", value_name = "N", hide_env_values = true)]
    pub(super) auth_failures: Option<NonZeroU32>,
    /// Keep what the last 20 tasks found in this directory [default: a temporary one]
    #[arg(long, env = "FINDINGS", value_name = "DIR", hide_env_values = true)]
    pub(super) findings: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(super) struct HealthArgs {
    /// Where the server listens [default: 127.0.0.1:8080]
    #[arg(long, env = "LISTEN", value_name = "HOST:PORT", hide_env_values = true)]
    pub(super) listen: Option<String>,
    /// Ask whether the database answers as well
    #[arg(long)]
    pub(super) ready: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key, and print its secret, which is shown only now
    Create {
        /// The name of the user whose key it is
        #[arg(long, value_name = "NAME")]
        user: String,
        /// Let it do everything; without, it opens nothing yet
        #[arg(long)]
        admin: bool,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        name: String,
        /// When it ends, from now, e.g. 90d
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List all keys, without their secrets
    List {
        /// How the result on stdout looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// End a key for good
    Revoke {
        /// The id, or the eight characters behind `sk_`
        #[arg(value_name = "KEYID")]
        key: String,
    },
}
