//! `rebuild`: one run.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::args::{Format, RebuildArgs};
use super::exit::{Exit, Failure};
use super::logging::Loudness;
use super::output;
use super::progress::Bar;
use super::report_file::ReportFile;
use super::text;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::index::{Access, IndexError};
use crate::model::Timestamp;
use crate::reconcile::{
    Answer, Evidence, Excludes, FindingKind, Observer, Progress, Report, Request, RequestWire, check_users, outcome_of,
};

pub(super) async fn run(args: RebuildArgs, config: &Config, loudness: Loudness) -> Result<Exit, Failure> {
    let mut exclude = Excludes::parse(args.exclude.clone())?;
    if args.exclude_noise {
        exclude = exclude.with_noise()?;
    }
    let request = Request {
        mode: args.mode,
        dry_run: args.dry_run,
        force: args.force,
        user: args.user_id,
        adopt: args.adopt,
        max_delete: args.max_delete,
        min_age: args.min_age,
        exclude,
        moves: !args.no_moves,
    };
    request.check()?;
    if let Some(path) = &args.report {
        ReportFile::check_name(path)?;
    }
    let url = config.storage()?;
    let mut screen = Screen::new(&args, loudness);
    let (task, started) = (Uuid::now_v7(), clock::now());
    let report = match reconcile(url, config, (task, &request), args.journal_keep, &mut screen).await {
        Ok(report) => report?,
        Err(error) if error.kind() != ErrorKind::Failed => return Err(error.into()),
        Err(error) => {
            let mut report = Report::new(request.mode, request.dry_run);
            report.task_id = task;
            report.fail(error.code(), error.to_string());
            // A database that did not answer is not waited for twice.
            if !matches!(error, Error::Index(IndexError::Open { .. })) {
                note(config, &request, started, &report).await;
            }
            report
        }
    };
    Ok(screen.finish(report))
}

/// Leaves the row of a run that could not begin, where the database takes it. Looking makes no database for it.
async fn note(config: &Config, request: &Request, started: Timestamp, report: &Report) {
    let access = if request.writes() { Access::Write } else { Access::Read };
    let Ok(index) = super::open_index(config, access).await else { return };
    let asked = RequestWire::from(request).to_json();
    index.note_task(&report.task_id.to_string(), &asked, started, &outcome_of(report)).await;
    index.close().await;
}

async fn reconcile(
    url: &str,
    config: &Config,
    (task, request): (Uuid, &Request),
    journal_keep: Option<Duration>,
    screen: &mut Screen,
) -> Result<Result<Report, Failure>, Error> {
    let storage = super::open_storage(url, config).map_err(Error::from);
    if storage.as_ref().is_err_and(|error| error.kind() == ErrorKind::Failed) {
        // The asker's mistakes come first, whatever else is wrong.
        check_index(config, request).await?;
    }
    let storage = storage?;
    let access = if request.writes() { Access::Write } else { Access::Read };
    let index = super::open_index(config, access).await?;
    if let Some(user) = request.user {
        index.user(user).await?;
    }
    if let Err(failure) = screen.open_report(storage.root(), index.files()) {
        return Ok(Err(failure));
    }
    tracing::info!(mode = %request.mode, dry_run = request.dry_run, "run begins");
    let storage = storage.without_files(index.files());
    let reconciler = super::reconciler(&storage, &index, config).with_journal_keep(journal_keep);
    let report = reconciler.run_as(task, request, screen).await;
    index.close().await;
    report.map(Ok)
}

/// Looks for what is wrong with the request as far as the index can tell.
async fn check_index(config: &Config, request: &Request) -> Result<(), Error> {
    let checked = async {
        // The lease comes behind what is wrong with the request itself, and before what is wrong with the world.
        let index = super::open_index(config, Access::Read).await?;
        let users = match request.user {
            Some(user) => vec![index.user(user).await?],
            None => index.users().await?,
        };
        let holder = if request.writes() { index.lease_holder().await? } else { None };
        index.close().await;
        check_users(users)?;
        holder.map_or(Ok(()), |holder| Err(IndexError::Held(holder)))
    };
    match checked.await.map_err(Error::from) {
        Err(error) if error.kind() != ErrorKind::Failed => Err(error),
        _ => Ok(()),
    }
}

/// Shows a run: findings and summary on stdout, progress and problems on stderr, evidence in the report file.
struct Screen {
    format: Format,
    loudness: Loudness,
    colour: bool,
    lines: Vec<u8>,
    bar: Option<Bar>,
    report: Option<PathBuf>,
    file: Option<ReportFile>,
}

impl Screen {
    fn new(args: &RebuildArgs, loudness: Loudness) -> Self {
        Self {
            format: args.format,
            loudness,
            colour: output::wants_colour(),
            lines: Vec::new(),
            bar: Bar::new(loudness),
            report: args.report.clone(),
            file: None,
        }
    }

    fn open_report(&mut self, root: Option<&Path>, index: &[PathBuf]) -> Result<(), Failure> {
        self.file = self.report.as_deref().map(|path| ReportFile::create(path, root, index)).transpose()?;
        Ok(())
    }

    fn prints(&self, kind: FindingKind) -> bool {
        let from = match kind {
            FindingKind::Matched => Loudness::All,
            FindingKind::Unclaimed => Loudness::Verbose,
            _ => Loudness::Normal,
        };
        self.format == Format::Text && self.loudness >= from
    }

    fn print_lines(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        match self.bar.as_ref().filter(|_| std::io::stdout().is_terminal()) {
            Some(bar) => bar.aside(|| output::raw(&lines)),
            None => output::raw(&lines),
        }
    }

    /// Prints what is left, and returns how the run ended.
    fn finish(mut self, mut report: Report) -> Exit {
        self.print_lines();
        if let Some(bar) = &self.bar {
            bar.clear();
        }
        if let Some(trouble) = self.file.take().and_then(ReportFile::finish) {
            report.note_always("report_failed", trouble);
        }
        match self.format {
            Format::Json => output::json(&Answer::from(&report)),
            Format::Text => output::raw(text::summary(&report).as_bytes()),
        }
        for problem in &report.problems {
            output::complain(&problem.message);
        }
        if let Some(refusal) = &report.refusal {
            output::complain(&format!("refused: {}", refusal.message));
        }
        let _ = std::io::stderr().flush();
        Exit::of(&report)
    }
}

impl Observer for Screen {
    fn wants(&self, kind: FindingKind) -> bool {
        let in_file = kind != FindingKind::Matched || self.loudness == Loudness::All;
        (self.file.is_some() && in_file) || self.prints(kind)
    }

    fn begins(&mut self) {
        if let Some(file) = &mut self.file {
            file.begin();
        }
    }

    fn finding(&mut self, evidence: &Evidence) {
        if let Some(file) = &mut self.file {
            file.take(evidence);
        }
        if self.prints(evidence.kind) {
            text::finding(evidence, self.colour, &mut self.lines);
            if self.lines.len() > 64 * 1024 {
                self.print_lines();
            }
        }
    }

    fn wants_progress(&self) -> bool {
        self.bar.is_some()
    }

    fn progress(&mut self, progress: Progress) {
        self.print_lines();
        if let Some(bar) = &mut self.bar {
            bar.show(progress);
        }
    }
}
