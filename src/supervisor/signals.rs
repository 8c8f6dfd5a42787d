//! The signals a supervisor obeys, registered before anything is started so that none is lost.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM, SIGINT: stop; the second time at once.
    Stop(&'static str),
    /// SIGHUP: read chat.toml again and reload every app.
    Reload,
    /// SIGUSR1: files were moved away. The keepers make them anew by themselves; it must only not be deadly.
    Reopen,
    /// SIGCHLD: something has ended that may have to be reaped.
    Reap,
}

/// See the module.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    child: Signal,
}

impl Signals {
    /// # Errors
    /// The kernel refuses.
    pub(super) fn register() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::Stop("SIGTERM"),
            _ = self.int.recv() => Wish::Stop("SIGINT"),
            _ = self.hup.recv() => Wish::Reload,
            _ = self.usr1.recv() => Wish::Reopen,
            _ = self.child.recv() => Wish::Reap,
        }
    }
}
