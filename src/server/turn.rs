//! Standing by: everything is loaded, nothing is accepted, until this server's turn comes.
//!
//! The supervisor says so on a socket: `g`, go to work; `h`, take over first from the server at the other end of the
//! socket that comes with it, with all its connections. Where that cannot be, this server says that it stands by still,
//! and why, and waits to be told to go.

use super::{
    Stop,
    handover::{self, Taken},
    notify,
};
use crate::control::descriptors;
use rustix::net::{RecvFlags, recv};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
};
use tokio::io::Interest;

/// What came of it.
pub(super) enum Turn {
    /// Go to work.
    Begin,
    /// The server before is gone, and everything is here.
    Took(Taken),
    /// It was stopped, or nobody is left to tell it.
    Stop,
}

/// See the module.
///
/// # Errors
/// The socket cannot be used.
pub(super) async fn wait(go: UnixStream, stop: &mut Stop) -> io::Result<Turn> {
    go.set_nonblocking(true)?;
    let watched = Arc::new(go.try_clone()?);
    let go = tokio::net::UnixStream::from_std(go)?;
    let mut trouble: Option<String> = None;
    loop {
        let why = trouble.as_deref().map(sd_notify::NotifyState::Status);
        let standby = sd_notify::NotifyState::Custom("X_CHATCTL=standby");
        notify(&[standby].into_iter().chain(why).collect::<Vec<_>>());
        let word = tokio::select! {
            word = hear(&go) => word?,
            _ = stop.wait() => return Ok(Turn::Stop),
        };
        let giver = match word {
            None => return Ok(Turn::Stop),
            Some((b'h', Some(giver))) => UnixStream::from(giver),
            Some(_) => return Ok(Turn::Begin),
        };
        let watched = watched.clone();
        let pulling = tokio::task::spawn_blocking(move || handover::pull(giver, || !is_closed(&watched)));
        let pulled = tokio::select! {
            pulled = pulling => pulled.map_err(io::Error::other)?,
            _ = stop.wait() => return Ok(Turn::Stop),
        };
        match pulled {
            Ok(taken) => return Ok(Turn::Took(taken)),
            Err(declined) => {
                tracing::warn!("took nothing over: {declined}");
                trouble = Some(declined.to_string());
            }
        }
    }
}

/// Waits for a word, and what comes with it; `None`: nobody is left to say one.
async fn hear(go: &tokio::net::UnixStream) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    loop {
        go.readable().await?;
        let mut word = [0];
        match go.try_io(Interest::READABLE, || descriptors::receive(go, &mut word)) {
            Ok((0, _)) => return Ok(None),
            Ok((_, fds)) => return Ok(Some((word[0], fds.into_iter().next()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Whether nobody is left at the other end.
fn is_closed(stream: &UnixStream) -> bool {
    matches!(recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, 0)))
}
