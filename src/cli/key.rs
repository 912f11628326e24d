//! `key`: who may use the API.

use super::args::Format;
use super::exit::{Exit, Failure};
use super::output;
use super::server_args::KeyCommand;
use super::share::undelivered;
use crate::clock;
use crate::config::Config;
use crate::http::Secret;
use crate::index::{Access, Index, KeyRow, NewKey};
use crate::model::Timestamp;

pub(super) async fn run(command: KeyCommand, config: &Config) -> Result<Exit, Failure> {
    let access = if matches!(command, KeyCommand::List { .. }) { Access::Read } else { Access::Write };
    let index = super::open_index(config, access).await?;
    let done = carry_out(command, &index).await;
    index.close().await;
    done
}

async fn carry_out(command: KeyCommand, index: &Index) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Create { user, admin, name, expires, format } => {
            let secret = Secret::make()
                .map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random numbers: {e}")))?;
            let ends = |after: std::time::Duration| {
                let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(clock::now().micros().saturating_add(micros))
            };
            let (prefix, hash) = (secret.prefix, secret.hash);
            let new = NewKey { user, name, prefix, hash, is_admin: admin, expires_at: expires.map(ends) };
            let key = index.create_key(new).await?;
            let text = match format {
                // Texts and numbers always serialise.
                Format::Json => serde_json::to_string(&Made { key: &secret.text, row: &key }).unwrap_or_default(),
                Format::Text => secret.text,
            };
            if let Err(error) = output::deliver(&text) {
                let discarded = index.discard_key(&key).await;
                return Err(undelivered("key", &format!("key {}", key.id), &error, discarded));
            }
            match format {
                Format::Json => {}
                Format::Text => {
                    let until = key.expires_at.as_deref().unwrap_or("it is revoked");
                    let whose = if key.is_admin { "an admin's key" } else { "a key that is no admin's" };
                    output::advise(&format!(
                        "{whose} of user {:?}, id {}, until {until}; it is shown only now",
                        key.user, key.id
                    ));
                }
            }
        }
        KeyCommand::List { format } => {
            let keys = index.keys().await?;
            match format {
                Format::Json => output::json(&keys),
                Format::Text => {
                    let rows: Vec<_> = keys.into_iter().map(row).collect();
                    output::table(&["ID", "USER", "KEY", "ADMIN", "STATE", "ENDS", "LAST USED", "NAME"], &rows);
                }
            }
        }
        KeyCommand::Revoke { key } => {
            index.revoke_key(&key).await?;
            output::advise("the key is revoked");
        }
    }
    Ok(Exit::Done)
}

/// A key that was just made, with its secret.
#[derive(serde::Serialize)]
struct Made<'k> {
    key: &'k str,
    #[serde(flatten)]
    row: &'k KeyRow,
}

fn row(key: KeyRow) -> Vec<String> {
    let ended = key.expires_at.as_deref().and_then(Timestamp::from_text).is_some_and(|ends| ends <= clock::now());
    let state = match (&key.revoked_at, ended) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "active",
    };
    vec![
        key.id.to_string(),
        key.user,
        format!("sk_{}_…", key.prefix),
        if key.is_admin { "yes" } else { "no" }.to_owned(),
        state.to_owned(),
        key.expires_at.unwrap_or_else(|| "never".to_owned()),
        key.last_used_at.unwrap_or_else(|| "never".to_owned()),
        key.name,
    ]
}
