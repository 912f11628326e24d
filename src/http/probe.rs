//! Asking a server whether it lives, without any other program: for health checks of containers.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most of an answer that is read.
const LONGEST: u64 = 256 * 1024;

/// Asks the server at `address` (`host:port`) for `path`, and returns status and body.
///
/// # Errors
/// In one line: what went wrong.
pub async fn ask(address: &str, path: &str) -> Result<(u16, String), String> {
    // A server that listens everywhere is asked here.
    let everywhere = [("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")].into_iter();
    let here = everywhere.filter_map(|(all, here)| Some(format!("{here}{}", address.strip_prefix(all)?))).next();
    let address = here.unwrap_or_else(|| address.to_owned());
    let asked = async {
        let mut stream = TcpStream::connect(&address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer).into_owned(),
        Ok(Err(error)) => return Err(format!("no server answers at {address}: {error}; check --listen")),
        Err(_) => return Err(format!("the server at {address} does not answer within {} s", PATIENCE.as_secs())),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("what answers at {address} is no HTTP server"))?;
    Ok((status, body.to_owned()))
}
