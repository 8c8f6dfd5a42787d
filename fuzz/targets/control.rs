//! Requests to the control APIs: the first byte says whether to the server's or to the supervisor's. Both go on to
//! answer.
#![no_main]

use chatctl_fuzz::{server, wire};
use libfuzzer_sys::fuzz_target;
use std::{
    net::Shutdown,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};
use tempfile::TempDir;

fn supervisor() -> &'static Path {
    static SUPERVISOR: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SUPERVISOR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            panic!("it has ended: {:?}", chatctl::workbench::hostile::supervisor(listener))
        });
        (dir, path)
    });
    path
}

fn ask(path: &Path, request: &[u8]) -> Vec<u8> {
    let mut stream = wire::control(path);
    wire::write(&mut stream, request);
    let _ = stream.shutdown(Shutdown::Write);
    wire::read_to_end(&mut stream)
}

fuzz_target!(|input: &[u8]| {
    let Some((which, request)) = input.split_first() else { return };
    let (path, question) = match which & 1 {
        0 => (&*server(0).control, "GET /stats?rooms=3&backlog=true"),
        _ => (supervisor(), "GET /status"),
    };
    ask(path, request);
    let mut stream = wire::control(path);
    wire::write(
        &mut stream,
        format!("{question} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    let answer = wire::read_to_end(&mut stream);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    if which & 1 == 0 {
        server(0).is_well();
    }
});
