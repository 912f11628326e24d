//! Door: HTTP. An API for admins over the desk of tasks, with its own documentation, health and metrics.

mod address;
mod api;
mod auth;
mod body;
mod door;
mod examples;
mod findings;
mod health;
mod lists;
mod metrics;
mod paths;
mod prefer;
mod probe;
mod problem;
mod rebuilding;
mod refusals;
mod routes;
mod scrub;
mod secret;
mod serve;
mod spec;
mod wire;
mod yaml;

pub use address::check_address;
pub use probe::ask;
pub use secret::Secret;
pub use serve::{Options, ServeError, serve};
pub use spec::text as specification;
