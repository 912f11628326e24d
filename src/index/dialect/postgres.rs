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

/// The options of a URL that the driver knows, and how else it lets them be spelled; it would ignore any other one with a
/// warning. `options[NAME]` it takes as well: a setting of the session, which the server judges.
const OPTIONS: [&str; 18] = [
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
];

/// For how many seconds a server is waited for; 0 says nothing. The driver does not know it.
const CONNECT_TIMEOUT: &str = "connect_timeout";

/// What a URL says.
#[derive(Debug)]
struct Place {
    options: PgConnectOptions,
    /// How long the first connection is waited for.
    patience: Duration,
}

/// Opens the index at `url`; see [`crate::index::Index::open`].
pub(crate) async fn open(url: &str, access: Access, readers: u32) -> Result<Opened, IndexError> {
    let Place { options, patience } = parse(url)?;
    let shown = without_secret(url);
    look(&options, &shown, patience).await?;
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
    connect(&parse(url)?.options, &without_secret(url), Access::Write, 1).await
}

/// Checks that `url` can be the address of such a database.
pub(crate) fn check_url(url: &str) -> Result<(), IndexError> {
    parse(url).map(drop)
}

/// Returns which steps of the schema the database at `url` has, without changing it.
pub(crate) async fn migrations(url: &str) -> Result<Vec<MigrationState>, IndexError> {
    let Place { options, patience } = parse(url)?;
    let shown = without_secret(url);
    look(&options, &shown, patience).await?;
    let reader = connect(&options, &shown, Access::Read, 1).await?;
    schema::steps(&reader, &shown).await
}

fn parse(url: &str) -> Result<Place, IndexError> {
    let bad = |why: String| IndexError::BadUrl { url: without_secret(url), why };
    let mut parsed = Url::parse(url).map_err(|e| {
        bad(format!("{e}; in a password, all but letters and digits are written as %40 for @ and the like"))
    })?;
    let (mut patience, mut passed) = (PATIENCE, Vec::new());
    for (key, value) in parsed.query_pairs() {
        if key == CONNECT_TIMEOUT {
            let seconds: u32 = value
                .parse()
                .map_err(|_| bad(format!("{CONNECT_TIMEOUT} is a number of seconds, and {value:?} is none")))?;
            patience = Some(Duration::from_secs(seconds.into())).filter(|p| !p.is_zero()).unwrap_or(PATIENCE);
        } else if OPTIONS.contains(&key.as_ref()) || is_setting(&key) {
            passed.push((key.into_owned(), value.into_owned()));
        } else {
            let known = OPTIONS.join(", ");
            return Err(bad(format!("unknown option {key:?}; known are {known}, {CONNECT_TIMEOUT} and options[NAME]")));
        }
    }
    parsed.set_query(None);
    if !passed.is_empty() {
        parsed.query_pairs_mut().extend_pairs(passed);
    }
    let options = PgConnectOptions::from_str(parsed.as_str()).map_err(|e| bad(e.to_string()))?;
    Ok(Place { options: options.disable_statement_logging(), patience })
}

/// Tells whether an option sets something for the session: `options[NAME]`. What is not closed the driver would ignore.
fn is_setting(key: &str) -> bool {
    let name = key.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']'));
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
    })
}

/// Connects once and at once: a pool would go on trying, and in the end say only that it took too long.
async fn look(options: &PgConnectOptions, shown: &str, patience: Duration) -> Result<(), IndexError> {
    let failed =
        |error| IndexError::Open { url: shown.to_owned(), source: DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))) };
    let connecting = sqlx::PgConnection::connect_with(options);
    let connection = match tokio::time::timeout(patience, connecting).await {
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
        // Nor does one who falls silent in the middle of a transaction, or whose host is gone, keep its locks for ever.
        Access::Write => {
            "SET timezone = 'UTC'; SET lock_timeout = '10s'; SET client_min_messages = warning; SET jit = off; \
             SET default_transaction_isolation = 'read committed'; SET idle_in_transaction_session_timeout = '30s'; \
             SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
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
            "postgres://h/d?connect_timeout=5&options[statement_timeout]=5s&options%5Bmy.own%5D=x&options=-c%20geqo=off",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in [
            "postgres://h/d?nonsense=1",
            "postgres://h/d?sslmode=perhaps",
            "postgres://h:port/d",
            "postgres://h/d?connect_timeout=soon",
            "postgres://h/d?options[=1",
            "postgres://h/d?options[]=1",
            "postgres://h/d?options[a b]=1",
        ] {
            assert!(parse(url).unwrap_err().is_usage(), "{url}");
        }
        let told = parse("postgres://h/d?gssencmode=prefer").unwrap_err().to_string();
        for known in OPTIONS.iter().chain(&[CONNECT_TIMEOUT, "options[NAME]", "gssencmode"]) {
            assert!(told.contains(known), "{known}: {told}");
        }
        for url in ["postgres://u:sesame@h/d?sslmode=perhaps", "postgres://u@h/d?password=sesame&nonsense=1"] {
            let told = parse(url).unwrap_err().to_string();
            assert!(!told.contains("sesame") && told.contains("h/d"), "{told}");
        }
    }

    #[test]
    fn options_mean_what_they_mean_elsewhere() {
        let seconds = |query: &str| parse(&format!("postgres://h/d{query}")).unwrap().patience.as_secs();
        assert_eq!([seconds("?connect_timeout=3"), seconds("?connect_timeout=0"), seconds("")], [3, 10, 10]);
        let place =
            parse("postgres://u:p%40w@h:7/d?options[statement_timeout]=5%20s&connect_timeout=3&dbname=e").unwrap();
        assert_eq!(place.options.get_options(), Some("-c statement_timeout=5\\ s"));
        assert_eq!((place.options.get_host(), place.options.get_database()), ("h", Some("e")));
    }
}
