//! The real server as a process, and a client that sends exactly what it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::playground::Playground;

/// What is waited for at the most: only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is preferred by who wants to know what a run came to, however long it takes.
pub(crate) const LONG: (&str, &str) = ("Prefer", "wait=300");

/// A server that runs; it is killed with this value.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Checks that it is a problem of this status and code, in its one form.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Self {
        let reply = self.is(status);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        let problem = reply.json();
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some(code), Some(status.into())),
            "{reply:?}"
        );
        assert_eq!(problem["type"], "about:blank");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{reply:?}");
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty() && d.lines().count() == 1), "{reply:?}");
        assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()), "{reply:?}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{reply:?}");
        reply
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Playground {
    /// Makes a key, and returns its secret.
    pub(crate) fn key(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["key", "create", "--user", "ann"], args].concat()).ends(0);
        assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
        ran.out.trim().to_owned()
    }

    /// Starts a server on the playground, without an audit unless `args` ask for one, and waits until it has its database.
    pub(crate) fn serve(&self, args: &[&str]) -> Server {
        self.serve_with(args, |_| {})
    }

    pub(crate) fn serve_with(&self, args: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Server {
        let server = self.serve_at_once(args, change);
        server.until_it_has_its_database();
        server
    }

    /// As [`Self::serve_with`], but only until it listens.
    pub(crate) fn serve_at_once(&self, args: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Server {
        let mut command = self.command();
        // What a server leaves that is killed goes with the playground.
        command.env("TMPDIR", self.dir.path());
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        if !args.contains(&"--startup-audit") {
            command.args(["--startup-audit", "false"]);
        }
        change(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.0.lock().unwrap().push(line);
                into.1.notify_all();
            }
            into.0.lock().unwrap().push("(the end of the log)".to_owned());
            into.1.notify_all();
        });
        let mut server = Server { address: String::new(), child, log };
        let line = server.says("listening on http://");
        let address = line.split("http://").nth(1).unwrap();
        server.address = address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        server
    }
}

impl Server {
    /// Waits until it can be asked for what is in the index, for which it would let nobody wait for long.
    fn until_it_has_its_database(&self) {
        loop {
            let told = self.send("GET", "/metrics", &[], b"");
            let has_it = match told.status {
                200 => told.body.lines().any(|line| line == "storm_index_database_up 1"),
                _ => self.ready().0 == 200,
            };
            if has_it {
                return;
            }
        }
    }

    /// Returns how it is, and what it says of that.
    pub(crate) fn ready(&self) -> (u16, Value) {
        let reply = self.send("GET", "/health/ready", &[], b"");
        (reply.status, reply.json())
    }

    /// Waits until it is ready and says something of itself. It waits for neither storage nor database for long, and what
    /// took too long is told as silent.
    #[track_caller]
    pub(crate) fn until_ready(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let (status, told) = self.ready();
            if status == 200 && is_so(&told) {
                return told;
            }
            assert!(begun.elapsed() < PATIENCE, "{told}\n{}", self.log());
        }
    }

    /// Waits for a line of the log.
    #[track_caller]
    pub(crate) fn says(&self, word: &str) -> String {
        let (lines, more) = &*self.log;
        let lines = lines.lock().unwrap();
        let is_there =
            |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(word) || line == "(the end of the log)");
        let (lines, waited) = more.wait_timeout_while(lines, PATIENCE, is_there).unwrap();
        let found = lines.iter().find(|line| line.contains(word)).cloned();
        found.unwrap_or_else(|| panic!("{word:?} is not in the log (waited: {waited:?}): {lines:#?}"))
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.0.lock().unwrap().join("\n")
    }

    /// Sends a request with these headers and this body.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        answer_of(self.begin(method, path, headers, body))
    }

    /// Sends a request, and leaves the answer to be read.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if method != "GET" || !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        // Who is refused before the end may have hung up.
        let _ = stream.write_all(body);
        stream
    }

    pub(crate) fn get(&self, path: &str, key: &str) -> Reply {
        self.send("GET", path, &[("Authorization", &format!("Bearer {key}"))], b"")
    }

    pub(crate) fn post(&self, path: &str, key: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let bearer = format!("Bearer {key}");
        let all = [&[("Authorization", bearer.as_str()), ("Content-Type", "application/json")], headers].concat();
        self.send("POST", path, &all, body.as_bytes())
    }

    /// Asks for a run, and waits for its end as long as may be, unless something else is preferred.
    pub(crate) fn rebuild(&self, key: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.rebuild_at("/api/v1/index/rebuild/", key, headers, body)
    }

    pub(crate) fn rebuild_at(&self, path: &str, key: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let prefers = headers.iter().any(|(name, _)| *name == "Prefer");
        let wait: &[_] = if prefers { &[] } else { &[LONG] };
        self.post(path, key, &[headers, wait].concat(), body)
    }

    /// Waits until a task stands so.
    #[track_caller]
    pub(crate) fn until(&self, key: &str, task: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let view = self.get(&format!("/api/v1/index/tasks/{task}"), key).is(200).json();
            if is_so(&view) {
                return view;
            }
            assert!(begun.elapsed() < PATIENCE, "{view}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the process to end, and returns how it did.
    pub(crate) fn stop(mut self) -> (i32, String) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let begun = std::time::Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        let log = self.says("(the end of the log)");
        (status.code().unwrap_or(-1), self.log() + &log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the answer to a request that [was begun](Server::begin), be the server stopping meanwhile. Where it has not
/// read all that was sent, the connection breaks behind its answer.
pub(crate) fn answer_of(mut stream: TcpStream) -> Reply {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}: {answer:?}");
    }
    parse(&answer)
}

fn parse(answer: &[u8]) -> Reply {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut body = answer[at + 4..].to_vec();
    if headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("transfer-encoding") && v == "chunked") {
        body = dechunked(&body);
    }
    Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = body.windows(2).position(|w| w == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.extend_from_slice(&body[at + 2..at + 2 + length]);
        body = &body[at + 4 + length..];
    }
    whole
}
