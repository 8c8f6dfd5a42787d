//! What is read again while the server runs, on SIGHUP: the certificate.
//!
//! The supervisor watches the files and sends the signal; under systemd `ExecReload=kill -HUP $MAINPID` does.

use super::tls::Tls;
use std::{
    io::{IsTerminal, stdin},
    sync::Arc,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens to SIGHUP from now on. On a terminal it goes on to mean that the terminal is gone.
pub(super) fn register() -> std::io::Result<Option<Signal>> {
    if stdin().is_terminal() { Ok(None) } else { signal(SignalKind::hangup()).map(Some) }
}

/// Reads again with each signal, for as long as the server lives.
pub(super) async fn run(mut signal: Signal, tls: Option<Arc<Tls>>) {
    while signal.recv().await.is_some() {
        if let Some(tls) = tls.clone() {
            // Files may lie on slow disks.
            let read = tokio::task::spawn_blocking(move || tls.reload()).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(expires) => tracing::info!("the certificate was read again; it expires on {expires}"),
                Err(problem) => {
                    tracing::error!("the new certificate is not used, the old one stays: {problem}");
                }
            }
        }
    }
}
