//! `demo`: a small real storage with drift in `./data`, and an audit of it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::args::{DemoArgs, Format, RebuildArgs};
use super::exit::{Exit, Failure};
use super::logging::Loudness;
use super::output;
use super::rebuild;
use crate::config::{Config, DEFAULT_DATABASE, Given};
use crate::index::{Access, Index, NewLink, NewUser};
use crate::private;
use crate::reconcile::{Mode, Reconciler, Request, Silent};
use crate::storage::Storage;

const PLACE: &str = "data";
const FILES: &str = "data/files";
/// Says that a directory is a playground, which may be thrown away.
const SIGN: &str = "data/.storm-index-demo";
/// What it says as long as the playground is not whole.
const UNFINISHED: &str = "`storm-index demo` is making this\n";

/// What the index has seen: user's prefix, path below it, content.
const SEEN: &[(&str, &str, &str)] = &[
    ("1", "photos/2024/beach.jpg", "waves"),
    ("1", "photos/2024/cat.jpg", "whiskers"),
    ("1", "photos/2025/snow.jpg", "white"),
    ("1", "documents/letter.txt", "Dear you,"),
    ("1", "documents/taxes.pdf", "sums"),
    ("1", "music/song.mp3", "la la"),
    ("teams/alpha", "plan.md", "# Plan"),
    ("teams/alpha", "notes/monday.txt", "coffee"),
    ("teams/alpha", "notes/tuesday.txt", "tea"),
    ("teams/alpha", "logo.svg", "<svg/>"),
];

/// What happened to the files afterwards, behind the index's back.
const ADDED: &[(&str, &str)] = &[
    ("1/photos/2025/copied-in-by-hand.jpg", "new"),
    ("1/documents/letter (final).txt", "Dear you, finally,"),
    ("teams/alpha/notes/wednesday.txt", "more coffee"),
    ("guest/hello.txt", "nobody owns this"),
];
const CHANGED: &[(&str, &str)] =
    &[("1/documents/letter.txt", "Dear you, and more,"), ("teams/alpha/plan.md", "# New plan")];
const REMOVED: &[&str] = &["1/photos/2024/cat.jpg", "1/documents/taxes.pdf", "teams/alpha/notes/monday.txt"];

pub(super) async fn run(args: &DemoArgs, loudness: Loudness) -> Result<Exit, Failure> {
    let sign = fs::read_to_string(SIGN).ok();
    let (there, is_whole) = (sign.is_some(), sign.is_some_and(|sign| !sign.is_empty() && sign != UNFINISHED));
    let trouble = |e: io::Error| Failure::new(Exit::Failed, format!("the playground in ./{PLACE} cannot be made: {e}"));
    let fresh = args.fresh || !is_whole;
    if there && fresh {
        throw_away().map_err(trouble)?;
    } else if !there && is_taken().map_err(trouble)? {
        let message = format!("./{PLACE} exists and is no playground; run the demo in another directory");
        return Err(Failure::new(Exit::Usage, message));
    }
    if fresh {
        output::advise(&format!("making a playground in ./{PLACE}"));
        make().await.map_err(|e| match e {
            Made::Disk(e) => trouble(e),
            Made::Library(e) => Failure::from(e),
        })?;
    }
    output::advise("auditing it, as `storm-index rebuild --storage data/files --mode audit` does:\n");
    let config = Config::load(Given {
        storage: Some(FILES.to_owned()),
        database: Some(DEFAULT_DATABASE.to_owned()),
        ..Given::default()
    })?;
    let audit = RebuildArgs {
        mode: Mode::Audit,
        dry_run: false,
        force: false,
        user_id: None,
        adopt: false,
        max_delete: None,
        min_age: std::time::Duration::ZERO,
        exclude: Vec::new(),
        exclude_noise: false,
        no_moves: false,
        journal_keep: None,
        report: None,
        format: Format::Text,
    };
    match rebuild::run(audit, &config, loudness).await? {
        // Drift is what the playground is for.
        Exit::Drift | Exit::Done => {
            output::advise("\nnow try: storm-index rebuild --storage data/files --mode full --dry-run");
            Ok(Exit::Done)
        }
        other => Ok(other),
    }
}

enum Made {
    Disk(io::Error),
    Library(crate::error::Error),
}

impl From<io::Error> for Made {
    fn from(e: io::Error) -> Self {
        Self::Disk(e)
    }
}

impl<E: Into<crate::error::Error>> From<E> for Made {
    fn from(e: E) -> Self {
        Self::Library(e.into())
    }
}

/// Says whether there is anything in the place of the playground that somebody may miss.
fn is_taken() -> io::Result<bool> {
    match fs::read_dir(PLACE) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(fs::symlink_metadata(PLACE).is_ok()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(e) => Err(e),
    }
}

/// Throws the playground away, its sign last: should this be interrupted, what is left can be thrown away as well.
fn throw_away() -> io::Result<()> {
    fs::write(SIGN, UNFINISHED)?;
    for entry in fs::read_dir(PLACE)? {
        let path = entry?.path();
        if path == Path::new(SIGN) {
            continue;
        }
        if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    fs::remove_file(SIGN)
}

async fn make() -> Result<(), Made> {
    private::create_dir_all(Path::new(PLACE))?;
    // First of all: one that was interrupted is a playground too, and may be thrown away.
    put(Path::new(SIGN), UNFINISHED)?;
    private::create_dir_all(Path::new(FILES))?;
    for (prefix, path, content) in SEEN {
        write(&format!("{prefix}/{path}"), content)?;
    }
    let index = Index::open(DEFAULT_DATABASE, Access::Write).await?;
    let ann = index.add_user(NewUser { name: "ann".to_owned(), id: Some(1), prefix: None }).await?;
    let alpha = Some("teams/alpha".to_owned());
    index.add_user(NewUser { name: "alpha".to_owned(), id: Some(2), prefix: alpha }).await?;
    let storage = Storage::local(FILES).map_err(crate::error::Error::from)?;
    Reconciler::new(&storage, &index).run(&Request::new(Mode::Sync), &mut Silent).await?;
    for (path, token) in [("photos/2024/beach.jpg", "demo-beach"), ("documents/taxes.pdf", "demo-taxes")] {
        let link = NewLink { user: ann.id, path: path.to_owned(), token: token.into(), expires_at: None };
        index.create_link(link).await?;
    }
    index.close().await;
    for path in REMOVED {
        fs::remove_file(Path::new(FILES).join(path))?;
    }
    for (path, content) in ADDED.iter().chain(CHANGED) {
        write(path, content)?;
    }
    let odd = std::ffi::OsStr::from_bytes(b"old-encoding-\xe9.txt");
    // Some file systems have no such names; the playground is as good without it.
    let _ = put(&Path::new(FILES).join("1/documents").join(odd), "x");
    put(Path::new(SIGN), "made by `storm-index demo`; `storm-index demo --fresh` throws this directory away\n")?;
    Ok(())
}

fn write(key: &str, content: &str) -> io::Result<()> {
    let path = Path::new(FILES).join(key);
    if let Some(parent) = path.parent() {
        private::create_dir_all(parent)?;
    }
    put(&path, content)
}

fn put(path: &Path, content: &str) -> io::Result<()> {
    let mut file = private::open(path)?;
    file.set_len(0)?;
    file.write_all(content.as_bytes())
}
