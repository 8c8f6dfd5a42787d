//! The supervisor: keeps the children of chat.toml alive and ready.

mod backoff;
mod machine;
