//! The chat process: one profile, one listener, one namespace.

pub(crate) mod listener;
