//! One Engine.IO session, with what Socket.IO has in it: what its client's packets mean, whatever transport brings them.
//!
//! ```text
//! opened --CONNECT--> admitting --the sequencer lets it in, it is told so--> connected --DISCONNECT--> opened
//!          (protocol 3: by opening)  \--it does not prove who it is--> opened
//! ```
//!
//! What it answers is kept until its transport has written it. It ends by being dropped, and then the chat knows. It
//! never waits for anything but time and the sequencer: a transport that polls it holds up nobody.

pub(super) mod heartbeat;
#[cfg(test)]
mod tests;

use crate::{
    config::Limits,
    frames::{TEXT, push_frame},
    server::{link::Link, namespace::Namespace},
};
use bytes::Bytes;
use engineioxide_core::{OpenPacket, Packet, ProtocolVersion, Sid, Str, TransportType};
use heartbeat::{Beat, Heartbeat};
use socketioxide_core::{
    Value,
    packet::{self, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;
use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep_until},
};

/// The only one there is.
const NAMESPACE: &str = "/";
/// With so many bytes of answers that it does not take, a client is not heard.
pub(super) const UNANSWERED: usize = 4096;
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";

/// Why a session ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    /// Its client closes it.
    #[error("closed by its client")]
    Closed,
    /// Its client is not heard of.
    #[error("its client is not heard of")]
    Silent,
    /// Its client does not take what it is answered.
    #[error("its client does not take what it is answered")]
    Deaf,
    /// Its client did not connect in time.
    #[error("its client did not connect in time")]
    NeverConnected,
    /// Its client says what means nothing.
    #[error("its client says what means nothing: {0}")]
    Nonsense(String),
    /// The server sends its client away.
    #[error("sent away")]
    SentAway,
    /// Its connection is broken, or was cut.
    #[error("its connection is broken: {0}")]
    Broken(String),
}

/// How far its client is with connecting.
enum Phase {
    Opened,
    Admitting(oneshot::Receiver<()>),
    /// It is told, as soon as what it is answered is written.
    Welcome,
    Connected,
}

/// See the module.
pub(super) struct Session {
    link: Arc<Link>,
    namespace: Arc<Namespace>,
    parser: ParserState,
    phase: Phase,
    max_payload: u64,
    /// Until then it has to be connected for the first time.
    connect_by: Option<Instant>,
    /// Until then the attachments have to be there that a packet has announced.
    complete_by: Option<Instant>,
    heartbeat: Heartbeat,
    /// For what is due next.
    timer: Pin<Box<Sleep>>,
    /// As frames.
    answers: Vec<u8>,
}

impl Session {
    /// One whose client is to connect.
    pub(super) fn open(link: Arc<Link>, namespace: Arc<Namespace>, limits: &Limits) -> Self {
        let now = Instant::now();
        let first = heartbeat::first(link.conn);
        let mut session = Self::of(link, namespace, limits, first, now);
        session.connect_by = Some(now + limits.handshake_timeout);
        if session.link.eio3 {
            // Nothing is said of a namespace before: this is the way in.
            session.connect(None);
        }
        session
    }

    /// One that was connected in another process, where the next heartbeat was due after so long.
    pub(super) fn moved(
        link: Arc<Link>,
        namespace: Arc<Namespace>,
        limits: &Limits,
        heartbeat: Duration,
    ) -> Self {
        namespace.moved(&link);
        let mut session = Self::of(link, namespace, limits, heartbeat, Instant::now());
        session.phase = Phase::Connected;
        session
    }

    fn of(
        link: Arc<Link>,
        namespace: Arc<Namespace>,
        limits: &Limits,
        first: Duration,
        now: Instant,
    ) -> Self {
        let heartbeat = Heartbeat::begin(link.eio3, first, now);
        Self {
            link,
            namespace,
            parser: ParserState::default(),
            phase: Phase::Opened,
            max_payload: limits.max_payload,
            connect_by: None,
            complete_by: None,
            heartbeat,
            timer: Box::pin(sleep_until(heartbeat.due().into())),
            answers: Vec::new(),
        }
    }

    /// Takes in one packet.
    ///
    /// # Errors
    /// The session ends.
    pub(super) fn hear(&mut self, packet: Packet) -> Result<(), End> {
        let may = parsing(self.max_payload);
        let heard = match packet {
            Packet::Message(text) => CommonParser.decode_str(&may, &self.parser, text),
            Packet::Binary(data) | Packet::BinaryV3(data) => {
                CommonParser.decode_bin(&may, &self.parser, data)
            }
            Packet::Ping | Packet::Pong => {
                self.heartbeat.heard(Instant::now());
                if self.link.eio3 {
                    self.answer(PONG);
                }
                return Ok(());
            }
            Packet::Close => return Err(End::Closed),
            other => return Err(End::Nonsense(format!("{other:?}"))),
        };
        match heard {
            Ok(packet) => {
                self.complete_by = None;
                self.take(packet)
            }
            Err(ParseError::NeedsMoreBinaryData) => {
                self.complete_by.get_or_insert_with(|| Instant::now() + may.packet_completion_timeout);
                Ok(())
            }
            Err(error) => Err(End::Nonsense(error.to_string())),
        }
    }

    fn take(&mut self, packet::Packet { inner, ns }: packet::Packet) -> Result<(), End> {
        if ns.as_str() != NAMESPACE {
            if matches!(inner, PacketData::Connect(_)) {
                self.answer_packet(packet::Packet::connect_error(ns, "Invalid namespace"));
            }
            return Ok(());
        }
        match (inner, &self.phase) {
            (PacketData::Connect(claim), Phase::Opened) => {
                self.connect(claim.as_ref().and_then(Value::as_str).map(Str::as_str));
            }
            // Who does not wait for the news that it is connected is heard when it is.
            (
                PacketData::Event(said, ack) | PacketData::BinaryEvent(said, ack),
                Phase::Admitting(_) | Phase::Welcome | Phase::Connected,
            ) => {
                if let Value::Str(text, attachments) = said {
                    let attachments: Vec<Bytes> = attachments.into_iter().flatten().collect();
                    self.namespace.take(&text, attachments, ack, &self.link);
                }
            }
            // Nobody has asked for one.
            (PacketData::EventAck(..) | PacketData::BinaryAck(..), Phase::Connected) => {}
            (PacketData::Disconnect, Phase::Admitting(_) | Phase::Welcome | Phase::Connected) => {
                self.leave(true);
            }
            _ => return Err(End::Nonsense("out of order".to_owned())),
        }
        Ok(())
    }

    fn connect(&mut self, claim: Option<&str>) {
        match self.namespace.admit(claim, &self.link) {
            Ok(admitted) => self.phase = Phase::Admitting(admitted),
            Err(denied) => {
                self.answer_packet(packet::Packet::connect_error(NAMESPACE, denied.to_string()));
            }
        }
    }

    /// Tells it that it is connected and, where it can use it, under which id it may come back (Socket.IO protocol v5;
    /// clients from 4.6 on know `pid`, others ignore it).
    fn welcome(&mut self) {
        self.connect_by = None;
        self.phase = Phase::Welcome;
        if self.link.eio3 {
            return self.answer(b"40");
        }
        let pid = self.link.pid().map(|pid| format!(r#","pid":"{}""#, pid.as_str())).unwrap_or_default();
        self.answer(format!(r#"40{{"sid":"{}"{pid}}}"#, Sid::new()).as_bytes());
    }

    /// It ends, and why: the chat is let know that the client is gone, if it was there.
    pub(super) fn end(&mut self, why: &End) {
        tracing::debug!(conn = self.link.conn, %why, "the session ends");
        if *why == End::NeverConnected {
            self.link.never_connected();
        }
        self.leave(false);
    }

    fn leave(&mut self, for_good: bool) {
        if !matches!(mem::replace(&mut self.phase, Phase::Opened), Phase::Opened) {
            self.namespace.gone(&self.link, for_good);
        }
    }

    /// Does what is due; ready when the session ends by it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Phase::Admitting(admitted) = &mut self.phase
            && let Poll::Ready(answer) = Pin::new(admitted).poll(cx)
        {
            match answer {
                Ok(()) => self.welcome(),
                // Without a sequencer the process is ending.
                Err(_) => self.phase = Phase::Opened,
            }
        }
        loop {
            let limits = [self.connect_by, self.complete_by];
            let due = limits.into_iter().flatten().fold(self.heartbeat.due(), Instant::min);
            if self.timer.deadline() != due.into() {
                self.timer.as_mut().reset(due.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.connect_by.is_some_and(|by| by <= now) {
                return Poll::Ready(End::NeverConnected);
            }
            // The parser itself asks only when one comes.
            if self.complete_by.is_some_and(|by| by <= now) {
                return Poll::Ready(End::Nonsense(ParseError::TimeoutWhileWaitingAttachments.to_string()));
            }
            match self.heartbeat.beat(now) {
                Beat::Nothing => {}
                Beat::Ping => self.answer(PING),
                Beat::Dead => return Poll::Ready(End::Silent),
            }
        }
    }

    /// How long until its next heartbeat, for another process; `None`: that is its client's affair.
    pub(super) fn next_ping(&self) -> Option<Duration> {
        self.heartbeat.next_ping(Instant::now())
    }

    /// Tells its client that it is open.
    pub(super) fn greet(&mut self) {
        let open = String::from(open(&Sid::new(), TransportType::Websocket, self.max_payload));
        let mut frame = Vec::new();
        push_frame(&mut frame, TEXT, &[open.as_bytes()]);
        self.answered_before(&frame);
    }

    /// What its client speaks.
    pub(super) fn protocol(&self) -> ProtocolVersion {
        protocol(self.link.eio3)
    }

    /// What its client is to be answered, as frames.
    pub(super) fn answers(&self) -> &[u8] {
        &self.answers
    }

    /// This was answered before, and is to be written first.
    pub(super) fn answered_before(&mut self, frames: &[u8]) {
        self.answers.splice(..0, frames.iter().copied());
    }

    /// All of that is written: what the sequencer says from now on comes after it.
    pub(super) fn answered(&mut self) {
        self.answers = Vec::new();
        if matches!(self.phase, Phase::Welcome) {
            self.phase = Phase::Connected;
            self.link.seen_connect();
            self.namespace.arrived(&self.link);
        }
    }

    fn answer(&mut self, packet: &[u8]) {
        push_frame(&mut self.answers, TEXT, &[packet]);
    }

    fn answer_packet(&mut self, packet: packet::Packet) {
        if let Value::Str(text, _) = CommonParser.encode(packet) {
            push_frame(&mut self.answers, TEXT, &[b"4", text.as_bytes()]);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave(false);
    }
}

/// What a packet may be. All its attachments together are no longer than the parser lets them be, or than one may be.
fn parsing(max_payload: u64) -> ParseConfig {
    let is = ParseConfig::default();
    let longest = usize::try_from(max_payload).unwrap_or(usize::MAX);
    ParseConfig { max_incoming_binary_buf_size: is.max_incoming_binary_buf_size.max(longest), ..is }
}

/// What a client is told when its session opens.
pub(super) fn open(sid: &Sid, transport: TransportType, max_payload: u64) -> Packet {
    let upgrades = match transport {
        TransportType::Polling => [TransportType::Websocket].into_iter().collect(),
        TransportType::Websocket => Default::default(),
    };
    let (ping_interval, ping_timeout) = (heartbeat::INTERVAL, heartbeat::TIMEOUT);
    Packet::Open(OpenPacket { sid: *sid, upgrades, ping_interval, ping_timeout, max_payload })
}

/// The protocol of a session, by whether it is the old one.
pub(super) fn protocol(eio3: bool) -> ProtocolVersion {
    if eio3 { ProtocolVersion::V3 } else { ProtocolVersion::V4 }
}
