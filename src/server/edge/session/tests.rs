//! What a session does when nobody says anything more.

use super::*;
use crate::{
    chat::Identity,
    server::{sequencer::inbox, stats::Stats},
};
use std::future::poll_fn;

const ANNOUNCES_TWO: &str =
    r#"452-["chatting",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]]"#;

fn connected(limits: &Limits) -> Session {
    let (inbox, _) = inbox(Arc::new(Stats::new()));
    let link = Link::new(Identity::default(), false, None, Arc::default());
    let mut session = Session::open(link, Arc::new(Namespace::new(inbox, None)), limits);
    session.phase = Phase::Connected;
    session
}

fn say(session: &mut Session, text: &str) -> Result<(), End> {
    session.hear(Packet::parse(ProtocolVersion::V4, text.to_owned()).unwrap())
}

#[tokio::test]
async fn attachments_that_do_not_come_end_it_when_their_time_is_over() {
    let mut session = connected(&Limits::default());
    say(&mut session, ANNOUNCES_TWO).unwrap();
    let by = session.complete_by.unwrap();
    assert!(by > Instant::now() && by <= Instant::now() + Duration::from_secs(60));
    session.hear(Packet::Binary(Bytes::from_static(b"x"))).unwrap();
    assert_eq!(session.complete_by, Some(by), "however slowly they come");
    let pending = poll_fn(|cx| Poll::Ready(session.poll(cx).is_pending())).await;
    assert!(pending && session.timer.deadline() <= by.into());
    session.complete_by = Some(Instant::now());
    let end = poll_fn(|cx| session.poll(cx)).await;
    assert!(matches!(&end, End::Nonsense(why) if why.contains("attachments")), "{end}");
}

#[tokio::test]
async fn those_that_come_are_waited_for_no_longer() {
    let mut session = connected(&Limits::default());
    say(&mut session, ANNOUNCES_TWO).unwrap();
    (0..2).for_each(|_| session.hear(Packet::Binary(Bytes::from_static(b"x"))).unwrap());
    assert_eq!(session.complete_by, None);
}

#[tokio::test]
async fn one_attachment_may_be_as_long_as_a_packet_may() {
    let one = r#"451-["chatting",{"_placeholder":true,"num":0}]"#;
    for (max_payload, len, taken) in [
        (1_000_000, 1_000_000, true),
        (20_000_000, 20_000_000, true),
        (1_000_000, 10_000_001, false),
        (20_000_000, 20_000_001, false),
    ] {
        let mut session = connected(&Limits { max_payload, ..Limits::default() });
        say(&mut session, one).unwrap();
        assert_eq!(
            session.hear(Packet::Binary(vec![0; len].into())).is_ok(),
            taken,
            "{len} of {max_payload}"
        );
    }
}
