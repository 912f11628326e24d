//! The server: it listens first, and looks at storage and index then.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::make_sync;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::middleware::{CatchPanic, NormalizePath, TrailingSlash};
use poem::web::{Html, Json};
use poem::{Endpoint, EndpointExt as _, IntoEndpoint as _, Response, Route, Server};
use thiserror::Error;

use super::address::check_address;
use super::api::Api;
use super::auth::Guard;
use super::door::Door;
use super::problem::Problem;
use super::scrub::Scrub;
use super::{metrics, spec};
use crate::task::{Desk, Schedule, Settings, StandingAudit};

/// How long tasks that are under way may take to their next border, and answers to their end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long answers may take to their end after the tasks have come to theirs.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long the places of storage and database are looked for before the first answer.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(75);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens: `host:port`.
    pub listen: String,
    /// Whether it makes an audit when it has started.
    pub startup_audit: bool,
    /// When it makes an audit again.
    pub audit_every: Option<Schedule>,
    /// Whether `/metrics` needs a key as well.
    pub metrics_auth: bool,
    /// How many requests without a valid key an address has at once, and how many more a minute.
    pub auth_failures: NonZeroU32,
    /// Where storage and index are.
    pub settings: Settings,
}

/// Why a server cannot be.
#[derive(Debug, Error)]
pub enum ServeError {
    /// It is no address.
    #[error("{0:?} is no address; write host:port, e.g. --listen 127.0.0.1:8080")]
    BadAddress(String),
    /// The address cannot be had.
    #[error("cannot listen on {0:?}: {1}; name another address with --listen")]
    Listen(String, std::io::Error),
    /// It stopped.
    #[error("the server stopped: {0}")]
    Stopped(std::io::Error),
}

/// Serves until `stop` comes; then what is under way reaches its next border, is noted, and gives its lease back.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve(options: Options, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
    let Options { listen, startup_audit, audit_every, metrics_auth, auth_failures, settings } = options;
    check_address(&listen)?;
    let cannot = |error| ServeError::Listen(listen.clone(), error);
    let acceptor = TcpListener::bind(listen.clone()).into_acceptor().await.map_err(cannot)?;
    let address = acceptor.local_addr().into_iter().find_map(|address| address.as_socket_addr().copied());
    tracing::info!("listening on http://{}", address.map_or_else(|| listen.clone(), |a: SocketAddr| a.to_string()));
    metrics::begin();
    let scrub = Scrub::new(&settings.storage, &settings.database);
    // Nobody is told where they are in the first moment either; but one that hangs is not waited for.
    let _ = tokio::time::timeout(FIRST_LOOK, scrub.find_places()).await;
    let desk = Desk::open(settings);
    let audit = StandingAudit::begin(&desk, startup_audit, audit_every);
    tokio::spawn(advise(Arc::clone(&desk)));
    let door = Door { desk: Arc::clone(&desk), scrub, guard: Guard::new(auth_failures), metrics_auth };
    let app = app(Some(audit), door);
    let closing = {
        let desk = Arc::clone(&desk);
        async move {
            stop.await;
            tracing::info!("shutting down: tasks that are under way end at their next border");
            desk.close(PATIENCE).await;
        }
    };
    let server = Server::new_with_acceptor(acceptor).idle_timeout(IDLE);
    let served = server.run_with_graceful_shutdown(app, closing, Some(FAREWELL)).await;
    // Not before: who watches a task is told its end.
    desk.leave().await;
    served.map_err(ServeError::Stopped)
}

/// Says how to make a key, if there is none.
async fn advise(desk: Arc<Desk>) {
    let Ok(index) = desk.index().await else { return };
    let keys = index.keys().await.unwrap_or_default();
    if !keys.iter().any(|key| key.is_admin && key.revoked_at.is_none()) {
        tracing::warn!(
            "there is no admin's key yet, so nobody is let in under /api/; make one: storm-index key create --user NAME --admin"
        );
    }
}

/// Puts the operations behind the door.
fn app(audit: Option<Arc<StandingAudit>>, door: Door) -> impl Endpoint + use<> {
    let service = spec::service(Api { desk: Arc::clone(&door.desk), audit, scrub: door.scrub.clone() });
    let document = spec::document(&service);
    let page = spec::page(&service, &document);
    let inner = Route::new()
        .at("/docs", poem::get(make_sync(move |_| Html(page.clone()))))
        .at("/openapi.json", poem::get(make_sync(move |_| Json(document.clone()))))
        .nest("/", service)
        .with(NormalizePath::new(TrailingSlash::Trim))
        .with(CatchPanic::new().with_handler(broke_down as fn(_) -> Response))
        .into_endpoint();
    let door = Arc::new(door);
    inner.around(move |inner, request| Arc::clone(&door).pass(inner, request))
}

fn broke_down(_panic: Box<dyn std::any::Any + Send>) -> Response {
    use poem::http::StatusCode;
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says where").into_response()
}
