//! Connections of a real client that go on elsewhere, as often as one likes.

use super::*;
use crate::http_client::tls::to_anybody;
use futures_util::FutureExt;
use proptest::prelude::*;
use records::{HEADER, Opened, Protection};
use std::{net::IpAddr, process::Command, sync::LazyLock};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    runtime,
    task::yield_now,
    time::{Duration, timeout},
};
use tokio_rustls::{
    client,
    rustls::{
        SupportedCipherSuite,
        crypto::{CryptoProvider, aws_lc_rs::cipher_suite as suites},
        pki_types::ServerName,
    },
};

const DEADLINE: Duration = Duration::from_secs(20);
const MODERN: [SupportedCipherSuite; 3] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
];

/// A certificate that is nobody's, in a folder of its own.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let all =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout key -out cert";
    let made = Command::new("openssl").args(all.split(' ')).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
});

type Client = client::TlsStream<TcpStream>;

/// A connection whose ends hold little, after its handshake.
async fn connection(suite: SupportedCipherSuite) -> (Client, Stream) {
    let small = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket
    };
    let entrance = small();
    entrance.bind((IpAddr::from([127, 0, 0, 1]), 0).into()).unwrap();
    let address = entrance.local_addr().unwrap();
    let entrance = entrance.listen(1).unwrap();
    let (dialled, accepted) = tokio::join!(small().connect(address), entrance.accept());
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let connector = to_anybody(provider).unwrap();
    let file = |name| FOLDER.path().join(name);
    let tls = Tls::load(config::Tls { cert: file("cert"), key: file("key") }).unwrap();
    let client = connector.connect(ServerName::try_from("x").unwrap(), dialled.unwrap());
    let (client, server) = tokio::join!(client, tls.accept(accepted.unwrap().0));
    (client.unwrap(), server.unwrap())
}

/// As another process would go on with it: from what is written of its state, and its socket.
fn elsewhere(mut stream: Stream) -> Stream {
    assert!(stream.can_move() && stream.socket().is_some());
    assert!(stream.untie());
    let (io, state) = stream.into_parts().unwrap();
    let written = serde_json::to_vec(&state).unwrap();
    Stream::onward(io, serde_json::from_slice(&written).unwrap()).unwrap()
}

#[derive(Debug, Clone)]
enum Act {
    /// The client says so much, as far as it can.
    Ask(usize),
    /// The server does.
    Answer(usize),
    /// The server takes at most so much.
    Hear(usize),
    Listen(usize),
    Move,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (1usize..40_000).prop_map(Act::Ask),
        (1usize..40_000).prop_map(Act::Answer),
        (1usize..20_000).prop_map(Act::Hear),
        (1usize..20_000).prop_map(Act::Listen),
        Just(Act::Move),
    ];
    prop::collection::vec(act, 1..40)
}

/// What is said in one direction: each byte by its place.
#[derive(Default)]
struct Said {
    by: usize,
    to: usize,
}

impl Said {
    fn next(&self, len: usize) -> Vec<u8> {
        (self.by..self.by + len).map(byte).collect()
    }

    fn heard(&mut self, bytes: &[u8]) {
        assert!(bytes.iter().enumerate().all(|(n, heard)| *heard == byte(self.to + n)), "at {}", self.to);
        self.to += bytes.len();
    }
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

async fn play(suite: SupportedCipherSuite, acts: Vec<Act>) {
    let (mut client, mut server) = connection(suite).await;
    let (mut asked, mut answered) = (Said::default(), Said::default());
    let mut space = vec![0; 20_000];
    for act in acts {
        yield_now().await;
        match act {
            Act::Ask(len) => {
                let written = client.write(&asked.next(len)).now_or_never();
                asked.by += written.map_or(0, Result::unwrap);
            }
            Act::Answer(len) => {
                let written = server.write(&answered.next(len)).now_or_never();
                answered.by += written.map_or(0, Result::unwrap);
            }
            Act::Hear(most) => {
                let read = server.read(&mut space[..most]).now_or_never();
                asked.heard(&space[..read.map_or(0, Result::unwrap)]);
            }
            Act::Listen(most) => {
                let read = client.read(&mut space[..most]).now_or_never();
                answered.heard(&space[..read.map_or(0, Result::unwrap)]);
            }
            Act::Move => server = elsewhere(server),
        }
    }
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let mut rest = [vec![0; answered.by - answered.to], vec![0; asked.by - asked.to]];
    let [to_be_listened, to_be_heard] = &mut rest;
    let all = async {
        tokio::try_join!(
            to_client.flush(),
            to_server.flush(),
            from_client.read_exact(to_be_listened),
            from_server.read_exact(to_be_heard),
        )
    };
    timeout(DEADLINE, all).await.unwrap().unwrap();
    answered.heard(&rest[0]);
    asked.heard(&rest[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is under way in either direction, and wherever the server goes on: all of it arrives, once, in order.
    #[test]
    fn what_is_said_arrives_wherever_the_connection_goes_on(acts in acts()) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for suite in MODERN {
            runtime.block_on(play(suite, acts.clone()));
        }
    }
}

#[tokio::test]
async fn each_side_hears_that_the_other_has_ended() {
    for suite in MODERN {
        let (mut client, server) = connection(suite).await;
        let mut server = elsewhere(server);
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0, "without close_notify it is an error");
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(!server.untie(), "nobody goes on with it");
    }
}

#[tokio::test]
async fn who_has_said_the_last_word_does_not_go_elsewhere() {
    let (mut client, mut server) = connection(MODERN[0]).await;
    client.write_all(b"and goodbye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut said = [0; 11];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    assert!(!server.untie());
}

#[tokio::test]
async fn a_connection_that_is_cut_does_not_look_as_if_it_had_ended() {
    let (mut client, server) = connection(MODERN[0]).await;
    let mut server = elsewhere(server);
    client.get_mut().0.shutdown().await.unwrap();
    let cut = server.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn who_wants_new_keys_elsewhere_is_let_go() {
    let (mut client, server) = connection(MODERN[0]).await;
    let mut server = elsewhere(server);
    client.get_mut().1.refresh_traffic_keys().unwrap();
    client.write_all(b"under new keys").await.unwrap();
    client.flush().await.unwrap();
    let error = server.read(&mut [0; 99]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn keys_that_were_renewed_here_go_elsewhere() {
    let (mut client, mut server) = connection(MODERN[0]).await;
    client.get_mut().1.refresh_traffic_keys().unwrap();
    client.write_all(b"1").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'1');
    let mut server = elsewhere(server);
    client.write_all(b"2").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'2');
    server.write_all(b"3").await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'3');
}

#[tokio::test]
async fn of_tls_1_2_connections_stay_here() {
    let (mut client, mut server) = connection(suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256).await;
    assert!(!server.can_move() && !server.untie() && server.state().is_none());
    server.write_all(b"x").await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x', "and go on");
}

/// Both ends of one direction, from its 5th record on.
fn direction() -> [Protection; 2] {
    let secret =
        serde_json::json!({ "cipher": "Aes128Gcm", "key": (vec![7; 16]), "iv": (vec![9; 12]), "next": 4 });
    [(); 2].map(|()| Protection::new(serde_json::from_value(secret.clone()).unwrap()).unwrap())
}

fn sealed(data: &[u8]) -> (bytes::BytesMut, Protection) {
    let [mut seals, opens] = direction();
    let mut record = bytes::BytesMut::new();
    seals.seal(data, &mut record).unwrap();
    (record, opens)
}

#[test]
fn what_was_not_sealed_so_is_not_taken() {
    let (record, mut opens) = sealed(b"data");
    assert_eq!(opens.open(&mut record.clone()).unwrap(), Some(Opened::Data(b"data"[..].into())));
    assert!(opens.open(&mut record.clone()).is_err(), "a second time");
    for at in 0..record.len() {
        let (mut record, mut opens) = sealed(b"data");
        record[at] ^= 1;
        // A record that claims to be longer is waited for.
        let opened = opens.open(&mut record);
        assert!(!matches!(opened, Ok(Some(_))), "{at}: {opened:?}");
        let (mut cut, mut opens) = sealed(b"data");
        cut.truncate(at);
        assert!(matches!(opens.open(&mut cut), Ok(None)), "{at}");
        assert_eq!(cut.len(), at, "it may come yet");
    }
    let mut endless = bytes::BytesMut::from(&[23, 3, 3, 0xff, 0xff][..HEADER]);
    assert!(opens.open(&mut endless).is_err());
}

#[test]
fn a_key_seals_no_more_than_it_may() {
    let secret = serde_json::json!({ "cipher": "Aes256Gcm", "key": (vec![7; 32]), "iv": (vec![9; 12]), "next": (1 << 24) - 1 });
    let mut seals = Protection::new(serde_json::from_value(secret).unwrap()).unwrap();
    let mut record = bytes::BytesMut::new();
    assert!(seals.seal(b"the last", &mut record).is_ok());
    assert!(seals.seal(b"one more", &mut record).is_err());
}

#[test]
fn nobody_reads_the_keys_in_a_log() {
    let [one, _] = direction();
    let secret = one.secret().clone();
    let state =
        serde_json::json!({ "opening": secret, "sealing": secret, "read": [], "said": [], "write": [] });
    let state: State = serde_json::from_value(state).unwrap();
    assert_eq!(format!("{state:?}"), "State { .. }");
}
