//! The control API: HTTP + JSON over Unix sockets in the state directory.
//!
//! Two servers speak it: the supervisor on `<state_dir>/control.sock` (`GET /status`), and each chat server on
//! `<state_dir>/run/<app>.sock` (`GET /stats`), which the supervisor reads. The types here are the documented
//! JSON of both. `curl --unix-socket <state_dir>/control.sock http://chatctl/status` works as well.

pub(crate) mod client;
pub(crate) mod descriptors;
pub(crate) mod render;
pub(crate) mod server;
pub(crate) mod types;
