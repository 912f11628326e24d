//! `task`: what runs were asked and came to.

use super::args::{Format, TaskCommand};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::index::{Access, Task};

pub(super) async fn run(command: TaskCommand, config: &Config) -> Result<Exit, Failure> {
    let access = if matches!(command, TaskCommand::Cancel { .. }) { Access::Write } else { Access::Read };
    let index = super::open_index(config, access).await?;
    match command {
        TaskCommand::List { limit, format } => {
            let tasks = index.tasks(limit).await?;
            match format {
                Format::Json => output::json(&tasks),
                Format::Text => {
                    let rows: Vec<_> = tasks.into_iter().map(row).collect();
                    output::table(&["TASK", "STATUS", "MODE", "BEGAN", "ENDED"], &rows);
                }
            }
        }
        TaskCommand::Cancel { id } => {
            let task = index.cancel_task(&id, |_| false).await?;
            if task.finished_at.is_some() {
                let why = wrong_with(&task).map_or_else(String::new, |why| format!(": {why}"));
                let message = format!("task {id} has ended already: {}{why}", task.status);
                return Err(Failure::new(Exit::Usage, message));
            }
            output::advise("the run is asked to end; it does so at its next border between two batches");
        }
        TaskCommand::Show { id, format } => {
            let task = index.task(&id).await?;
            match format {
                Format::Json => output::json(&task),
                Format::Text => output::line(&pretty(&task)),
            }
        }
    }
    index.close().await;
    Ok(Exit::Done)
}

/// Returns the first thing that went wrong, if anything did.
fn wrong_with(task: &Task) -> Option<String> {
    let errors: serde_json::Value = serde_json::from_str(task.errors.as_ref()?.get()).ok()?;
    errors[0]["message"].as_str().map(str::to_owned)
}

fn row(task: Task) -> Vec<String> {
    let request: serde_json::Value =
        task.request.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let dry = if request["dry_run"] == true { " (dry run)" } else { "" };
    let undoes = request["restore"].is_string().then_some("restore");
    let mode = format!("{}{dry}", request["mode"].as_str().or(undoes).unwrap_or("?"));
    let time = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
    vec![task.id, task.status, mode, time(task.started_at), time(task.finished_at)]
}

fn pretty(task: &Task) -> String {
    let value = serde_json::to_value(task).unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(fields) = value.as_object() {
        // Its second name is for programs.
        for (name, field) in fields.iter().filter(|(name, _)| *name != "task_id") {
            let text = match field {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => "-".to_owned(),
                other => other.to_string(),
            };
            lines.push(format!("{name:>11}  {text}"));
        }
    }
    lines.join("\n")
}
