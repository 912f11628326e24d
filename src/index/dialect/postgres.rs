//! PostgreSQL: a pool that reads and one that writes, sessions in UTC.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};
use url::Url;

use super::sqlite;
use crate::index::connect::{Access, Opened, PATIENCE};
use crate::index::error::IndexError;
use crate::index::schema::{self, MigrationState, Standing};
use crate::index::secret::without_secret;

/// Where PostgreSQL begins to count microseconds, the year 2000, in those of 1970.
pub(super) const EPOCH: i64 = 946_684_800_000_000;

/// One connection writes a batch while the next batch is put together; another one is for what a person does meanwhile.
const WRITERS: u32 = 2;

/// How long a connection that does nothing may take to give a sign of life.
const SIGN: Duration = Duration::from_secs(3);

/// The options of a URL that are passed on; the driver would ignore any other one in silence.
const OPTIONS: [&str; 20] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[search_path]",
    "options[role]",
];

/// Opens the index at `url`; see [`crate::index::Index::open`].
pub(crate) async fn open(url: &str, access: Access, readers: u32) -> Result<Opened, IndexError> {
    let options = parse(url)?;
    let shown = without_secret(url);
    look(&options, &shown).await?;
    if access == Access::Read {
        let reader = connect(&options, &shown, Access::Read, readers).await?;
        let standing = schema::standing(&reader, &shown).await?;
        if standing == Standing::Current {
            return Ok(Opened { reader, writer: None, files: Vec::new(), is_real: true });
        }
        let _ = reader.close().await;
        if standing == Standing::Blank {
            // As with a file that does not exist: looking makes nothing.
            let reader = sqlite::empty(&shown).await?;
            return Ok(Opened { reader, writer: None, files: Vec::new(), is_real: false });
        }
    }
    let writer = connect(&options, &shown, Access::Write, WRITERS).await?;
    schema::migrate(&writer, &shown).await.map_err(|error| match access {
        Access::Read => IndexError::Older { url: shown.clone() },
        Access::Write => error,
    })?;
    let reader = connect(&options, &shown, Access::Read, readers).await?;
    let writer = match access {
        Access::Write => Some(writer),
        Access::Read => {
            let _ = writer.close().await;
            None
        }
    };
    Ok(Opened { reader, writer, files: Vec::new(), is_real: true })
}

/// Connects once more to a database that was opened before, to write into it.
pub(crate) async fn connect_again(url: &str) -> Result<DatabaseConnection, IndexError> {
    connect(&parse(url)?, &without_secret(url), Access::Write, 1).await
}

/// Checks that `url` can be the address of such a database.
pub(crate) fn check_url(url: &str) -> Result<(), IndexError> {
    parse(url).map(drop)
}

/// Returns which steps of the schema the database at `url` has, without changing it.
pub(crate) async fn migrations(url: &str) -> Result<Vec<MigrationState>, IndexError> {
    let options = parse(url)?;
    let shown = without_secret(url);
    look(&options, &shown).await?;
    let reader = connect(&options, &shown, Access::Read, 1).await?;
    schema::steps(&reader, &shown).await
}

fn parse(url: &str) -> Result<PgConnectOptions, IndexError> {
    let bad = |why: String| IndexError::BadUrl { url: without_secret(url), why };
    let parsed = Url::parse(url).map_err(|e| {
        bad(format!("{e}; in a password, all but letters and digits are written as %40 for @ and the like"))
    })?;
    if let Some((option, _)) = parsed.query_pairs().find(|(key, _)| !OPTIONS.contains(&key.as_ref())) {
        return Err(bad(format!(
            "unknown option {option:?}; sslmode, sslrootcert, host, application_name and the like are known"
        )));
    }
    let options = PgConnectOptions::from_str(url).map_err(|e| bad(e.to_string()))?;
    Ok(options.disable_statement_logging())
}

/// Connects once and at once: a pool would go on trying, and in the end say only that it took too long.
async fn look(options: &PgConnectOptions, shown: &str) -> Result<(), IndexError> {
    let failed =
        |error| IndexError::Open { url: shown.to_owned(), source: DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))) };
    let connecting = sqlx::PgConnection::connect_with(options);
    let connection = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(failed)?,
        Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
    };
    // Whether the server hears the farewell does not matter.
    let _ = connection.close().await;
    Ok(())
}

async fn connect(
    options: &PgConnectOptions,
    shown: &str,
    access: Access,
    connections: u32,
) -> Result<DatabaseConnection, IndexError> {
    let session = match access {
        // What a SELECT cannot do by mistake, the server refuses as well. And pages come out of the index in its order,
        // also before the server has counted what it holds: its guess would be to sort a user's records for each page.
        Access::Read => {
            "SET timezone = 'UTC'; SET lock_timeout = '10s'; SET default_transaction_read_only = on; \
             SET enable_sort = off; SET enable_bitmapscan = off; SET jit = off"
        }
        Access::Write => {
            "SET timezone = 'UTC'; SET lock_timeout = '10s'; SET client_min_messages = warning; SET jit = off; \
             SET default_transaction_isolation = 'read committed'"
        }
    };
    let mine = options.clone();
    let mut pool = ConnectOptions::new("postgres://localhost");
    pool.max_connections(connections)
        .acquire_timeout(PATIENCE * 3)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |_| mine.clone())
        .map_sqlx_postgres_pool_opts(move |pool| {
            pool.after_connect(move |connection, _| {
                Box::pin(async move { sqlx::Executor::execute(connection, session).await.map(drop) })
            })
            // In place of the pool's own look at a connection, which waits for an answer without end.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(lives(connection)))
            .after_release(|connection, _| Box::pin(lives(connection)))
        });
    Database::connect(pool).await.map_err(|source| IndexError::Open { url: shown.to_owned(), source })
}

/// Tells whether somebody is still there behind a connection; one behind which nobody answers is given up.
async fn lives(connection: &mut sqlx::PgConnection) -> sqlx::Result<bool> {
    match tokio::time::timeout(SIGN, connection.ping()).await {
        Ok(answered) => answered.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_or_refused_and_secrets_are_not_told() {
        for url in [
            "postgres://u@h/d",
            "postgresql://h:5433/d?sslmode=verify-full",
            "postgres:///d?host=/run/postgresql&user=u",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in ["postgres://h/d?nonsense=1", "postgres://h/d?sslmode=perhaps", "postgres://h:port/d"] {
            assert!(parse(url).unwrap_err().is_usage(), "{url}");
        }
        for url in ["postgres://u:sesame@h/d?sslmode=perhaps", "postgres://u@h/d?password=sesame&nonsense=1"] {
            let told = parse(url).unwrap_err().to_string();
            assert!(!told.contains("sesame") && told.contains("h/d"), "{told}");
        }
    }
}
