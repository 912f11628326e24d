//! Buckets of a real S3 server: of Garage when `STORM_INDEX_TEST_GARAGE` has its address, or of SeaweedFS when
//! `STORM_INDEX_TEST_SEAWEEDFS` has. `scripts/throwaway-garage.sh` and `scripts/throwaway-seaweedfs.sh` start one.
//!
//! Requests are written by hand: every client library tidies a path with `..` or `//` in it, and here such keys are wanted.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::{digest, hmac};

/// The variable that has the address of a SeaweedFS server.
const SEAWEEDFS: &str = "STORM_INDEX_TEST_SEAWEEDFS";

/// Tells whether buckets are of a SeaweedFS server.
pub(crate) fn is_seaweedfs() -> bool {
    std::env::var(SEAWEEDFS).is_ok_and(|url| !url.is_empty())
}

struct Server {
    endpoint: String,
    access: String,
    secret: String,
}

fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER
        .get_or_init(|| {
            let set = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
            let endpoint = set("STORM_INDEX_TEST_GARAGE").or_else(|| set(SEAWEEDFS))?;
            let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
            Some(Server { endpoint, access: variable("AWS_ACCESS_KEY_ID"), secret: variable("AWS_SECRET_ACCESS_KEY") })
        })
        .as_ref()
}

/// A bucket of one test; it goes with the server.
pub(crate) struct Bucket {
    server: &'static Server,
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl Bucket {
    /// Makes a bucket, if there is a server.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = server()?;
        let name = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bucket = Self { server, name, prefix: String::new() };
        bucket.ask("PUT", &format!("/{}", bucket.name), b"");
        Some(bucket)
    }

    /// A storage URL that says everything.
    pub(crate) fn url(&self) -> String {
        let Server { endpoint, access, secret } = self.server;
        let options = format!("access_key_id={access}&secret_access_key={secret}&region=us-east-1&endpoint={endpoint}");
        format!("s3://{}/{}?{options}", self.name, self.prefix)
    }

    /// The variables by which a child process finds the server.
    pub(crate) fn env(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.server.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.server.access.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.server.secret.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Puts an object with any key at all.
    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.ask("PUT", &self.path(key), content);
    }

    pub(crate) fn remove(&self, key: &str) {
        // It is all the same to the server whether there was one.
        self.ask("HEAD", &self.path(key), b"");
        self.ask("DELETE", &self.path(key), b"");
    }

    fn path(&self, key: &str) -> String {
        let mut path = format!("/{}/", self.name);
        for byte in key.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    path.push(char::from(byte))
                }
                _ => write!(path, "%{byte:02X}").unwrap(),
            }
        }
        path
    }

    /// Sends a request that has to succeed; as the SDKs do, it is sent again when the server is busy (503).
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &[u8]) {
        let mut answer = String::new();
        for _ in 0..10 {
            answer = self.send(method, path, body);
            if !answer.starts_with("HTTP/1.1 503") {
                break;
            }
        }
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    }

    /// Sends one request, signed by the fourth version of AWS's signatures, and returns the whole answer.
    fn send(&self, method: &str, path: &str, body: &[u8]) -> String {
        let host = self.server.endpoint.strip_prefix("http://").unwrap();
        let now = storm_index::clock::now_utc().format("%Y%m%dT%H%M%SZ").to_string();
        let (day, hash) = (&now[..8], hex(digest::digest(&digest::SHA256, body).as_ref()));
        let headers = format!("host:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{now}\n");
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!("{method}\n{path}\n\n{headers}\n{signed}\n{hash}");
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let mut key = format!("AWS4{}", self.server.secret).into_bytes();
        for part in [day, "us-east-1", "s3", "aws4_request", &format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{canonical}")]
        {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        let credential = format!("{}/{scope}", self.server.access);
        let mut request = format!("{method} {path} HTTP/1.1\r\n{}", headers.replace('\n', "\r\n")).into_bytes();
        write!(
            request,
            "content-length:{}\r\nconnection:close\r\nauthorization:AWS4-HMAC-SHA256 Credential={credential}, \
             SignedHeaders={signed}, Signature={}\r\n\r\n",
            body.len(),
            hex(&key)
        )
        .unwrap();
        request.extend_from_slice(body);
        let mut answer = Vec::new();
        let mut socket = TcpStream::connect(host).unwrap();
        socket.write_all(&request).unwrap();
        socket.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
