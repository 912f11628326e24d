//! Only the endpoint itself answers: a redirect is an error, and no other server gets a request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::playground::{Playground, Ran};
use crate::support::s3::{Detour, S3Server};

/// Another server, which says "not found" to all, and counts who comes.
struct Elsewhere {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Elsewhere {
    fn start() -> Self {
        Self::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned())
    }

    fn answering(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(mut client) = client else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let _ = client.read(&mut [0; 65_536]);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An index of three objects, of which two are gone since.
struct World {
    playground: Playground,
    server: S3Server,
    before: String,
}

impl World {
    fn new() -> Self {
        let (playground, server) = (Playground::with_user(), S3Server::start());
        (0..3).for_each(|n| server.put(&format!("1/f{n}"), b"x"));
        let mut world = Self { playground, server, before: String::new() };
        world.rebuild(&["--mode", "sync"]).ends(0);
        world.server.remove("1/f0");
        world.server.remove("1/f1");
        world.before = format!("{:?}", world.playground.dump());
        world
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.playground.command();
        command.env("STORAGE_URL", "s3://bucket").envs(self.server.env()).args(args);
        // What another server must not see.
        command.env("AWS_SESSION_TOKEN", "token-of-the-session");
        command.output().unwrap().into()
    }

    fn rebuild(&self, args: &[&str]) -> Ran {
        self.run(&[&["rebuild", "--format", "json"], args].concat())
    }

    fn detour(&self, detour: Detour) {
        let mut faults = self.server.faults();
        (faults.detour, faults.detours) = (Some(detour), 0);
    }

    /// A run that deletes what is gone ends with exit 4 and a line with these words, and changes nothing.
    fn fails_with(&self, words: &[&str]) -> Ran {
        let ran = self.rebuild(&["--mode", "full", "--force"]).ends(4);
        let errors = ran.result()["errors"].clone();
        let told = errors.as_array().unwrap().iter().find(|error| error["code"] == "storage_redirected");
        let message = told.unwrap_or_else(|| panic!("{ran:?}"))["message"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        assert!(!message.contains("token") && message.lines().count() == 1, "{message}");
        assert_eq!(format!("{:?}", self.playground.dump()), self.before);
        ran
    }
}

#[test]
fn law_18_a_redirect_is_no_answer() {
    let (world, elsewhere) = (World::new(), Elsewhere::start());
    let host = format!("http://{}", elsewhere.address);
    for of in ["HEAD", "LIST", "GET"] {
        for status in [300, 301, 302, 303, 305, 307, 308] {
            let location = format!("http://user:token@{}/1/f0?X-Amz-Security-Token=token", elsewhere.address);
            world.detour(Detour { of, status, headers: vec![("location", location)], ..Detour::default() });
            world.fails_with(&[&host, &status.to_string(), "redirects are not followed", "AWS_ENDPOINT_URL"]);
            // Each place is asked once; a HEAD for each of two objects.
            let asked = world.server.faults().detours;
            assert!(asked <= 2, "{of} {status}: asked {asked} times");
        }
    }
    assert_eq!(elsewhere.asked(), 0);
    world.server.faults().detour = None;
    let result = world.rebuild(&["--mode", "full", "--force"]).ends(0).result();
    assert_eq!(result["records_deleted"], 2);
}

#[test]
fn law_18_a_redirect_on_the_same_server_is_no_answer() {
    let world = World::new();
    for location in [Some("/bucket/login"), Some("login"), None] {
        for of in ["HEAD", "LIST", "GET"] {
            let headers = location.map(|location| ("location", location.to_owned())).into_iter().collect();
            world.detour(Detour { of, status: 302, headers, ..Detour::default() });
            let to = if location.is_some() { "another path of itself" } else { "an unnamed place" };
            world.fails_with(&[&world.server.endpoint(), to, "302"]);
        }
    }
}

#[test]
fn law_18_a_bucket_in_another_region_is_named() {
    let world = World::new();
    let xml = |code: &str, more: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code>{more}</Error>");
    let region = |region: &str| vec![("x-amz-bucket-region", region.to_owned())];
    let redirect = |status| Detour { status, ..Detour::default() };
    for detour in [
        Detour { headers: region("eu-west-1"), ..redirect(301) },
        Detour { headers: region("eu-west-1"), ..redirect(400) },
        Detour { body: xml("PermanentRedirect", "<Region>eu-west-1</Region>"), ..redirect(301) },
        Detour {
            body: xml("TemporaryRedirect", "<Endpoint>bucket.s3.eu-west-1.amazonaws.com</Endpoint>"),
            ..redirect(307)
        },
        Detour { body: xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), ..redirect(400) },
    ] {
        for of in ["LIST", "GET", "HEAD"] {
            // What is in the body only is not seen by a HEAD.
            if of == "HEAD" && detour.headers.is_empty() {
                continue;
            }
            world.detour(Detour { of, ..detour.clone() });
            world.fails_with(&["AWS_REGION=eu-west-1", &detour.status.to_string()]);
        }
    }
    // An error for another reason stays what it is.
    let body = xml("ExpiredToken", "<Region>eu-west-1</Region>");
    world.detour(Detour { of: "LIST", body, ..redirect(400) });
    let ran = world.rebuild(&[]).ends(4);
    assert!(ran.err.contains("ExpiredToken") && !ran.err.contains("AWS_REGION"), "{ran:?}");
}

/// A write that is redirected is not taken for a storage that holds no marker.
#[test]
fn law_18_a_marker_is_not_written_elsewhere() {
    let (playground, server, elsewhere) = (Playground::with_user(), S3Server::start(), Elsewhere::start());
    server.put("1/a", b"x");
    let world = World { playground, server, before: String::new() };
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/", elsewhere.address);
        world.detour(Detour { of: "PUT", status, headers: vec![("location", location)], ..Detour::default() });
        for args in [&["rebuild", "--mode", "sync"][..], &["storage", "bind", "--force"]] {
            let ran = world.run(args).ends(4);
            assert!(ran.err.contains("cannot be written") && ran.err.contains("redirects"), "{ran:?}");
        }
        assert_eq!(world.server.faults().detours, 2, "each of them has tried once");
    }
    assert_eq!((elsewhere.asked(), world.playground.paths().len()), (0, 0));
}

/// A redirect of a service that gives credentials is not followed either.
#[test]
fn law_18_credentials_come_from_the_named_place_only() {
    let (playground, elsewhere) = (Playground::with_user(), Elsewhere::start());
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.address
    );
    let service = Elsewhere::answering(redirect);
    let server = S3Server::start();
    let token = playground.path("token");
    std::fs::write(&token, "token-of-the-container").unwrap();
    let address = format!("http://{}", service.address);
    for variables in [
        vec![("AWS_METADATA_ENDPOINT", address.clone())],
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{address}/credentials")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap().to_owned()),
        ],
    ] {
        let mut command = playground.command();
        command.env("STORAGE_URL", "s3://bucket").env("AWS_ENDPOINT_URL", server.endpoint()).envs(variables.clone());
        let asked = service.asked();
        let ran: Ran = command.args(["rebuild", "--format", "json"]).output().unwrap().into();
        let ran = ran.ends(4);
        assert_eq!(ran.result()["errors"][0]["code"], json!("storage_redirected"), "{variables:?} {ran:?}");
        assert!(ran.err.contains(&address) && ran.err.contains(&elsewhere.address.to_string()), "{ran:?}");
        assert_eq!(service.asked(), asked + 1, "{variables:?}");
    }
    assert_eq!(elsewhere.asked(), 0);
}
