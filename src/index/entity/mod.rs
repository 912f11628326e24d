//! The tables as SeaORM sees them today.

pub(super) mod mounts;
pub(super) mod share_links;
pub(super) mod stored_files;
pub(super) mod users;
