//! Requests: bytes of a client, as they come off the line. The first says to which server; where `{sid}` stands, there
//! is a polling session.
#![no_main]

use chatctl_fuzz::{server, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((which, request)) = input.split_first() else { return };
    let server = server(usize::from(*which));
    let mut stream = wire::connect(server.address);
    wire::write(&mut stream, &wire::with_session(request, server.address));
    wire::finish(stream);
    server.is_well();
});
