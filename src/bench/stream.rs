//! The line to the server, plain or by TLS. It is read and written where it is, by whoever has a buffer just then: of
//! tens of thousands of connections none has one of its own.

use super::target::Dialled;
use std::{
    cell::RefCell,
    io::{self, ErrorKind::WouldBlock, Read, Write},
};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConnection;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<RefCell<ClientConnection>>>,
}

impl From<Dialled> for Stream {
    fn from(dialled: Dialled) -> Self {
        match dialled {
            Dialled::Plain(socket) => Self { socket, tls: None },
            Dialled::Tls(stream) => {
                let (socket, tls) = stream.into_inner();
                Self { socket, tls: Some(Box::new(RefCell::new(tls))) }
            }
        }
    }
}

impl Stream {
    /// Waits until [`Stream::try_read`] is worth it. What it has left unread itself is no reason to wait: the socket
    /// counts as readable until it was found empty.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until [`Stream::try_write`] is worth it.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Reads what is there; 0: it is at its end.
    ///
    /// # Errors
    /// There is nothing yet ([`WouldBlock`]), or it is broken.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.try_read(buffer) };
        let mut tls = tls.borrow_mut();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == WouldBlock => {}
                read => return read,
            }
            tls.read_tls(&mut Socket(&self.socket))?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Writes as much as is taken.
    ///
    /// # Errors
    /// Nothing is taken yet ([`WouldBlock`]), or it is broken.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.try_write(bytes) };
        self.try_send()?;
        let taken = tls.borrow_mut().writer().write(bytes)?;
        match self.try_send() {
            Err(error) if error.kind() != WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether something was taken that is not sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.borrow().wants_write())
    }

    /// Sends what was taken.
    ///
    /// # Errors
    /// Not all of it can be sent yet ([`WouldBlock`]), or it is broken.
    pub(super) fn try_send(&self) -> io::Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let mut tls = tls.borrow_mut();
        while tls.wants_write() {
            tls.write_tls(&mut Socket(&self.socket))?;
        }
        Ok(())
    }

    /// Breaks off, without a word.
    pub(super) fn cut(&self) {
        // One that is broken already need not be.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

/// For TLS: it reads and writes without waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
