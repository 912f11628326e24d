//! What can be an address, without asking anybody for it.

use std::net::SocketAddr;

use super::serve::ServeError;

/// Checks that `text` can be an address: `host:port`.
///
/// # Errors
/// When it cannot.
pub fn check_address(text: &str) -> Result<(), ServeError> {
    let is_named = text.rsplit_once(':').is_some_and(|(host, port)| {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        !host.is_empty() && host.chars().all(fits) && port.parse::<u16>().is_ok()
    });
    if is_named || text.parse::<SocketAddr>().is_ok() { Ok(()) } else { Err(ServeError::BadAddress(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_from_nonsense() {
        for text in
            ["127.0.0.1:8080", "0.0.0.0:0", "[::]:8080", "[::1]:80", "localhost:8080", "my_host-1.example:65535"]
        {
            assert!(check_address(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "nonsense",
            "8080",
            ":8080",
            "host:",
            "host:http",
            "host:65536",
            "::1:80",
            "[::1]",
            "http://host:80",
            "a b:1",
        ] {
            assert!(matches!(check_address(text), Err(ServeError::BadAddress(told)) if told == text), "{text}");
        }
    }
}
