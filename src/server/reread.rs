//! What is read again while the server runs, on SIGHUP: the certificate, and the keys of tokens.
//!
//! The supervisor watches the files and sends the signal; under systemd `ExecReload=kill -HUP $MAINPID` does.

use super::{auth::Auth, stats::Stats, tls::Tls};
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
pub(super) async fn run(
    mut signal: Signal,
    tls: Option<Arc<Tls>>,
    auth: Option<Arc<Auth>>,
    stats: Arc<Stats>,
) {
    while signal.recv().await.is_some() {
        if let Some(tls) = tls.clone() {
            let tried = read(move || tls.reload()).await;
            match &tried {
                Ok(expires) => tracing::info!("the certificate was read again; it expires on {expires}"),
                Err(problem) => {
                    tracing::error!("the new certificate is not used, the old one stays: {problem}");
                }
            }
            stats.use_new("certificate", tried.err());
        }
        if let Some(auth) = auth.clone() {
            let tried = read(move || auth.reload()).await;
            match &tried {
                Ok(count) => tracing::info!("the keys of tokens were read again: {count}"),
                Err(problem) => tracing::error!("the new keys are not used, the old ones stay: {problem}"),
            }
            stats.use_new("keys", tried.err());
        }
    }
}

/// Files may lie on slow disks.
async fn read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}
