//! What the tests stand on.

pub(crate) mod backend;
pub(crate) mod chaos_faults;
pub(crate) mod chaos_store;
pub(crate) mod database;
pub(crate) mod effort;
pub(crate) mod endless;
pub(crate) mod faults;
pub(crate) mod fuse;
pub(crate) mod garage;
pub(crate) mod hanging;
pub(crate) mod look;
pub(crate) mod markers;
pub(crate) mod mounted;
pub(crate) mod own_server;
pub(crate) mod playground;
pub(crate) mod random;
pub(crate) mod relay;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod skip;
pub(crate) mod vacant;
