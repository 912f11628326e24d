//! `user`: who owns which keys.

use super::args::{Format, UserCommand};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::index::{Access, Index, NewUser, User, UserRow};

pub(super) async fn run(command: UserCommand, config: &Config) -> Result<Exit, Failure> {
    let access = if matches!(command, UserCommand::List { .. }) { Access::Read } else { Access::Write };
    let index = super::open_index(config, access).await?;
    let done = carry_out(command, &index).await;
    index.close().await;
    done
}

async fn carry_out(command: UserCommand, index: &Index) -> Result<Exit, Failure> {
    match command {
        UserCommand::Add { name, id, prefix, format } => {
            let user = index.add_user(NewUser { name, id, prefix }).await?;
            match format {
                Format::Json => output::json(&UserRow::from(&user)),
                Format::Text => {
                    output::line(&user.id.to_string());
                    output::advise(&format!("user {:?} has id {} and owns {}", user.name, user.id, owned(&user)));
                }
            }
        }
        UserCommand::Rename { name, new_name } => {
            let user = index.rename_user(&name, &new_name).await?;
            output::advise(&format!(
                "user {} is now {:?}; the prefix stays {:?}",
                user.id,
                user.name,
                user.prefix.as_str()
            ));
        }
        UserCommand::Remove { name } => {
            let user = index.remove_user(&name).await?;
            output::advise(&format!("user {:?} and the user's records are removed; no file was touched", user.name));
        }
        UserCommand::List { format } => {
            let users = index.user_rows().await?;
            match format {
                Format::Json => output::json(&users),
                Format::Text => {
                    let row = |u: &UserRow| vec![u.id.to_string(), u.name.clone(), u.prefix.clone()];
                    output::table(&["ID", "NAME", "PREFIX"], &users.iter().map(row).collect::<Vec<_>>());
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn owned(user: &User) -> String {
    if user.prefix.is_whole_storage() {
        "the whole storage".to_owned()
    } else {
        format!("all keys under {:?}", user.prefix.scope())
    }
}
