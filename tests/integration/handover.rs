//! Live handover, where it hurts: packets cut anywhere, readers that do not read, and a process on the other side that
//! hangs, dies or talks nonsense.

use crate::{
    client::{Client, frame, text},
    program::{DEADLINE, Supervisor, chatctl, own_program, replace, stderr, until},
};
use std::{
    fs,
    io::{IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpStream,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

const KEYS: &str = "profile = \"web\"\nmin_uptime = \"50ms\"";

fn reload(supervisor: &Supervisor) {
    let before = supervisor.child();
    let output = chatctl(supervisor.dir.path(), &["reload"]);
    assert!(output.status.success(), "{}\n{}", stderr(&output), supervisor.log());
    assert_ne!(supervisor.child(), before);
}

/// The answer to one request.
fn request(supervisor: &Supervisor, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", supervisor.port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Says something, and hears it.
fn talk(client: &mut Client, what: &str) {
    client.send(&text(&format!(r#"42["chatting","{what}"]"#)));
    client.hear(&format!(r#"42["chatting",{{"msg":"{what}","#));
}

#[test]
fn a_packet_may_be_cut_at_any_byte() {
    let supervisor = Supervisor::start(KEYS);
    let binary =
        [text(r#"451-["chatting",{"_placeholder":true,"num":0}]"#), frame(0x82, b"bytes"), text("3")];
    let fragments = [frame(0x01, br#"42["chatting","in"#), frame(0x89, b"ping"), frame(0x80, br#" parts"]"#)];
    let packets = [
        (text(r#"42["chatting","whole"]"#), r#"42["chatting",{"msg":"whole""#),
        (fragments.concat(), r#"42["chatting",{"msg":"in parts""#),
        (binary.concat(), r#"451-["chatting",{"msg":{"_placeholder":true,"num":0}"#),
        (
            [text(r#"42["chatting","one"]"#), text(r#"42["chatting","two"]"#)].concat(),
            r#"42["chatting",{"msg":"one""#,
        ),
    ];
    let mut cuts = Vec::new();
    for (n, (packet, expected)) in packets.iter().enumerate() {
        for at in 1..packet.len() {
            let room = format!("{n}-{at}");
            cuts.push((Client::join(supervisor.port, "cut", &room), packet, at, *expected, room));
        }
    }
    for (client, packet, at, ..) in &mut cuts {
        client.send(&packet[..*at]);
    }
    reload(&supervisor);
    for (client, packet, at, expected, room) in &mut cuts {
        client.send(&packet[*at..]);
        client.hear(expected);
        talk(client, room);
    }
    assert_eq!(supervisor.app().unwrap()["handover"]["connections"], cuts.len());
}

#[test]
fn who_does_not_read_gets_everything_all_the_same() {
    let supervisor = Supervisor::start(KEYS);
    let mut stalled = Client::join(supervisor.port, "stalled", "r");
    let mut speaker = Client::join(supervisor.port, "speaker", "r");
    let padding = "x".repeat(8000);
    let say = |speaker: &mut Client, numbers: std::ops::Range<usize>| {
        for number in numbers {
            speaker.send(&text(&format!(r#"42["chatting","{number} {padding}"]"#)));
            speaker.hear(&format!(r#"42["chatting",{{"msg":"{number} "#));
        }
    };
    // More than the kernel holds for it.
    say(&mut speaker, 0..1000);
    reload(&supervisor);
    say(&mut speaker, 1000..1010);
    reload(&supervisor);
    say(&mut speaker, 1010..1020);
    for number in 0..1020 {
        stalled.hear(&format!(r#"42["chatting",{{"msg":"{number} "#));
    }
    talk(&mut stalled, "awake");
}

#[test]
fn without_recovery_nobody_is_thrown_out_either() {
    let supervisor = Supervisor::start(&format!("{KEYS}\n[recovery]\nenabled = false"));
    let mut people: Vec<_> = (0..10).map(|n| Client::join(supervisor.port, &format!("n{n}"), "r")).collect();
    for round in 0..3 {
        reload(&supervisor);
        for n in 0..people.len() {
            let what = format!("{round}-{n}");
            people[n].send(&text(&format!(r#"42["chatting","{what}"]"#)));
            for other in &mut people {
                let heard = other.hear(&format!(r#"42["chatting",{{"msg":"{what}","#));
                assert!(heard.contains(r#""view":10"#), "{heard}");
            }
        }
    }
}

/// Who was made to wait goes on where it stopped: on its connection, and on its next one.
#[test]
fn nobody_is_forgiven_by_a_reload() {
    let limits = "[limits]\nexempt = []\nmessages_per_second = 5\nmessage_burst = 100";
    let supervisor = Supervisor::start(&format!("{KEYS}\n{limits}"));
    let mut flooder = Client::join(supervisor.port, "flooder", "r");
    let taken_of = |client: &mut Client, count: usize| {
        let events = vec![text(r#"420["chatting","flood"]"#); count].concat();
        client.send(&events);
        let answers = (0..count).map(|_| client.hear("430["));
        answers.filter(|answer| answer.contains(r#""ok":true"#)).count() as u64
    };
    let begun = Instant::now();
    let earned = || begun.elapsed().as_millis() as u64 / 200 + 1;
    let taken = taken_of(&mut flooder, 120);
    assert!((99..=99 + earned()).contains(&taken), "{taken}: joining was one as well");
    reload(&supervisor);
    let taken = taken_of(&mut flooder, 50);
    assert!(taken <= earned(), "{taken} of 50");
    let mut again = Client::join(supervisor.port, "flooder", "r");
    let taken = taken_of(&mut again, 95);
    assert!((9..=9 + earned()).contains(&taken), "{taken}: a page's first words, and no burst");
}

/// A process that asks for everything, as far as it gets.
struct Taker(UnixStream);

impl Taker {
    /// Asks, in this format; gives the answer's status as well.
    fn ask(supervisor: &Supervisor, format: &str) -> (Self, String) {
        let mut stream = UnixStream::connect(supervisor.path("state/run/chatting.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = "GET /handover HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n";
        write!(stream, "{head}Upgrade: {format}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        (Self(stream), status)
    }

    /// Asks in the right format; the one before may still be being given up.
    fn begin(supervisor: &Supervisor) -> Self {
        until("somebody to hand over", || {
            let (taker, status) = Self::ask(supervisor, "chatctl-handover/3");
            assert!(["101", "409"].contains(&&*status), "{status}");
            (status == "101").then_some(taker)
        })
    }

    /// The next message: its kind, and the sockets that came with it. When it is told that it knows who is going to come,
    /// it is ready for them.
    fn next(&mut self) -> Option<(u8, Vec<OwnedFd>)> {
        let next = self.hear();
        if next.as_ref().is_some_and(|(kind, _)| *kind == b'a') {
            self.say(b'R', "null");
        }
        next
    }

    fn hear(&mut self) -> Option<(u8, Vec<OwnedFd>)> {
        let mut header = [0; 9];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
        let received =
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut header)], &mut control, flags);
        let came = received.unwrap().bytes;
        if came == 0 {
            return None;
        }
        let rights = |message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        };
        let fds = control.drain().filter_map(rights).flatten().collect();
        self.0.read_exact(&mut header[came..]).unwrap();
        let len = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        let mut body = vec![0; len(&header[1..5]) + len(&header[5..9])];
        self.0.read_exact(&mut body).unwrap();
        Some((header[0], fds))
    }

    fn say(&mut self, kind: u8, json: &str) {
        let len = u32::try_from(json.len()).unwrap().to_le_bytes();
        let message = [&[kind][..], &len, &[0; 4], json.as_bytes()].concat();
        self.0.write_all(&message).unwrap();
    }
}

#[test]
fn whoever_does_not_take_over_changes_nothing() {
    let supervisor = Supervisor::start(KEYS);
    let child = supervisor.child();
    let mut people: Vec<_> = (0..20).map(|n| Client::join(supervisor.port, &format!("n{n}"), "r")).collect();
    people[7].send(&text(r#"42["chatting","half a message"]"#)[..20]);
    let until = |taker: &mut Taker, last: u8| {
        while taker.hear().is_some_and(|(kind, _)| kind != last) {}
    };
    let until_end = |taker: &mut Taker| {
        let mut sockets = Vec::new();
        while let Some((kind, fds)) = taker.next() {
            // Who comes in meanwhile is none of them: the supervisor asks whether the server lives.
            if kind == b'C' {
                sockets.extend(fds);
            }
            if kind == b'E' {
                break;
            }
        }
        assert_eq!(sockets.len(), 20);
        sockets
    };
    type Failure<'a> = (&'a str, &'a dyn Fn(Taker));
    let failures: [Failure<'_>; 11] = [
        ("hangs up at once", &drop),
        ("hangs up when it hears who is going to come", &|mut taker| until(&mut taker, b'A')),
        ("hangs up when it is to be ready", &|mut taker| until(&mut taker, b'a')),
        ("is never ready", &|mut taker| {
            until(&mut taker, b'a');
            // Given up by the other side, after a while, in which nothing has stopped.
            assert!(taker.hear().is_none());
        }),
        ("has everything before anything has come", &|mut taker| {
            until(&mut taker, b'a');
            taker.say(b'P', "null");
            assert!(taker.hear().is_none());
        }),
        ("hangs up when it begins", &|mut taker| {
            while taker.next().is_some_and(|(kind, _)| kind != b'B') {}
        }),
        ("hangs up when it has everything", &|mut taker| drop(until_end(&mut taker))),
        ("has everything, and hangs", &|mut taker| {
            let sockets = until_end(&mut taker);
            // Given up by the other side, after a while.
            assert!(taker.next().is_none());
            drop(sockets);
        }),
        ("talks nonsense", &|mut taker| {
            until_end(&mut taker);
            taker.say(b'?', "{}");
            assert!(taker.next().is_none());
        }),
        ("commits by itself", &|mut taker| {
            until_end(&mut taker);
            taker.say(b'!', "null");
            assert!(taker.next().is_none());
        }),
        ("says all kinds of things", &|mut taker| {
            for kind in 0..=u8::MAX {
                // Its other end may be closed by then.
                let _ = taker.0.write_all(&[kind; 9]);
            }
            while taker.0.read(&mut [0; 1024]).is_ok_and(|len| len > 0) {}
        }),
    ];
    for (what, failure) in failures {
        failure(Taker::begin(&supervisor));
        for (n, client) in people.iter_mut().enumerate().filter(|(n, _)| *n != 7) {
            talk(client, &format!("{n} goes on when another {what}"));
        }
        assert_eq!(supervisor.child(), child, "{what}");
    }
    people[7].send(&text(r#"42["chatting","half a message"]"#)[20..]);
    people[7].hear(r#"42["chatting",{"msg":"half a message""#);
    // And all of them still go to whoever does.
    reload(&supervisor);
    people.iter_mut().enumerate().for_each(|(n, client)| talk(client, &format!("{n} is there")));
    assert_eq!(supervisor.app().unwrap()["handover"]["connections"], 20);
}

/// As whoever only asks whether the server lives: a handover waits for those who are about to upgrade.
#[test]
fn a_session_that_polls_and_ends_before_it_has_joined_is_seen_to_be_over() {
    let supervisor = Supervisor::start("profile = \"web\"\nprobe = false\n[log]\nlevel = \"debug\"");
    for (protocol, close) in [(4, "1"), (3, "1:1")] {
        let path = format!("/socket.io/?EIO={protocol}&transport=polling");
        let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let opened = request(&supervisor, &format!("GET {path} {head}\r\n"));
        let sid = opened.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0;
        let log = || chatctl(supervisor.dir.path(), &["logs", "chatting", "-n", "200"]).stdout;
        let ends = || String::from_utf8(log()).unwrap().matches("transport closed").count();
        let before = ends();
        let len = close.len();
        request(&supervisor, &format!("POST {path}&sid={sid} {head}Content-Length: {len}\r\n\r\n{close}"));
        until("its end to be seen", || (ends() > before).then_some(()));
    }
}

/// A connection that is used for one request after another, as browsers and proxies do.
struct Kept(TcpStream);

impl Kept {
    fn open(supervisor: &Supervisor) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", supervisor.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, request: &str) {
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// What is answered, head and body.
    fn hear(&mut self) -> String {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        let text = |answer: &[u8]| String::from_utf8_lossy(answer).to_lowercase();
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", text(&answer)));
            answer.push(byte[0]);
        }
        let head = text(&answer);
        let len = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0;
        let mut body = vec![0; len.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8([answer, body].concat()).unwrap()
    }

    fn has_heard(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let heard = self.0.peek(&mut [0]).is_ok();
        self.0.set_nonblocking(false).unwrap();
        heard
    }
}

const OPEN: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";

fn sid(opened: &str) -> String {
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    opened.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

fn later(sid: &str, body: Option<&str>) -> String {
    let (method, len) = (if body.is_some() { "POST" } else { "GET" }, body.map_or(0, str::len));
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n{}",
        body.unwrap_or_default()
    )
}

#[test]
fn a_connection_that_is_kept_open_goes_from_server_to_server() {
    let supervisor = Supervisor::start(KEYS);
    let (mut used, mut silent) = (Kept::open(&supervisor), Kept::open(&supervisor));
    for _ in 0..3 {
        used.ask(OPEN);
        sid(&used.hear());
        reload(&supervisor);
    }
    for kept in [&mut used, &mut silent] {
        kept.ask(OPEN);
        sid(&kept.hear());
    }
}

#[test]
fn while_it_lasts_who_is_here_is_served_and_newcomers_wait() {
    let supervisor = Supervisor::start(&format!("{KEYS}\nprobe = false\n[log]\nlevel = \"debug\""));
    let mut kept: [Kept; 4] = std::array::from_fn(|_| Kept::open(&supervisor));
    let [here, newcomer, half, gone] = &mut kept;
    here.ask(OPEN);
    let mine = sid(&here.hear());
    for other in [&mut *newcomer, &mut *half, &mut *gone] {
        other.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        other.hear();
    }
    let mut taker = Taker::begin(&supervisor);
    // Its head comes in pieces, and the last when nobody is let in.
    let request = later(&mine, Some("40"));
    half.ask(&request[..70]);
    while taker.hear().is_some_and(|(kind, _)| kind != b'a') {}
    half.ask(&request[70..]);
    assert!(half.hear().starts_with("HTTP/1.1 200"));
    here.ask(&later(&mine, None));
    assert!(here.hear().starts_with("HTTP/1.1 200"));
    newcomer.ask(OPEN);
    gone.ask(OPEN);
    gone.0.shutdown(std::net::Shutdown::Both).unwrap();
    let mut fresh = Kept::open(&supervisor);
    fresh.ask(OPEN);
    let opened = || {
        let log = chatctl(supervisor.dir.path(), &["logs", "chatting", "-n", "400"]).stdout;
        String::from_utf8(log).unwrap().matches("opened conn=").count()
    };
    let before = opened();
    assert!(!newcomer.has_heard() && !fresh.has_heard());
    // Given up: this server goes on, and they are let in.
    drop(taker);
    sid(&newcomer.hear());
    sid(&fresh.hear());
    until("the two of them, and not the third, to be let in", || (opened() >= before + 2).then_some(()));
    assert_eq!(opened(), before + 2);
}

#[test]
fn one_is_handed_over_to_at_a_time_and_in_a_known_format() {
    let supervisor = Supervisor::start(KEYS);
    let mut somebody = Client::join(supervisor.port, "somebody", "r");
    assert_eq!(Taker::ask(&supervisor, "chatctl-handover/0").1, "426");
    let mut first = Taker::begin(&supervisor);
    until("the second to be refused", || {
        (Taker::ask(&supervisor, "chatctl-handover/3").1 == "409").then_some(())
    });
    while first.next().is_some_and(|(kind, _)| kind != b'E') {}
    drop(first);
    talk(&mut somebody, "still here");
}

#[test]
fn when_it_cannot_be_everybody_is_sent_away_and_comes_back() {
    let supervisor = own_program(KEYS);
    let people: Vec<_> = (0..60).map(|n| Client::join(supervisor.port, &format!("n{n}"), "r")).collect();
    // The next version may not have as many descriptors as there are connections.
    let real = supervisor.path("real");
    fs::copy(env!("CARGO_BIN_EXE_chatctl"), &real).unwrap();
    replace(&supervisor.path("chatctl"), &format!("ulimit -n 50; exec {} \"$@\"", real.display()));
    reload(&supervisor);
    let events = String::from_utf8(chatctl(supervisor.dir.path(), &["events", "-n", "50"]).stdout).unwrap();
    assert!(
        events.contains("connections not handed over") && events.contains("no descriptors left"),
        "{events}"
    );
    for mut client in people {
        // The goodbye.
        client.hear("9");
    }
    talk(&mut Client::join(supervisor.port, "somebody", "r"), "here");
}
