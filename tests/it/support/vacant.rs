//! An address at which nobody answers, and nobody will as long as it is held.

use std::net::{SocketAddr, TcpListener, TcpStream};

/// One end of a connection: its port is taken, so that the system gives it to no other test, and nobody listens on it.
pub(crate) struct Vacant {
    end: TcpStream,
    _other: TcpListener,
}

impl Vacant {
    pub(crate) fn new() -> Self {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        Self { end, _other: other }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.end.local_addr().unwrap()
    }
}
