//! Descriptors that go from process to process over a Unix socket, with the message they belong to (`SCM_RIGHTS`,
//! unix(7)).

use rustix::{
    io::fcntl_dupfd_cloexec,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// The most that one message takes; the kernel's own limit (`SCM_MAX_FD`) is 253.
pub(crate) const MOST: usize = 250;

/// Sends these bytes, and with the first of them the descriptors: at most [`MOST`]. Gives how many bytes went.
///
/// # Errors
/// The other end is gone, or takes no more.
pub(crate) fn send(stream: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives bytes, and the descriptors that came with them. Gives how many bytes came; none: the other end is gone.
///
/// # Errors
/// There is nothing to receive in time, or this process has no room for the descriptors.
pub(crate) fn receive(stream: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = |message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    };
    let fds = control.drain().filter_map(rights).flatten().collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "there are no descriptors left"));
    }
    Ok((received.bytes, fds))
}

/// Has the kernel make its table of this process's descriptors large enough for so many more, should there be that many.
/// Else it grows by and by as they come, and each time waits for a grace period of its own: 80 ms for 10,000.
pub(crate) fn make_room(any: impl AsFd, more: usize) {
    let open = any.as_fd().as_raw_fd();
    let Some(highest) = i32::try_from(more).ok().and_then(|more| open.checked_add(more)) else { return };
    // It is a matter of time only: who has not as many finds out when they come.
    let _ = fcntl_dupfd_cloexec(any, highest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    #[test]
    fn they_arrive_with_their_message_in_their_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..MOST).map(|_| io::pipe().unwrap()).collect();
        let readers: Vec<_> = pipes.iter().map(|(reader, _)| reader.as_fd()).collect();
        assert_eq!(send(&here, b"with", &readers).unwrap(), 4);
        assert_eq!(send(&here, b"without", &[]).unwrap(), 7);
        let mut bytes = [0; 64];
        let (len, fds) = receive(&there, &mut bytes).unwrap();
        assert_eq!((&bytes[..len], fds.len()), (&b"with"[..], MOST));
        for (n, ((_, mut writer), fd)) in pipes.into_iter().zip(fds).enumerate() {
            writer.write_all(&[n as u8]).unwrap();
            let mut byte = [0];
            File::from(fd).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [n as u8]);
        }
        let (len, fds) = receive(&there, &mut bytes).unwrap();
        assert_eq!((&bytes[..len], fds.len()), (&b"without"[..], 0));
        drop(here);
        assert_eq!(receive(&there, &mut bytes).unwrap().0, 0);
    }
}
