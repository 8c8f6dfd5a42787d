//! What a server says that hands over, to the one that takes over from it. The first byte says whether it dies in the
//! end; seldom not, for that takes a second. The messages, between bytes 0xff, each begin with their kind and how many sockets come with them (a digit);
//! after that their JSON, and after a byte 0xfe their bytes. R(aw) bytes are sent as they are.
#![no_main]

use chatctl::workbench::hostile::take_over;
use chatctl_fuzz::wire;
use libfuzzer_sys::fuzz_target;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

/// A process that has ended, and one that never does.
fn giver(dies: bool) -> u32 {
    static GIVERS: OnceLock<[Child; 2]> = OnceLock::new();
    let givers = GIVERS.get_or_init(|| {
        // Never waited for, so that its number stays its own.
        let ended = Command::new("true").spawn().unwrap();
        let living = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        [living, ended]
    });
    givers[usize::from(dies)].id()
}

fn say(stream: &UnixStream, message: &[u8]) {
    let Some((kind, rest)) = message.split_first() else { return };
    if *kind == b'R' {
        wire::write(&mut { stream }, rest);
        return;
    }
    let Some((count, rest)) = rest.split_first() else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0xfe);
    let (json, bytes) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let len = |part: &[u8]| (part.len() as u32).to_le_bytes();
    let message = [&[*kind][..], &len(json), &len(bytes), json, bytes].concat();
    let sockets = vec![stream.as_fd(); usize::from(count.wrapping_sub(b'0') % 8)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&sockets)));
    }
    // Who has declined hears nothing more.
    if let Ok(sent) = sendmsg(stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL) {
        wire::write(&mut { stream }, &message[sent..]);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((lives, messages)) = input.split_first() else { return };
    let (giver_end, taker_end) = UnixStream::pair().unwrap();
    giver_end.set_write_timeout(Some(wire::DEADLINE)).unwrap();
    let taker = thread::spawn(move || take_over(taker_end));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nx-chatctl-pid: {}\r\n\r\n",
        giver(lives & 15 != 15)
    );
    wire::write(&mut { &giver_end }, answer.as_bytes());
    messages.split(|byte| *byte == wire::SEPARATOR).for_each(|message| say(&giver_end, message));
    drop(giver_end);
    let _ = taker.join().expect("it is no reason to die");
});
