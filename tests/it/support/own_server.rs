//! A PostgreSQL server of a test's own, which keeps its promises (`fsync` is on) and can be killed and started again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::geteuid;
use sea_orm::{ConnectOptions, Database};
use tempfile::TempDir;

use super::playground::{block_on, quick_dir};

pub(crate) struct OwnServer {
    home: TempDir,
    programs: PathBuf,
    port: u16,
    /// The postmaster.
    child: Option<Child>,
}

impl OwnServer {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/throwaway-postgres.sh");
        let programs = Command::new(script).arg("--programs").output().unwrap();
        assert!(programs.status.success(), "{programs:?}");
        let programs = PathBuf::from(String::from_utf8(programs.stdout).unwrap().trim());
        let home = quick_dir(1 << 30);
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        if geteuid().is_root() {
            assert!(Command::new("chown").arg("postgres").arg(home.path()).status().unwrap().success());
        }
        let mut server = Self { home, programs, port: free_port(), child: None };
        let made = server
            .program("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        server.go_on();
        server
    }

    /// A program of PostgreSQL on the data of this server; the server refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(self.programs.join(name));
            command
        } else {
            Command::new(self.programs.join(name))
        };
        command.current_dir(self.home.path()).env("HOME", "/tmp").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.arg("-D").arg(self.home.path().join("data"));
        command
    }

    /// Starts the server, which may have been killed, and waits until it answers.
    pub(crate) fn go_on(&mut self) {
        loop {
            let mut postgres = self.program("postgres");
            postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on", "-c", "shared_buffers=64MB", "-k"]);
            postgres.arg(self.home.path()).arg("-p").arg(self.port.to_string());
            postgres.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = postgres.spawn().unwrap();
            loop {
                // What a killed one has left behind keeps a new one from starting until it is gone.
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                let mut options = ConnectOptions::new(self.url("postgres"));
                options.max_connections(1).sqlx_logging(false);
                // A port at which nothing listens is asked until this has passed; by then the server may have ended.
                options.connect_timeout(Duration::from_secs(1)).acquire_timeout(Duration::from_secs(1));
                if block_on(async { Database::connect(options).await.is_ok() }) {
                    self.child = Some(child);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server as a failing machine does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, and with all its processes.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// Finds a port that stays free while the server is down: from 32768 on, the kernel takes them for whoever connects.
fn free_port() -> u16 {
    let some = std::iter::repeat_with(|| 20_000 + RandomState::new().build_hasher().finish() % 12_000);
    let mut ports = some.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
