//! A directory with files and an index: the binary to run on them, and the library for tests that are not about the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sea_orm::DatabaseConnection;
use serde_json::Value;
use storm_index::http::Secret;
use storm_index::index::{Access, Index, NewKey, NewLink, NewUser};
use storm_index::reconcile::{Answer, Mode, Reconciler, Request, Silent};
use storm_index::storage;
use tempfile::TempDir;

use super::database::{self, TestDatabase};

/// What a run of the binary came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks that there is one clear line on stderr that has all of `words`, and nothing on stdout.
    #[track_caller]
    pub(crate) fn complains(self, words: &[&str]) -> Self {
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
        assert_eq!(self.out, "", "{self:?}");
        self
    }

    /// Returns the one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Returns the `result` of a rebuild.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        self.json()["result"].clone()
    }
}

/// The binary that is being tested.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_storm-index"))
}

/// Files in `files/` below a directory, and an index; they go with this value.
pub(crate) struct Playground {
    pub(crate) dir: TempDir,
    pub(crate) index: TestDatabase,
}

impl Playground {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        Self { dir, index: TestDatabase::blank() }
    }

    /// With user 1, who owns `1/`.
    pub(crate) fn with_user() -> Self {
        let playground = Self { index: TestDatabase::fresh(), ..Self::new() };
        playground.add_user("ann", 1);
        playground
    }

    /// Opens the index with the library.
    fn with_index<T>(&self, access: Access, act: impl AsyncFnOnce(&Index) -> T) -> T {
        block_on(async {
            let index = Index::open(&self.index.url(), access).await.unwrap();
            let done = act(&index).await;
            index.close().await;
            done
        })
    }

    /// Adds a user whose prefix is the id.
    pub(crate) fn add_user(&self, name: &str, id: i64) {
        let new = NewUser { name: name.to_owned(), id: Some(id), prefix: None };
        self.with_index(Access::Write, async |index| index.add_user(new).await.unwrap());
    }

    /// Shares a file, and returns the token.
    pub(crate) fn share(&self, user: i64, path: &str) -> String {
        // 256 random bits in hexadecimal, as the program's own.
        let token = Secret::make().unwrap().text.split('_').next_back().unwrap().to_owned();
        let new = NewLink { user, path: path.to_owned(), token: token.clone().into(), expires_at: None };
        self.with_index(Access::Write, async |index| index.create_link(new).await.unwrap());
        token
    }

    /// Makes an admin's key for user ann, and returns its secret.
    pub(crate) fn admin_key(&self) -> String {
        let Secret { text, prefix, hash } = Secret::make().unwrap();
        let new = NewKey { user: "ann".into(), name: String::new(), prefix, hash, is_admin: true, expires_at: None };
        self.with_index(Access::Write, async |index| index.create_key(new).await.unwrap());
        text
    }

    /// Runs the reconciler of the library, and returns the result.
    fn reconcile(&self, request: &Request) -> Answer {
        let storage = storage::open(self.path("files").to_str().unwrap()).unwrap();
        let access = if request.writes() { Access::Write } else { Access::Read };
        let report =
            self.with_index(access, async |index| Reconciler::new(&storage, index).run(request, &mut Silent).await);
        let report = report.unwrap();
        Answer::from(&report)
    }

    /// Runs the reconciler and returns the result of a run that succeeds, with no refusal and no errors.
    #[track_caller]
    pub(crate) fn done(&self, request: &Request) -> Value {
        let Answer { status, result, .. } = self.reconcile(request);
        assert!(status == "SUCCESSFUL" && result.refusal.is_none() && result.errors.is_empty(), "{status}: {result:?}");
        serde_json::to_value(result).unwrap()
    }

    /// Runs the reconciler and returns the result of a run that withholds its deletions, with no errors.
    #[track_caller]
    pub(crate) fn refused(&self, request: &Request) -> Value {
        let Answer { status, result, .. } = self.reconcile(request);
        assert!(result.refusal.is_some() && result.errors.is_empty(), "{status}: {result:?}");
        serde_json::to_value(result).unwrap()
    }

    /// Runs the reconciler and returns the result of a run that reports errors.
    #[track_caller]
    pub(crate) fn troubled(&self, request: &Request) -> Value {
        let Answer { status, result, .. } = self.reconcile(request);
        assert!(!result.errors.is_empty(), "{status}: {result:?}");
        serde_json::to_value(result).unwrap()
    }

    #[track_caller]
    pub(crate) fn sync(&self) -> Value {
        self.done(&Request::new(Mode::Sync))
    }

    #[track_caller]
    pub(crate) fn clean(&self) -> Value {
        self.done(&forced(Mode::Clean))
    }

    #[track_caller]
    pub(crate) fn full(&self) -> Value {
        self.done(&forced(Mode::Full))
    }

    /// Audits, and checks that there is no drift.
    #[track_caller]
    pub(crate) fn in_step(&self) -> Value {
        let result = self.done(&Request::new(Mode::Audit));
        assert_eq!(drift(&result), 0, "{result}");
        result
    }

    /// Audits, and checks that there is drift.
    #[track_caller]
    pub(crate) fn drifted(&self) -> Value {
        let result = self.done(&Request::new(Mode::Audit));
        assert_ne!(drift(&result), 0, "{result}");
        result
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, key: &str, content: &str) {
        let path = self.path("files").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn remove(&self, key: &str) {
        std::fs::remove_file(self.path("files").join(key)).unwrap();
    }

    /// A command with nothing of the surroundings but where storage and index are.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).env_clear();
        command.env("STORAGE_URL", self.path("files"));
        command.env("DATABASE_URL", self.index.url());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command().args(args).output().unwrap().into()
    }

    /// Runs `rebuild --format json` with further arguments.
    pub(crate) fn rebuild(&self, args: &[&str]) -> Ran {
        self.run(&[&["rebuild", "--format", "json"], args].concat())
    }

    /// The binary in a place where everybody may run it.
    pub(crate) fn nobody_binary() -> TempDir {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        copy_program(binary(), &dir.path().join("storm-index"));
        dir
    }

    /// As [`Self::run`], by somebody who may read no more than everybody may, and write into the index.
    pub(crate) fn run_as_nobody(&self, args: &[&str]) -> Ran {
        use std::os::unix::fs::PermissionsExt as _;
        if !rustix::process::geteuid().is_root() {
            return self.run(args);
        }
        let nobody = Self::nobody_binary();
        for path in [self.dir.path().to_owned()].into_iter().chain(self.index.files()) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(nobody.path().join("storm-index"));
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("STORAGE_URL", self.path("files")).env("DATABASE_URL", self.index.url());
        command.current_dir("/").output().unwrap().into()
    }

    /// All records, as `user/path`.
    pub(crate) fn paths(&self) -> Vec<String> {
        block_on(async {
            let query = "SELECT CAST(user_id AS TEXT) || '/' || path FROM stored_files ORDER BY 1";
            database::column(&self.database().await, query).await
        })
    }

    pub(crate) async fn database(&self) -> DatabaseConnection {
        self.index.connect().await
    }

    /// Carries out statements on the index, as another program would.
    pub(crate) fn sql(&self, statements: &str) {
        block_on(async { database::execute(&self.database().await, statements).await });
    }

    /// Returns all of the index that people could miss.
    pub(crate) fn dump(&self) -> Vec<Vec<Option<String>>> {
        block_on(async {
            let db = self.database().await;
            let query = "SELECT 'user', CAST(id AS TEXT), name, prefix, NULL, NULL, NULL FROM users UNION ALL \
                         SELECT 'file', CAST(id AS TEXT), CAST(user_id AS TEXT), path, CAST(size AS TEXT), etag, \
                                content_type || CAST(last_modified AS TEXT) || CAST(updated_at AS TEXT) FROM stored_files \
                         UNION ALL SELECT 'link', CAST(id AS TEXT), CAST(stored_file_id AS TEXT), token, \
                                CAST(is_active AS TEXT), CAST(expires_at AS TEXT), NULL FROM share_links ORDER BY 1, 2";
            database::rows(&db, query).await
        })
    }
}

/// A request for a run that may delete.
pub(crate) fn forced(mode: Mode) -> Request {
    Request { force: true, ..Request::new(mode) }
}

/// A request for a run that only shows what another would do.
pub(crate) fn dry(mode: Mode) -> Request {
    Request { dry_run: true, ..Request::new(mode) }
}

/// How much is out of step, by the result of an audit.
fn drift(result: &Value) -> u64 {
    let counts = ["missing_in_db", "orphaned_in_db", "stale_in_db", "moved_in_db"];
    counts.map(|count| result[count].as_u64().unwrap()).iter().sum()
}

/// The statement that remembers a file system at `path` that is not there.
pub(crate) fn gone_mount(path: &str) -> String {
    format!(
        "INSERT INTO mounts (path, fs_type, fs_id, records, seen_at) VALUES ('{path}', 'ext4', 'a', 1, '2026-01-01T00:00:00+00:00')"
    )
}

/// Copies a program, by another one: as long as this process had the copy open to write, every other process that a test
/// starts would have it open as well for a moment, and what is open to be written cannot be run.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Makes a directory in memory, if there are so many bytes of it, and else an ordinary one.
pub(crate) fn quick_dir(room: u64) -> TempDir {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|memory| memory.f_bavail * memory.f_frsize >= room);
    if has_room { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// Runs a future to its end, for tests that are otherwise about processes.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
