//! A relay in front of a server, which can fall silent for some who are connected, as a network does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the relay knows.
#[derive(Default)]
struct Known {
    /// What was said on each connection from its beginning, by who made it; `None` once it is dead.
    said: Vec<Option<Vec<u8>>>,
    /// Connections on which this is said are dead from now on, those to come as well.
    silenced: Option<String>,
}

impl Known {
    fn silence(&mut self) {
        let Some(word) = &self.silenced else { return };
        let has_said = |said: &[u8]| word.is_empty() || said.windows(word.len()).any(|at| at == word.as_bytes());
        self.said.iter_mut().filter(|said| said.as_deref().is_some_and(has_said)).for_each(|said| *said = None);
    }

    /// Takes what comes by on a connection, and tells whether it goes on.
    fn passes(&mut self, at: usize, asked: &[u8]) -> bool {
        if let Some(said) = &mut self.said[at]
            && said.len() < 64 * 1024
        {
            said.extend_from_slice(asked);
        }
        self.silence();
        self.said[at].is_some()
    }
}

/// A relay to a server.
pub(crate) struct Relay {
    port: u16,
    known: Arc<Mutex<Known>>,
}

impl Relay {
    /// Stands before the server at `address`.
    pub(crate) fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let known = Arc::new(Mutex::new(Known::default()));
        let (address, all) = (address.to_owned(), Arc::clone(&known));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let at = {
                    let mut known = all.lock().unwrap();
                    known.said.push(Some(Vec::new()));
                    known.said.len() - 1
                };
                for (from, to, asks) in [(&client, &server, true), (&server, &client, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let all = Arc::clone(&all);
                    std::thread::spawn(move || pass(from, to, &all, at, asks));
                }
            }
        });
        Self { port, known }
    }

    /// Returns `url` with the relay in place of its server.
    pub(crate) fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }

    /// Lets nothing through any more where `word` was said or is said; the empty word is said everywhere.
    pub(crate) fn silence(&self, word: &str) {
        let mut known = self.known.lock().unwrap();
        known.silenced = Some(word.to_owned());
        known.silence();
    }

    /// Lets new connections through again. Those that are dead stay so.
    pub(crate) fn speak(&self) {
        self.known.lock().unwrap().silenced = None;
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, all: &Mutex<Known>, at: usize, asks: bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let passes = all.lock().unwrap().passes(at, if asks { &buffer[..read] } else { &[] });
        if passes && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
