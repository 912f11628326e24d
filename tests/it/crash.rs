//! Law 13: the real binary, killed at any moment, and the database server with it, loses nothing; the next run converges.
//!
//! One storage of 20,000 files is made once and only read. The index is copied from a template before each run. Moments
//! are spread over the time that a run takes which nobody kills; one that ends before its moment counts as any other, and
//! corrects that time. `STORM_INDEX_SEED` draws other moments.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::database;
use crate::support::effort::Effort;
use crate::support::own_server::OwnServer;
use crate::support::playground::{binary, block_on, quick_dir};
use crate::support::random::Random;
use crate::support::skip;

const OBJECTS: usize = 20_000;

/// What is done to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Sync,
    Clean,
    Full,
    Restore,
}

const JOBS: [Job; 4] = [Job::Sync, Job::Clean, Job::Full, Job::Restore];

impl Job {
    fn args(self, task: &str) -> Vec<String> {
        let args: &[&str] = match self {
            Self::Sync => &["rebuild", "--mode", "sync", "-q"],
            Self::Clean => &["rebuild", "--mode", "clean", "--force", "--max-delete", "100%", "-q"],
            Self::Full => &["rebuild", "--mode", "full", "--force", "--max-delete", "100%", "-q"],
            Self::Restore => &["restore", task],
        };
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }
}

/// A quarter of the files was renamed, a quarter is new, some have changed, and there are records of 4,000 that are gone.
/// Of each kind some are shared, and some were.
const DRIFT: &str = "
    UPDATE stored_files SET path = 'old/' || path, parent_path = 'old/' || parent_path WHERE path < 'd10';
    DELETE FROM stored_files WHERE path >= 'd10' AND path < 'd20';
    UPDATE stored_files SET size = size + 1 WHERE path >= 'd20' AND path < 'd24';
    UPDATE stored_files SET content_type = 'x/y' WHERE path >= 'd24' AND path < 'd25';
    INSERT INTO stored_files (user_id, path, name, parent_path, size, content_type, etag, last_modified)
        SELECT user_id, 'orphan/' || name, name, 'orphan', 5, 'text/plain', 'gone' || name, last_modified
        FROM stored_files WHERE path >= 'd30' AND path < 'd38' ORDER BY id;
    INSERT INTO share_links (stored_file_id, token) SELECT id, 'live' || id FROM stored_files WHERE id % 17 = 0;
    INSERT INTO share_links (stored_file_id, token, is_active)
        SELECT id, 'dead' || id, false FROM stored_files WHERE id % 13 = 0;
";

/// Where the indexes are.
enum Home {
    /// Files in the directory.
    Sqlite,
    Postgres(OwnServer),
}

struct Scene {
    dir: TempDir,
    home: Home,
    /// The full run that a restore undoes.
    task: String,
}

impl Scene {
    fn new(home: Home) -> Self {
        let dir = quick_dir(1 << 30);
        for n in 0..OBJECTS {
            let folder = dir.path().join(format!("files/1/d{:02}", n / 500));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("f{n:05}.txt")), format!("content {n}")).unwrap();
        }
        let mut scene = Self { dir, home, task: String::new() };
        scene.make("drifted", None);
        scene.ends("drifted", &["user", "add", "ann", "--id", "1"]);
        scene.ends("drifted", &["rebuild", "--mode", "sync", "-q"]);
        scene.sql("drifted", DRIFT);
        scene.make("done", Some("drifted"));
        let full: Vec<String> = Job::Full.args("");
        scene.ends("done", &full.iter().map(String::as_str).collect::<Vec<_>>());
        let newest = "SELECT id FROM tasks ORDER BY id DESC LIMIT 1";
        scene.task = scene.ask("done", newest).remove(0);
        scene
    }

    /// Makes an index, out of nothing or as a copy.
    fn make(&self, name: &str, template: Option<&str>) {
        match (&self.home, template) {
            (Home::Sqlite, None) => {}
            (Home::Sqlite, Some(template)) => {
                for end in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(self.file(&format!("{name}.sqlite3{end}")));
                }
                self.sql(template, "PRAGMA wal_checkpoint(TRUNCATE)");
                std::fs::copy(self.file(&format!("{template}.sqlite3")), self.file(&format!("{name}.sqlite3")))
                    .unwrap();
            }
            (Home::Postgres(_), template) => {
                self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                let template = template.unwrap_or("template0");
                self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        match &self.home {
            Home::Sqlite => format!("sqlite://{}", self.file(&format!("{name}.sqlite3")).display()),
            Home::Postgres(server) => server.url(name),
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).env_clear();
        command.env("STORAGE_URL", self.file("files")).env("DATABASE_URL", self.url(name));
        command
    }

    fn ends(&self, name: &str, args: &[&str]) {
        let ran = self.command(name).args(args).output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{args:?} {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn start(&self, name: &str, job: Job) -> Child {
        let mut command = self.command(name);
        command.args(job.args(&self.task)).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn sql(&self, name: &str, statements: &str) {
        block_on(async {
            let db = database::open(&self.url(name)).await;
            database::execute(&db, statements).await;
            db.close().await.unwrap();
        });
    }

    /// Asks an index, beside which `was` and `want` are what it was and what it is to become.
    fn ask(&self, name: &str, query: &str) -> Vec<String> {
        block_on(async {
            let db = database::open(&self.url(name)).await;
            if matches!(self.home, Home::Sqlite) && query.contains("was.") {
                let (was, want) =
                    name.split_once('_').map(|(_, job)| (format!("was_{job}"), format!("want_{job}"))).unwrap();
                for (file, name) in [(was, "was"), (want, "want")] {
                    let file = self.file(&format!("{file}.sqlite3"));
                    database::execute(&db, &format!("ATTACH '{}' AS {name}", file.display())).await;
                }
            }
            let rows = database::column(&db, query).await;
            db.close().await.unwrap();
            rows
        })
    }

    /// Prepares what a job begins with and what it is to come to, and returns how long it takes.
    fn prepare(&self, job: Job) -> Duration {
        let template = if job == Job::Restore { "done" } else { "drifted" };
        let (was, want) = (format!("was_{job:?}").to_lowercase(), format!("want_{job:?}").to_lowercase());
        self.make(&was, Some(template));
        if let Home::Postgres(_) = self.home {
            let tables = ["users", "stored_files", "share_links", "journal", "tasks"];
            let copy = |schema: &str| {
                let copies = tables.map(|table| format!("CREATE TABLE {schema}.{table} AS TABLE public.{table};"));
                format!("CREATE SCHEMA {schema}; {}", copies.concat())
            };
            self.sql(&was, &copy("was"));
            let took = self.time(&was, job);
            let back = "TRUNCATE share_links, stored_files, journal, tasks; INSERT INTO stored_files SELECT * FROM was.stored_files; \
                        INSERT INTO share_links SELECT * FROM was.share_links; INSERT INTO journal SELECT * FROM was.journal; \
                        INSERT INTO tasks SELECT * FROM was.tasks; \
                        UPDATE users SET unsettled_since = old.unsettled_since FROM was.users AS old WHERE users.id = old.id";
            self.sql(&was, &format!("{} {back}; ANALYZE", copy("want")));
            return took;
        }
        self.make(&want, Some(&was));
        self.time(&want, job)
    }

    fn time(&self, name: &str, job: Job) -> Duration {
        let began = Instant::now();
        assert_eq!(self.start(name, job).wait().unwrap().code(), Some(0), "{job:?}");
        began.elapsed()
    }

    /// Checks what has to be so right after a kill.
    fn check(&self, name: &str, moment: &str) {
        if matches!(self.home, Home::Sqlite) {
            assert_eq!(self.ask(name, "PRAGMA integrity_check"), ["ok"], "{moment}");
        }
        let path = match self.home {
            Home::Sqlite => "j.before->>'path'",
            Home::Postgres(_) => "CAST(j.before AS json)->>'path'",
        };
        let differs = ["path", "size", "content_type", "etag", "last_modified"]
            .map(|column| format!("n.{column} IS DISTINCT FROM w.{column}"))
            .join(" OR ");
        let news = "j.id > (SELECT coalesce(max(id), 0) FROM was.journal)";
        for (what, query) in [
            (
                "an active link is lost",
                "SELECT w.token FROM was.share_links w WHERE w.is_active AND NOT EXISTS (SELECT 1 FROM share_links n \
                 JOIN stored_files f ON f.id = n.stored_file_id \
                 WHERE n.token = w.token AND n.stored_file_id = w.stored_file_id AND n.is_active)"
                    .to_owned(),
            ),
            (
                "the record of a file is lost",
                "SELECT w.path FROM was.stored_files w WHERE w.path NOT LIKE 'orphan/%' \
                 AND w.id NOT IN (SELECT id FROM stored_files)"
                    .to_owned(),
            ),
            (
                "a change is not in the journal",
                format!(
                    "SELECT w.path FROM was.stored_files w LEFT JOIN stored_files n ON n.id = w.id WHERE ({differs}) AND \
                     w.id NOT IN (SELECT j.record_id FROM journal j WHERE {news} AND {path} = w.path)"
                )
                .replace("w.id NOT IN (SELECT j.record_id", "NOT EXISTS (SELECT 1")
                .replace(&format!("{path} = w.path"), &format!("j.record_id = w.id AND {path} = w.path")),
            ),
            (
                "a return is not in the journal",
                format!(
                    "SELECT n.path FROM stored_files n WHERE n.id <= (SELECT max(id) FROM was.stored_files) \
                     AND n.id NOT IN (SELECT id FROM was.stored_files) \
                     AND n.id NOT IN (SELECT j.record_id FROM journal j WHERE {news})"
                ),
            ),
            (
                "the journal has what did not happen",
                format!(
                    "SELECT w.path FROM journal j JOIN was.stored_files w ON w.id = j.record_id \
                     JOIN stored_files n ON n.id = w.id WHERE {news} AND NOT ({differs})"
                ),
            ),
        ] {
            let found = self.ask(name, &query);
            assert!(found.is_empty(), "{what}, {moment}: {} of them, e.g. {:?}", found.len(), &found[..1]);
        }
    }

    /// Checks that the index is exactly what it is to become.
    fn converged(&self, name: &str, moment: &str) {
        let facts = "user_id, path, name, parent_path, size, content_type, etag, last_modified";
        // Records that are made have other ids.
        let old = "WHERE id <= (SELECT max(id) FROM was.stored_files)";
        for (columns, table, rest) in [
            (facts, "stored_files", ""),
            ("id, path", "stored_files", old),
            ("id, stored_file_id, token, is_active, expires_at", "share_links", ""),
        ] {
            let ours = format!("SELECT {columns} FROM {table} {rest}");
            let wanted = format!("SELECT {columns} FROM want.{table} {rest}");
            // As many of the same are the same.
            let query = format!(
                "SELECT CAST(count(*) AS TEXT) FROM ({ours} EXCEPT {wanted}) AS d UNION ALL SELECT CAST((SELECT count(*) \
                 FROM ({ours}) AS o) - (SELECT count(*) FROM ({wanted}) AS w) AS TEXT) FROM (SELECT 1 FROM was.users) AS u"
            );
            assert_eq!(self.ask(name, &query), ["0", "0"], "{moment}: {table} has not come to {columns}");
        }
    }

    /// Kills a job `count` times, by what `kill` does to its process.
    fn kills(&self, job: Job, count: usize) {
        let seed = std::env::var("STORM_INDEX_SEED").map_or(1, |seed| seed.parse().unwrap());
        let mut random = Random::new(seed + job as u64);
        let (mut took, mut killed) = (self.prepare(job), 0);
        let (was, name) = (format!("was_{job:?}").to_lowercase(), format!("now_{job:?}").to_lowercase());
        for n in 0..count {
            self.make(&name, Some(&was));
            let thousandths = u32::try_from((n * 1_000 + random.below(1_000)) / count).unwrap();
            let began = Instant::now();
            let mut child = self.start(&name, job);
            std::thread::sleep((took * thousandths / 1_000).saturating_sub(began.elapsed()));
            if child.try_wait().unwrap().is_some() {
                took = took.min(began.elapsed());
            } else {
                child.kill().unwrap();
                killed += 1;
            }
            child.wait().unwrap();
            self.after(&name, job, &format!("STORM_INDEX_SEED={seed}, {job:?} {n}, killed at {thousandths}/1000"));
        }
        println!("{job:?}: {killed} of {count} runs were killed; one takes {took:?}");
    }

    fn after(&self, name: &str, job: Job, moment: &str) {
        self.check(name, moment);
        let next = self.command(name).args(job.args(&self.task)).output().unwrap();
        assert_eq!(next.status.code(), Some(0), "{moment}: {}", String::from_utf8_lossy(&next.stderr));
        self.converged(name, moment);
    }
}

#[test]
fn law_13_kills_on_sqlite() {
    if skip::unless_on_sqlite() {
        return;
    }
    let scene = Scene::new(Home::Sqlite);
    let count = Effort::of_this_run().pick(2, 10, 50);
    std::thread::scope(|scope| {
        for job in JOBS {
            let scene = &scene;
            scope.spawn(move || scene.kills(job, count));
        }
    });
}

/// Some kill the client, some the server.
#[test]
fn law_13_kills_on_postgresql() {
    if skip::unless_on_postgres() {
        return;
    }
    let mut scene = Scene::new(Home::Postgres(OwnServer::start()));
    let (clients, servers) = Effort::of_this_run().pick((1, 1), (6, 4), (30, 20));
    for job in JOBS {
        scene.kills(job, clients);
        let seed = std::env::var("STORM_INDEX_SEED").map_or(1, |seed| seed.parse().unwrap());
        let mut random = Random::new(seed + 10 + job as u64);
        let (was, name) = (format!("was_{job:?}").to_lowercase(), format!("now_{job:?}").to_lowercase());
        scene.make(&name, Some(&was));
        let took = scene.time(&name, job);
        for n in 0..servers {
            scene.make(&name, Some(&was));
            let thousandths = u32::try_from((n * 1_000 + random.below(1_000)) / servers).unwrap();
            let mut child = scene.start(&name, job);
            std::thread::sleep(took * thousandths / 1_000);
            let Home::Postgres(server) = &mut scene.home else { unreachable!() };
            // It comes back at once, as one does that is watched over.
            server.kill();
            server.go_on();
            let code = child.wait().unwrap().code();
            let moment = format!("STORM_INDEX_SEED={seed}, {job:?} {n}, the server was killed at {thousandths}/1000");
            assert!(matches!(code, Some(0 | 4)), "{moment}: {code:?}");
            scene.after(&name, job, &moment);
            println!("{moment}: the client ended with {code:?}");
        }
    }
}
