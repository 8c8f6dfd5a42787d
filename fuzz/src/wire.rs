//! Bytes for servers: connections that end when they are done, and frames as a client writes them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Nothing takes longer, on the slowest machine. Each wait has it twice: after a process was stopped for a while its
/// first time is over at once.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Between the parts of an input: no text has it.
pub const SEPARATOR: u8 = 0xff;

/// A connection of a client.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One of the control API's.
pub fn control(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Writes, whether anybody takes it or not.
///
/// # Panics
/// It is neither taken nor refused in time.
pub fn write(stream: &mut impl Write, bytes: &[u8]) {
    let (mut rest, mut late) = (bytes, 0);
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return,
            Ok(written) => (rest, late) = (&rest[written..], 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if !is_late(&error) => return,
            Err(_) => late += 1,
        }
        assert!(late < 2, "the server does not read");
    }
}

/// Reads some of what comes; a second time when nothing did, for this process may have been stopped.
///
/// # Errors
/// Nothing comes in time, or nothing more at all.
pub fn read(stream: &mut impl Read, some: &mut [u8]) -> std::io::Result<usize> {
    let mut late = false;
    loop {
        match stream.read(some) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_late(&error) && !late => late = true,
            done => return done,
        }
    }
}

/// Reads what comes, until the server closes the connection.
///
/// # Panics
/// It does not.
pub fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let (mut came, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match read(stream, &mut some) {
            Ok(0) => return came,
            Ok(read) => came.extend(&some[..read]),
            Err(error) => {
                assert!(!is_late(&error), "the server keeps a connection that its client has ended");
                return came;
            }
        }
    }
}

/// Says that nothing more comes, and waits for the server to close it too.
pub fn finish(mut stream: TcpStream) -> Vec<u8> {
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(&mut stream)
}

/// Whether it is that nothing happened in time.
fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A frame as a client writes it (RFC 6455, section 5.2), under a mask that changes nothing.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Asks for a WebSocket.
pub fn upgrade(query: &[u8]) -> Vec<u8> {
    [
        b"GET /socket.io/?transport=websocket&".as_slice(),
        query,
        b" HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
          sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ]
    .concat()
}

/// The request with a polling session's id where `{sid}` stands.
pub fn with_session(request: &[u8], address: SocketAddr) -> Vec<u8> {
    const HERE: &[u8] = b"{sid}";
    let Some(at) = request.windows(HERE.len()).position(|bytes| bytes == HERE) else {
        return request.to_vec();
    };
    [&request[..at], open(address, 4).as_bytes(), &request[at + HERE.len()..]].concat()
}

/// Opens a polling session of this protocol; gives its id.
pub fn open(address: SocketAddr, protocol: u8) -> String {
    let answer = request(address, &format!("GET /socket.io/?EIO={protocol}&transport=polling"), b"");
    let answer = String::from_utf8_lossy(&answer);
    let sid = answer.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"'));
    sid.unwrap_or_else(|| panic!("no session: {answer}")).0.to_owned()
}

/// A whole request, and its answer.
pub fn request(address: SocketAddr, line: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    write(&mut stream, &[head.as_bytes(), body].concat());
    read_to_end(&mut stream)
}
