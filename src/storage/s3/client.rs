//! The HTTP client of S3 and of the services that give credentials for it. It follows no redirect.
//!
//! The storage library's own client follows redirects and cannot be told otherwise: another host's "not found" would then
//! be taken for the storage's, and the session token would be sent to that host. So the client is built here, with the
//! options that the library would have used.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use object_store::client::ClientOptions;
use object_store::{ClientConfigKey, Error, Result};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;
use reqwest::{Client, NoProxy, Proxy};

/// How the client introduces itself, unless the options say otherwise.
const USER_AGENT: &str = concat!("storm-index/", env!("CARGO_PKG_VERSION"));

/// Builds a client with these options.
///
/// # Errors
/// When an option has no valid value, or TLS cannot be set up.
pub(super) fn client(options: &ClientOptions) -> Result<Client> {
    use ClientConfigKey as Key;
    let set = Settings(options);
    // No compression: it would hide the length of an object.
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .user_agent(set.text(Key::UserAgent).unwrap_or_else(|| USER_AGENT.to_owned()))
        .https_only(!set.flag(Key::AllowHttp)?)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate();
    if let Some(url) = set.text(Key::ProxyUrl) {
        let mut proxy = Proxy::all(url).map_err(unusable)?;
        if let Some(pem) = set.text(Key::ProxyCaCertificate) {
            let certificate = Certificate::from_pem(pem.as_bytes()).map_err(unusable)?;
            builder = builder.tls_certs_merge([certificate]);
        }
        if let Some(excludes) = set.text(Key::ProxyExcludes) {
            proxy = proxy.no_proxy(NoProxy::from_string(&excludes));
        }
        builder = builder.proxy(proxy);
    }
    if set.flag(Key::NoSystemCertificates)? {
        builder = builder.tls_certs_only([]);
    }
    if let Some(timeout) = set.duration(Key::Timeout)? {
        builder = builder.timeout(timeout);
    }
    if let Some(timeout) = set.duration(Key::ConnectTimeout)? {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(timeout) = set.duration(Key::ReadTimeout)? {
        builder = builder.read_timeout(timeout);
    }
    if let Some(timeout) = set.duration(Key::PoolIdleTimeout)? {
        builder = builder.pool_idle_timeout(timeout);
    }
    if let Some(most) = set.number(Key::PoolMaxIdlePerHost)? {
        builder = builder.pool_max_idle_per_host(most);
    }
    if let Some(interval) = set.duration(Key::Http2KeepAliveInterval)? {
        builder = builder.http2_keep_alive_interval(interval);
    }
    if let Some(timeout) = set.duration(Key::Http2KeepAliveTimeout)? {
        builder = builder.http2_keep_alive_timeout(timeout);
    }
    if set.flag(Key::Http2KeepAliveWhileIdle)? {
        builder = builder.http2_keep_alive_while_idle(true);
    }
    if let Some(size) = set.number::<u32>(Key::Http2MaxFrameSize)? {
        builder = builder.http2_max_frame_size(size);
    }
    if set.flag(Key::Http1Only)? {
        builder = builder.http1_only();
    }
    if set.flag(Key::Http2Only)? {
        builder = builder.http2_prior_knowledge();
    }
    if set.flag(Key::AllowInvalidCertificates)? {
        builder = builder.danger_accept_invalid_certs(true);
    }
    if set.flag(Key::RandomizeAddresses)? {
        builder = builder.dns_resolver(Arc::new(Shuffled));
    }
    builder.build().map_err(unusable)
}

/// The options, which the storage library gives out as text only.
struct Settings<'o>(&'o ClientOptions);

impl Settings<'_> {
    fn text(&self, key: ClientConfigKey) -> Option<String> {
        self.0.get_config_value(&key)
    }

    fn flag(&self, key: ClientConfigKey) -> Result<bool> {
        let Some(text) = self.text(key) else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" | "y" => Ok(true),
            "0" | "false" | "off" | "no" | "n" => Ok(false),
            _ => Err(invalid(key, &text)),
        }
    }

    fn duration(&self, key: ClientConfigKey) -> Result<Option<Duration>> {
        self.text(key).map(|text| humantime::parse_duration(&text).map_err(|_| invalid(key, &text))).transpose()
    }

    fn number<N: std::str::FromStr>(&self, key: ClientConfigKey) -> Result<Option<N>> {
        self.text(key).map(|text| text.parse().map_err(|_| invalid(key, &text))).transpose()
    }
}

fn invalid(key: ClientConfigKey, text: &str) -> Error {
    let source = format!("{text:?} is no value for the option {}", key.as_ref()).into();
    Error::Generic { store: "HTTP client", source }
}

fn unusable(error: reqwest::Error) -> Error {
    Error::Generic { store: "HTTP client", source: Box::new(error) }
}

/// Resolves names by the system, and gives the addresses in random order, which spreads requests over the servers.
struct Shuffled;

impl Resolve for Shuffled {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let looking = tokio::task::spawn_blocking(move || {
                let mut found: Vec<SocketAddr> = (name.as_str(), 0).to_socket_addrs()?.collect();
                for at in (1..found.len()).rev() {
                    let other = getrandom::u64()? % (at as u64 + 1);
                    found.swap(at, usize::try_from(other).unwrap_or(at));
                }
                Ok::<_, std::io::Error>(found)
            });
            Ok(Box::new(looking.await??.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<Client> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        client(&ClientOptions::new().with_config(key.parse().unwrap(), value))
    }

    #[test]
    fn every_option_is_taken_over_or_refused() {
        for (key, good, bad) in [
            ("allow_http", "true", "perhaps"),
            ("allow_invalid_certificates", "yes", "perhaps"),
            ("connect_timeout", "90 seconds", "long"),
            ("disable_system_certificates", "on", "perhaps"),
            ("http1_only", "1", "2"),
            ("http2_only", "n", "2"),
            ("http2_keep_alive_interval", "90 s", "-1"),
            ("http2_keep_alive_timeout", "91s", "91"),
            ("http2_keep_alive_while_idle", "false", ""),
            ("http2_max_frame_size", "16384", "4294967296"),
            ("pool_idle_timeout", "93 seconds", "x"),
            ("pool_max_idle_per_host", "94", "x"),
            ("proxy_url", "https://proxy.example.org:8080", "http://[::1"),
            ("randomize_addresses", "false", "x"),
            ("read_timeout", "45 seconds", "x"),
            ("timeout", "95 seconds", "x"),
        ] {
            let built = with(key, good);
            assert!(built.is_ok(), "{key}={good}: {built:?}");
            let refused = with(key, bad).expect_err(key).to_string();
            assert!(refused.contains("HTTP client"), "{refused}");
        }
        assert!(with("user_agent", "storm-index-test").is_ok());
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let found: Vec<_> = Shuffled.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(Shuffled.resolve("no such name".parse().unwrap()).await.is_err());
    }
}
