//! Drives the real program: real processes, real signals, real sockets. And holds what the sources must not do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod apps;
mod bench;
mod check;
mod client;
mod command;
mod container;
mod handover;
mod hooks;
mod install;
mod layers;
mod learn;
mod metrics;
mod migrate;
mod orders;
mod privileges;
mod program;
mod readme;
mod reload;
mod supervise;
mod systemd;
mod top;
