//! The supervisor: keeps the children of chat.toml alive and ready.
//!
//! ```text
//! exit, READY=1, memory, files, signals, probes -> driver -> machine.step(event, now) -> effects -> child
//! ```
//!
//! Promises: the listening sockets outlive every child, so a client that connects during a restart waits and is not
//! refused; never two children on duty; every restart has a reason that a person can read; nothing is lost of what a
//! child wrote. It must never import the server: they meet as processes.

mod backoff;
mod child;
pub(crate) mod logs;
mod machine;
mod memory;
mod watch;
