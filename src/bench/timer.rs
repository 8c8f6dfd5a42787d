//! Waiting to the microsecond: the runtime's own timer goes by the millisecond, which is more than a message takes.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::{io, os::fd::OwnedFd, time::Duration};
use tokio::io::unix::AsyncFd;

/// See the module.
pub(super) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// # Errors
    /// This process has no descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // `register` wants to be told, in an unsafe block, that a descriptor stays open; an `OwnedFd` does.
        #[allow(deprecated, reason = "what takes its place is unsafe, and this is sound for an OwnedFd")]
        AsyncFd::new(timer).map(Self)
    }

    /// Waits so long; not at all: only until others have had their turn.
    ///
    /// # Errors
    /// The system does not wait for so long.
    pub(super) async fn wait(&mut self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let value = Timespec::try_from(time).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        self.0.readable_mut().await?.clear_ready();
        Ok(())
    }
}
