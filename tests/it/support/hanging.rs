//! Storages that hang: an S3 server that says nothing, and a disk that does not answer.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::playground::Playground;
use super::server::Server;
use super::skip::{skip, unless_root};

/// An S3 server that takes every connection and says nothing.
pub(crate) struct Hanging(pub(crate) TcpListener, String);

impl Hanging {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self(listener, url)
    }

    pub(crate) fn serve(&self, playground: &Playground, args: &[&str]) -> Server {
        playground.serve_with(args, |command| self.set(command))
    }

    /// Makes it the storage of a command.
    pub(crate) fn set(&self, command: &mut Command) {
        command.env("STORAGE_URL", "s3://bucket").env("AWS_ENDPOINT_URL", &self.1);
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
        // Half a minute otherwise, and then it is one that cannot be reached.
        command.env("AWS_TIMEOUT", "1 day");
    }
}

/// A mount on which every call waits for an answer that does not come; it goes with this value, and the calls fail then.
pub(crate) struct HangingDisk {
    mount: PathBuf,
    holder: Child,
}

impl HangingDisk {
    /// Mounts one over a directory. `None`, and the test counts as skipped, on a machine without FUSE or for users who may
    /// not mount.
    pub(crate) fn over(mount: &Path) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            skip("needs /dev/fuse");
            return None;
        }
        if unless_root("mounting") {
            return None;
        }
        // Whoever holds the other end of the mount is asked all, and never looks.
        let script = r#"exec 3<>/dev/fuse
            mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hanging "$1" && echo mounted && exec sleep infinity"#;
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).arg(mount).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "a FUSE file system cannot be mounted");
        Some(Self { mount: mount.to_owned(), holder })
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).status();
    }
}
