//! The CONNECT reply: where a client is told the id under which it may come back.
//!
//! `40{"sid":"X"}` becomes `40{"sid":"X","pid":"P"}` (Socket.IO protocol v5; clients from 4.6 on know `pid`, others
//! ignore it). With a hook for the CONNECT reply in socketioxide this would go away.

use super::frames::Frames;
use crate::{
    frames::{TEXT, push_frame},
    server::{link::Link, recovery::Pid},
};

/// Puts the id into the CONNECT reply among the frames of one write; `None`: it is not among them.
pub(super) fn in_frames(run: &[u8], link: &Link) -> Option<Vec<u8>> {
    let mut before = 0;
    for frame in Frames(run) {
        let after = before + frame.whole.len();
        if frame.is_text() && is_reply(frame.payload) {
            let reply = with_pid(frame.payload, &link.take_offer()?);
            let mut told = run[..before].to_vec();
            push_frame(&mut told, TEXT, &[&reply]);
            told.extend_from_slice(&run[after..]);
            return Some(told);
        }
        before = after;
    }
    None
}

/// Whether it is among the frames of one write, of any protocol.
pub(super) fn is_in_frames(run: &[u8]) -> bool {
    Frames(run).any(|frame| frame.is_text() && frame.payload.starts_with(b"40"))
}

/// Whether it is in the body of a polling reply.
pub(super) fn is_in_payload(body: &[u8]) -> bool {
    body.split(|byte| *byte == 0x1e).any(|packet| packet.starts_with(b"40"))
}

/// Puts the id into the CONNECT reply in the body of a polling reply.
pub(super) fn in_payload(body: &[u8], link: &Link) -> Option<Vec<u8>> {
    let mut packets: Vec<&[u8]> = body.split(|byte| *byte == 0x1e).collect();
    let index = packets.iter().position(|packet| is_reply(packet))?;
    let reply = with_pid(packets[index], &link.take_offer()?);
    packets[index] = &reply;
    Some(packets.join(&0x1e))
}

fn is_reply(packet: &[u8]) -> bool {
    packet.starts_with(b"40{") && packet.ends_with(b"}")
}

fn with_pid(reply: &[u8], pid: &Pid) -> Vec<u8> {
    let open = reply.strip_suffix(b"}").unwrap_or(reply);
    [open, b",\"pid\":\"", pid.as_str().as_bytes(), b"\"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::Identity,
        server::recovery::{Admission, Entry},
    };

    fn link() -> (std::sync::Arc<Link>, Pid) {
        let (link, pid) =
            (Link::new(Identity::default(), false, None, Default::default()), Pid::new().unwrap());
        link.admit(Admission { member: 1, pid: Some(pid), entry: Entry::New });
        (link, pid)
    }

    #[test]
    fn the_reply_gets_the_id_and_nothing_else_changes() {
        let (link, pid) = link();
        let run = b"\x81\x012\x81\x0d40{\"sid\":\"X\"}\x81\x0642[\"a\"";
        let length = (13 + 29) as u8;
        let expect = [
            b"\x81\x012\x81".as_slice(),
            &[length],
            b"40{\"sid\":\"X\",\"pid\":\"",
            pid.as_str().as_bytes(),
            b"\"}\x81\x0642[\"a\"",
        ];
        assert_eq!(in_frames(run, &link), Some(expect.concat()));
        assert!(!link.is_offering());
        assert_eq!(in_frames(run, &link), None, "once");
    }

    #[test]
    fn in_a_polling_reply_too() {
        let (link, pid) = link();
        let body = in_payload(b"2\x1e40{\"sid\":\"X\"}\x1e42[]", &link).unwrap();
        assert_eq!(
            body,
            format!("2\x1e40{{\"sid\":\"X\",\"pid\":\"{}\"}}\x1e42[]", pid.as_str()).into_bytes()
        );
    }

    #[test]
    fn other_packets_are_not_taken_for_it() {
        let (link, _) = link();
        assert_eq!(in_frames(b"\x81\x0642[\"a\"\x82\x0540{}}", &link), None);
        assert_eq!(in_payload(b"2\x1e44{\"message\":\"no\"}", &link), None);
        assert!(link.is_offering());
    }
}
