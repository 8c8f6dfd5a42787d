//! The edge and the sequencer write to one connection, by turns.

use super::*;
use crate::{
    chat::Identity,
    config::{Config, DEFAULT},
    frames::{Frames, TEXT, push_frame},
    server::{doors::Doors, stats::Stats},
};
use proptest::prelude::*;
use std::{future::poll_fn, net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A connection whose ends hold little, and its client.
async fn connection() -> (Box<EdgeStream>, Arc<Link>, TcpStream) {
    connection_to(4096).await
}

/// The same, whose client holds so much that is not read.
async fn connection_to(unread: u32) -> (Box<EdgeStream>, Arc<Link>, TcpStream) {
    let small = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        socket.set_recv_buffer_size(unread).unwrap();
        socket
    };
    let entrance = small();
    entrance.bind((IpAddr::from([127, 0, 0, 1]), 0).into()).unwrap();
    let address = entrance.local_addr().unwrap();
    let entrance = entrance.listen(1).unwrap();
    let (client, accepted) = tokio::join!(small().connect(address), entrance.accept());
    let limits = Config::from_text(DEFAULT, None).unwrap().server.limits;
    let doors = Doors::new(limits, Vec::new(), false, Arc::new(Stats::new()));
    let io = Transport::plain(accepted.unwrap().0, DEADLINE, doors.carry_on([127, 0, 0, 1].into()));
    let link = Link::new(Identity::default(), false, None, Arc::default());
    link.seen_connect();
    (Box::new(EdgeStream::new(io, Bytes::new(), link.clone(), false, 1 << 20)), link, client.unwrap())
}

fn frame(of: char, number: usize, size: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, TEXT, &[format!("4{of}{number} ").as_bytes(), &vec![b'x'; size]]);
    frame
}

/// Has the stream do what there is to do, as a task does that reads it.
async fn attend(stream: &mut EdgeStream) {
    let mut space = [0; 64];
    let read = poll_fn(|cx| {
        Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut space)).is_pending())
    });
    assert!(read.await, "the client says nothing");
    // What the kernel has to tell about the connection.
    tokio::task::yield_now().await;
}

#[derive(Debug, Clone)]
enum Act {
    /// The sequencer sends a packet of this size.
    Send(usize),
    /// It writes what it has sent, or has it written.
    Write,
    /// The session answers with a packet of this size.
    Answer(usize),
    /// The edge does what it is told.
    Attend,
    /// The client reads so much.
    Read(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => prop_oneof![0usize..9000, 50_000usize..100_000].prop_map(Act::Send),
        3 => Just(Act::Write),
        2 => (0usize..9000).prop_map(Act::Answer),
        3 => Just(Act::Attend),
        2 => (1usize..100_000).prop_map(Act::Read),
    ];
    prop::collection::vec(act, 1..60)
}

/// Gives what the client got, and how many packets the sequencer and the session sent.
async fn play(acts: Vec<Act>) -> (Vec<u8>, [usize; 2], u64) {
    // With less than a segment of the loopback the kernel waits for its timers: 200 ms for each few kilobytes.
    let (mut stream, link, mut client) = connection_to(64 << 10).await;
    let (mut sent, mut bytes, mut got) = ([0, 0], 0, Vec::new());
    for act in acts {
        match act {
            Act::Send(size) => {
                let frame = frame('s', sent[0], size);
                (sent[0], bytes) = (sent[0] + 1, bytes + frame.len());
                let _ = link.send(frame.into());
            }
            Act::Write => {
                if !link.write_now() {
                    link.wake();
                }
            }
            Act::Answer(size) => {
                let frame = frame('e', sent[1], size);
                let written = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, &frame))).await;
                if let Poll::Ready(written) = written {
                    assert_eq!(written.unwrap(), frame.len(), "taken whole");
                    (sent[1], bytes) = (sent[1] + 1, bytes + frame.len());
                }
            }
            Act::Attend => attend(&mut stream).await,
            Act::Read(most) => {
                let mut some = vec![0; most];
                if let Ok(read) = client.try_read(&mut some) {
                    got.extend_from_slice(&some[..read]);
                }
            }
        }
    }
    let rest = async {
        while got.len() < bytes {
            tokio::select! {
                read = client.read_buf(&mut got) => assert!(read.unwrap() > 0),
                flushed = stream.flush() => {
                    flushed.unwrap();
                    client.readable().await.unwrap();
                }
            }
        }
    };
    timeout(DEADLINE, rest).await.expect("all of it arrives");
    (got, sent, link.sent_so_far())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_time: 30_000, ..ProptestConfig::default() })]

    /// Whoever writes, however little the kernel takes: each packet arrives whole, once, and in its sender's order.
    #[test]
    fn whoever_writes_packets_arrive_whole_and_in_order(acts in acts()) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (got, sent, counted) = runtime.block_on(play(acts));
        let mut frames = Frames(&got);
        let (mut next, mut texts) = ([0, 0], Vec::new());
        for frame in frames.by_ref() {
            texts.push(String::from_utf8(frame.payload.to_vec()).unwrap());
        }
        prop_assert!(frames.0.is_empty());
        for text in texts {
            let of = usize::from(text.starts_with("4e"));
            let number = text[2..].split(' ').next().and_then(|number| number.parse().ok());
            prop_assert_eq!(number, Some(next[of]), "{:?}", text);
            next[of] += 1;
        }
        // What the session answers is not the sequencer's.
        prop_assert_eq!((next, counted), (sent, sent[0] as u64));
    }
}

#[tokio::test]
async fn at_rest_the_sequencer_writes_without_the_edge() {
    let (mut stream, link, mut client) = connection().await;
    let packet = frame('s', 0, 100);
    assert!(link.send(packet.clone().into()));
    assert!(!link.write_now(), "nothing is lent before the edge has looked");
    attend(&mut stream).await;
    for _ in 0..2 {
        assert!(link.send(packet.clone().into()));
        assert!(link.write_now());
    }
    let mut got = vec![0; 3 * packet.len()];
    timeout(DEADLINE, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!((got, link.sent_so_far()), (packet.repeat(3), 3));
}

#[tokio::test]
async fn who_does_not_read_is_left_to_the_edge() {
    let (mut stream, link, _client) = connection().await;
    attend(&mut stream).await;
    let mut writes = (0..10_000).map(|number| {
        let _ = link.send(frame('s', number, 1000).into());
        link.write_now()
    });
    assert!(writes.any(|whole| !whole), "the kernel takes no end of it");
    assert!(!link.is_stalled());
    attend(&mut stream).await;
    assert!(link.is_stalled());
    link.cut();
    let _ = link.send(frame('s', 0, 1000).into());
    assert!(!link.write_now());
}

#[tokio::test]
async fn a_connection_ends_with_its_stream_whoever_could_write_to_it() {
    let (mut stream, link, mut client) = connection().await;
    attend(&mut stream).await;
    drop(stream);
    let end = timeout(DEADLINE, client.read_u8()).await.expect("it is closed");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(link.send(Bytes::from_static(b"x")));
    assert!(!link.write_now());
}

#[tokio::test]
async fn what_is_answered_while_it_pauses_leaves_the_connection_for_the_next_process() {
    let (mut stream, link, mut client) = connection().await;
    attend(&mut stream).await;
    link.depart(&Arc::default());
    attend(&mut stream).await;
    assert_eq!(link.stage(), Stage::Paused);
    poll_fn(|cx| stream.answer(cx, b"\x81\x012")).await.unwrap();
    attend(&mut stream).await;
    assert!(link.take_detached().is_some(), "nobody else has taken it");
    let mut got = [0; 3];
    timeout(DEADLINE, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"\x81\x012");
}
