//! The wire's tables, row by row, against the pure rules.

use super::*;
use proptest::prelude::*;
use std::time::Instant;

const NOW: WallTime = WallTime { hour: 15, minute: 4 };

fn limits() -> Limits {
    Limits { max_name: 16, max_room: 16, max_rooms_per_socket: 3, ..Limits::default() }
}

fn plain(said: &Identity) -> Caller<'_> {
    Caller { said, rights: None }
}

fn now() -> Now {
    Now { at: Instant::now(), wall: NOW }
}

/// People with a handshake each, in a chat of one profile.
struct Stage {
    chat: Chat,
    people: Vec<Identity>,
}

impl Stage {
    fn new(profile: Profile, people: &[(&str, &str)]) -> Self {
        let identity =
            |(name, room): &(&str, &str)| Identity { name: Given::new(name, 16), room: Given::new(room, 16) };
        Self { chat: Chat::new(profile, limits()), people: people.iter().map(identity).collect() }
    }

    fn send(&mut self, who: MemberId, event: &str, payload: &str) -> Result<Vec<String>, String> {
        let text = if payload.is_empty() { format!("[{event:?}]") } else { format!("[{event:?},{payload}]") };
        let (name, payload) = parse(&text, Vec::new()).unwrap();
        let kind = Kind::named(&name).ok_or(Refusal::UnknownEvent);
        let effects = kind
            .and_then(|kind| self.chat.handle(who, plain(&self.people[who]), kind, &payload?, now()))
            .map_err(|r| r.to_string())?;
        Ok(effects.iter().map(show).collect())
    }

    /// What is said, in a form that fits a line.
    fn check(&mut self, who: MemberId, event: &str, payload: &str, expect: &[&str]) {
        let effects =
            self.send(who, event, payload).unwrap_or_else(|refusal| vec![format!("refused: {refusal}")]);
        assert_eq!(effects, expect, "{who} {event} {payload}");
    }

    /// What people notice.
    fn told(effects: &[Effect]) -> Vec<String> {
        effects.iter().filter(|effect| !matches!(effect, Effect::Stands(..))).map(show).collect()
    }

    fn gone(&mut self, who: MemberId) -> Vec<String> {
        Self::told(&self.chat.gone(who))
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Enter(member, room, _) => format!("enter {member} {room}"),
        Effect::Exit(member, room) => format!("exit {member} {room}"),
        Effect::Say(room, event, body) => format!("{room} {event} {}", body.parts().0),
        Effect::Tell(member, event, body) => {
            format!("{member} {event} {}", body.parts().0)
        }
        Effect::Stands(member, standing) => format!("{member} stands {standing:?}"),
    }
}

#[test]
fn local_speaks_of_everything() {
    let mut s = Stage::new(Profile::Local, &[("kim", "r"), ("lee", "r")]);
    s.check(
        0,
        "join_room",
        "",
        &["enter 0 r", r#"r chatting {"msg":"kim님이 입장하셨습니다.","type":"notice","size":1}"#],
    );
    let lee = ["enter 1 r", r#"r chatting {"msg":"lee님이 입장하셨습니다.","type":"notice","size":2}"#];
    s.check(1, "join_room", r#"{"msg":"x","type":1,"mem_cnt":77}"#, &lee);
    let hello = r#"r chatting {"msg":"hi","name":"kim","type":"chat","time":"오후 03:04","view":2}"#;
    s.check(0, "chatting", r#""hi""#, &[hello]);
    let left = ["exit 1 r", r#"r chatting {"msg":"lee님이 퇴장하셨습니다.","type":"notice","size":1}"#];
    s.check(1, "leave_room", r#"{"mem_cnt":77}"#, &left);
    assert!(s.gone(1).is_empty(), "leave, then disconnect: one notice");
    assert_eq!(s.gone(0), [r#"r chatting {"msg":"kim님이 퇴장하셨습니다.","type":"notice","size":0}"#]);
    assert_eq!(s.chat.room_count(), 0);
}

#[test]
fn local_exit_concerns_the_sender() {
    let mut s = Stage::new(Profile::Local, &[("kim", "r"), ("lee", "r")]);
    s.send(0, "join_room", "").unwrap();
    s.send(1, "join_room", "").unwrap();
    let expect = [
        r#"r chatting {"msg":"kim님을 강퇴시켰습니다.","type":"notice","size":2}"#,
        r#"0 exit_room {"msg":"kim님을 강퇴시켰습니다.","type":"notice","name":"kim","size":2}"#,
        "exit 0 r",
    ];
    s.check(0, "exit_room", r#"{"name":"lee","mem_cnt":9}"#, &expect);
    assert!(s.gone(0).is_empty(), "no further notice");
}

#[test]
fn web_is_silent_on_reentry_and_trusts_the_pages_count() {
    let mut s = Stage::new(Profile::Web, &[("kim", "r"), ("lee", "r")]);
    for silent in ["", "null", "{}", r#"{"type":1}"#, r#"{"type":"1"}"#, r#"{"type":null}"#] {
        s.check(0, "join_room", silent, &["enter 0 r"]);
    }
    for (payload, size) in [
        (r#"{"type":0,"mem_cnt":5}"#, "5"),
        (r#"{"type":"0","mem_cnt":"5"}"#, "5"),
        (r#"{"type":0}"#, "1"),
        (r#"{"type":0,"mem_cnt":"many"}"#, "1"),
        (r#"{"type":0,"mem_cnt":null}"#, "1"),
        (r#"{"type":0,"mem_cnt":{}}"#, "1"),
    ] {
        let notice =
            format!(r#"r chatting {{"msg":"kim 님이 입장하셨습니다.","type":"notice","size":{size}}}"#);
        s.check(0, "join_room", payload, &["enter 0 r", &notice]);
    }
    s.send(1, "join_room", "").unwrap();
    let left = ["exit 1 r", r#"r chatting {"msg":"lee 님이 퇴장하셨습니다.","type":"notice","size":4}"#];
    s.check(1, "leave_room", r#"{"mem_cnt":5}"#, &left);
    assert!(s.gone(0).is_empty(), "silent when the socket goes away");
}

#[test]
fn web_exit_concerns_the_named() {
    let mut s = Stage::new(Profile::Web, &[("kim", "r"), ("lee", "r"), ("lee", "r"), ("lee", "q")]);
    for who in 0..4 {
        s.send(who, "join_room", "").unwrap();
    }
    let expect = [
        r#"r chatting {"msg":"lee 님을 챗방에서 내보냈습니다.","type":"notice","size":6}"#,
        r#"1 exit_room {"msg":"lee 님을 챗방에서 내보냈습니다.","type":"notice","name":"lee","size":6}"#,
        r#"2 exit_room {"msg":"lee 님을 챗방에서 내보냈습니다.","type":"notice","name":"lee","size":6}"#,
        "exit 1 r",
        "exit 2 r",
    ];
    s.check(0, "exit_room", r#"{"name":"lee","mem_cnt":7}"#, &expect);
    let own = s.send(0, "exit_room", "{}").unwrap();
    assert_eq!(own.last().map(String::as_str), Some("exit 0 r"), "the sender when the name is missing");
}

#[test]
fn react_names_room_and_nickname_in_each_payload() {
    let mut s = Stage::new(Profile::React, &[("", ""), ("kim", "h")]);
    let notice = r#"{"msg":"lee 님이 입장하셨습니다.","type":"notice","size":1,"name":"lee"}"#;
    let expect = ["enter 0 7".to_owned(), format!("7 chatting {notice}"), format!("7 join_room {notice}")];
    s.check(0, "join_room", r#"{"idx":7,"name":"lee","type":0}"#, &expect.each_ref().map(String::as_str));
    let hi = r#"7 chatting {"msg":null,"name":"2","type":"chat","time":"오후 03:04","view":1}"#;
    s.check(0, "chatting", r#"{"idx":"7","name":2,"msg":null}"#, &[hi]);
    let handshake = r#"h chatting {"msg":"x","name":"kim","type":"chat","time":"오후 03:04","view":0}"#;
    s.check(1, "chatting", r#"{"msg":"x","idx":"","name":null}"#, &[handshake]);
    s.check(0, "join_room", r#"{"idx":8,"name":"lee"}"#, &["enter 0 8"]);
    s.check(0, "join_room", r#"{"idx":9,"name":"lee"}"#, &["enter 0 9"]);
    s.check(0, "join_room", r#"{"idx":10,"name":"lee"}"#, &["refused: in 3 rooms already: leave one first"]);
}

#[test]
fn whatever_is_malformed_is_refused_and_changes_nothing() {
    let no_room = "refused: no room: give `room` in the handshake query";
    let no_name = "refused: no name: give `name` in the handshake query";
    for (profile, event, payload, refusal) in [
        (Profile::Local, "chatting", "", "refused: the payload of `chatting` must be the message"),
        (Profile::Web, "join_room", "[]", "refused: the payload of `join_room` must be an object"),
        (Profile::Web, "leave_room", "\"x\"", "refused: the payload of `leave_room` must be an object"),
        (Profile::Web, "exit_room", r#"{"name":[]}"#, "refused: `name` is not a text or a number"),
        (Profile::React, "chatting", "\"x\"", "refused: the payload of `chatting` must be an object"),
        (Profile::React, "chatting", "", "refused: the payload of `chatting` must be an object"),
        (
            Profile::React,
            "chatting",
            r#"{"idx":1}"#,
            "refused: the payload of `chatting` must be {idx, name, msg}",
        ),
        (Profile::React, "join_room", r#"{"idx":true}"#, "refused: `idx` is not a text or a number"),
        (
            Profile::React,
            "join_room",
            r#"{"idx":"12345678901234567"}"#,
            "refused: `room` is longer than 16 bytes",
        ),
        (
            Profile::React,
            "join_room",
            r#"{"name":"12345678901234567"}"#,
            "refused: `name` is longer than 16 bytes",
        ),
        (
            Profile::Web,
            "shout",
            "1",
            "refused: there is no such event; there are join_room, chatting, leave_room and exit_room",
        ),
    ] {
        let mut s = Stage::new(profile, &[("kim", "r")]);
        s.check(0, event, payload, &[refusal]);
        assert_eq!(s.chat.room_count(), 0);
    }
    for event in ["join_room", "leave_room", "exit_room"] {
        Stage::new(Profile::Web, &[("kim", "")]).check(0, event, "{}", &[no_room]);
        let refusal =
            if event == "exit_room" { format!("{no_name} or in the payload") } else { no_name.to_owned() };
        Stage::new(Profile::Web, &[("", "r")]).check(0, event, "{}", &[&refusal]);
        Stage::new(Profile::Web, &[("a name that is long", "r")]).check(
            0,
            event,
            "{}",
            &["refused: `name` is longer than 16 bytes"],
        );
    }
}

#[test]
fn leaving_where_one_is_not_says_nothing() {
    for profile in [Profile::Local, Profile::Web, Profile::React] {
        Stage::new(profile, &[("kim", "r")]).check(0, "leave_room", "", &[]);
    }
}

#[test]
fn a_message_passes_untouched() {
    let deepest = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for msg in [
        "0",
        "-0",
        "1e21",
        "12345678901234567890",
        "0.1",
        "null",
        "false",
        r#""""#,
        r#"{"b":1,"a":[{},[]]}"#,
        r#""\u0000\u2028""#,
        "\"\u{2028}😀\"",
        r#""\ud800""#,
        &deepest,
    ] {
        let said = Stage::new(Profile::Web, &[("kim", "r")]).send(0, "chatting", msg).unwrap();
        let expect =
            format!(r#"r chatting {{"msg":{msg},"name":"kim","type":"chat","time":"오후 03:04","view":0}}"#);
        assert_eq!(said, [expect]);
    }
    let deeper = format!("[{deepest}]");
    Stage::new(Profile::Web, &[("kim", "r")]).check(
        0,
        "chatting",
        &deeper,
        &["refused: the payload is nested deeper than 128 levels"],
    );
}

#[test]
fn attachments_go_where_their_placeholders_are() {
    let one = || vec![bytes::Bytes::from_static(b"hi")];
    // What cannot be kept as a number goes by all the same.
    let place = |num| {
        format!(
            r#"["chatting",{{"a":1.0e2,"b":12345678901234567890.5,"file":{{"_placeholder":true,"num":{num}}}}}]"#
        )
    };
    for num in ["1", "-1", "\"x\"", "null"] {
        assert_eq!(parse(&place(num), one()).unwrap().1.unwrap_err(), Refusal::Attachments);
    }
    let payload = parse(&place("0"), one()).unwrap().1.unwrap();
    let mut chat = Chat::new(Profile::Web, limits());
    let kim = Identity { name: Given::new("kim", 9), room: Given::new("r", 9) };
    let effects = chat.handle(0, plain(&kim), Kind::Chat, &payload, now()).unwrap();
    let [Effect::Say(_, "chatting", body)] = &effects[..] else { panic!("{effects:?}") };
    let (json, attachments) = body.parts();
    assert!(
        json.starts_with(
            r#"{"msg":{"a":1.0e2,"b":12345678901234567890.5,"file":{"_placeholder":true,"num":0}},"#
        ),
        "{json}"
    );
    assert_eq!(attachments, &one()[..]);
}

/// With tokens: what each may ask for, in every profile.
#[test]
fn a_token_says_what_one_may() {
    let may = |rooms: &[&str], may_exit| Rights {
        name: "kim".into(),
        rooms: Allowed::Only(rooms.iter().map(|room| (*room).into()).collect()),
        may_exit,
        expires: 0,
    };
    let (plainly, moderator) = (may(&["r"], false), may(&["r"], true));
    let any = Rights { rooms: Allowed::Any, ..plainly.clone() };
    for (profile, said, rights, event, payload, expect) in [
        (Profile::Web, ("kim", "r"), &plainly, "join_room", "{}", Ok(())),
        (Profile::Web, ("", "r"), &plainly, "join_room", "{}", Ok(())),
        (Profile::Web, ("kim", "x"), &plainly, "join_room", "{}", Err(Refusal::NotYourRoom)),
        (Profile::Web, ("kim", "x"), &any, "join_room", "{}", Ok(())),
        (Profile::React, ("", ""), &plainly, "join_room", r#"{"idx":"r"}"#, Ok(())),
        (
            Profile::React,
            ("", ""),
            &plainly,
            "join_room",
            r#"{"idx":"r","name":"lee"}"#,
            Err(Refusal::NotYourName),
        ),
        (
            Profile::React,
            ("", ""),
            &plainly,
            "join_room",
            r#"{"idx":"x","name":"kim"}"#,
            Err(Refusal::NotYourRoom),
        ),
        (
            Profile::React,
            ("", ""),
            &plainly,
            "chatting",
            r#"{"idx":"r","name":"lee","msg":1}"#,
            Err(Refusal::NotYourName),
        ),
        (Profile::React, ("", ""), &plainly, "chatting", r#"{"idx":"r","msg":1}"#, Ok(())),
        (Profile::React, ("", ""), &any, "chatting", r#"{"idx":"x","msg":1}"#, Err(Refusal::NotJoined)),
        (
            Profile::React,
            ("", ""),
            &plainly,
            "exit_room",
            r#"{"idx":"r","name":"lee"}"#,
            Err(Refusal::NotYourRole),
        ),
        (Profile::React, ("", ""), &plainly, "exit_room", r#"{"idx":"r","name":"kim"}"#, Ok(())),
        (Profile::React, ("", ""), &moderator, "exit_room", r#"{"idx":"r","name":"lee"}"#, Ok(())),
        (
            Profile::React,
            ("", ""),
            &moderator,
            "exit_room",
            r#"{"idx":"x","name":"lee"}"#,
            Err(Refusal::NotYourRoom),
        ),
        (Profile::Web, ("kim", "r"), &plainly, "exit_room", r#"{"name":"lee"}"#, Err(Refusal::NotYourRole)),
        (Profile::Local, ("kim", "r"), &plainly, "exit_room", r#"{"name":"lee"}"#, Ok(())),
        (Profile::Web, ("kim", "r"), &plainly, "leave_room", "{}", Ok(())),
    ] {
        let mut chat = Chat::new(profile, limits());
        let identity =
            |(name, room): (&str, &str)| Identity { name: Given::new(name, 16), room: Given::new(room, 16) };
        let inside = identity(("kim", "r"));
        let join = parse(r#"["join_room",{"idx":"r"}]"#, Vec::new()).unwrap().1.unwrap();
        chat.handle(0, Caller { said: &inside, rights: Some(&plainly) }, Kind::Join, &join, now()).unwrap();
        let said = identity(said);
        let (name, payload) = parse(&format!("[{event:?},{payload}]"), Vec::new()).unwrap();
        let caller = Caller { said: &said, rights: Some(rights) };
        let done = chat.handle(0, caller, Kind::named(&name).unwrap(), &payload.unwrap(), now());
        assert_eq!(done.map(drop), expect, "{profile:?} {event} {said:?}");
    }
    let seat = |room: &str, name: &str| (room.into(), name.into());
    assert!(plainly.allow_seats([seat("r", "kim")].iter()) && plainly.allow_seats([].iter()));
    assert!(!plainly.allow_seats([seat("r", "kim"), seat("x", "kim")].iter()));
    assert!(!any.allow_seats([seat("r", "lee")].iter()));
}

#[test]
fn a_room_has_a_pace_of_its_own() {
    let rate = Rate { per_second: 1, burst: 2 };
    let mut chat = Chat::new(Profile::React, Limits { room_messages: rate, ..limits() });
    let (nobody, at) = (Identity::default(), now());
    let mut send = |who, event: &str, room: &str, at| {
        let text = format!(r#"["{event}",{{"idx":"{room}","name":"n","msg":1}}]"#);
        let (name, payload) = parse(&text, Vec::new()).unwrap();
        chat.handle(who, plain(&nobody), Kind::named(&name).unwrap(), &payload.unwrap(), at).map(drop)
    };
    for room in ["a", "b"] {
        send(0, "join_room", room, at).unwrap();
    }
    assert!([0, 1].iter().all(|who| send(*who, "chatting", "a", at).is_ok()));
    assert_eq!(send(2, "chatting", "a", at), Err(Refusal::RoomTooFast { max: 1 }));
    assert!(send(2, "chatting", "b", at).is_ok(), "another room");
    assert!(send(2, "leave_room", "a", at).is_ok(), "anything else");
    let later = Now { at: at.at + std::time::Duration::from_secs(1), ..at };
    assert!(send(2, "chatting", "a", later).is_ok());
}

#[test]
fn who_is_away_does_not_count_and_comes_back_silently() {
    let mut s = Stage::new(Profile::Local, &[("kim", "r"), ("lee", "r")]);
    s.send(0, "join_room", "{}").unwrap();
    s.send(1, "join_room", "{}").unwrap();
    s.chat.lost(0);
    s.check(
        1,
        "chatting",
        "1",
        &[r#"r chatting {"msg":1,"name":"lee","type":"chat","time":"오후 03:04","view":1}"#],
    );
    assert_eq!(Stage::told(&s.chat.back(0)), ["enter 0 r"]);
    s.check(
        1,
        "chatting",
        "2",
        &[r#"r chatting {"msg":2,"name":"lee","type":"chat","time":"오후 03:04","view":2}"#],
    );
    assert!(s.chat.back(0).is_empty(), "it was back already");
    assert!(s.chat.overdue(0).is_empty(), "and is not announced");
}

#[test]
fn who_stays_away_is_announced_once() {
    let left = [r#"r chatting {"msg":"kim님이 퇴장하셨습니다.","type":"notice","size":1}"#];
    let mut s = Stage::new(Profile::Local, &[("kim", "r"), ("lee", "r")]);
    s.send(0, "join_room", "{}").unwrap();
    s.send(1, "join_room", "{}").unwrap();
    s.chat.lost(0);
    assert_eq!(Stage::told(&s.chat.overdue(0)), left);
    assert!(s.chat.overdue(0).is_empty());
    assert_eq!(Stage::told(&s.chat.back(0)), ["enter 0 r"], "late, but not too late");
    s.chat.lost(0);
    assert_eq!(s.gone(0), left, "the window is over before the grace");
    assert!(s.gone(0).is_empty());
    // Where the profile says nothing of those who go, it says nothing of those who stay away.
    let mut s = Stage::new(Profile::Web, &[("kim", "r")]);
    s.send(0, "join_room", "{}").unwrap();
    s.chat.lost(0);
    assert!(Stage::told(&s.chat.overdue(0)).is_empty());
}

#[test]
fn a_newcomer_steps_in_for_one_of_its_name_who_is_away_from_its_room() {
    let people = [("kim", "r"), ("kim", "other"), ("lee", "r"), ("kim", "r"), ("kim", "r"), ("", "")];
    let mut s = Stage::new(Profile::Local, &people);
    s.send(0, "join_room", "{}").unwrap();
    s.chat.lost(0);
    for (newcomer, enters) in [(1, 0), (2, 0), (5, 0), (3, 1), (4, 0)] {
        let identity = s.people[newcomer].clone();
        assert_eq!(Stage::told(&s.chat.step_in(newcomer, plain(&identity))).len(), enters, "{newcomer}");
    }
    assert!(s.chat.overdue(0).is_empty(), "nobody has gone");
    assert_eq!(Stage::told(&s.chat.back(0)), ["enter 0 r"], "it may come all the same");
}

#[test]
fn it_does_so_as_well_when_the_room_was_told_already() {
    let mut s = Stage::new(Profile::Local, &[("kim", "r"), ("kim", "r")]);
    s.send(0, "join_room", "{}").unwrap();
    s.chat.lost(0);
    assert_eq!(s.chat.overdue(0)[0], Effect::Stands(0, Standing::Announced));
    let back = s.chat.step_in(1, plain(&s.people[1].clone()));
    assert_eq!(back.iter().map(show).collect::<Vec<_>>(), ["0 stands Replaced", "enter 1 r"]);
    assert!(s.gone(0).is_empty());
}

#[test]
fn how_it_stands_with_those_away_outlives_the_server() {
    let notice = r#"r chatting {"msg":"kim님이 퇴장하셨습니다.","type":"notice","size":0}"#;
    for (standing, told) in [(Standing::Expected, 1), (Standing::Announced, 0), (Standing::Replaced, 0)] {
        let mut s = Stage::new(Profile::Local, &[]);
        s.chat.restore(0, vec![("r".into(), "kim".into())], standing);
        assert_eq!(s.gone(0), vec![notice; told], "{standing:?}");
    }
}

#[test]
fn who_is_thrown_out_while_away_does_not_come_back_into_the_room() {
    let mut s = Stage::new(Profile::Web, &[("kim", "r"), ("lee", "r")]);
    s.send(0, "join_room", "{}").unwrap();
    s.chat.lost(0);
    let effects = s.send(1, "exit_room", r#"{"name":"kim"}"#).unwrap();
    assert_eq!(effects[2], "exit 0 r", "{effects:?}");
    assert!(s.chat.back(0).is_empty());
}

proptest! {
    /// Any text as a packet and any JSON-like payload under any profile is accepted or refused, never a panic.
    #[test]
    fn nothing_panics(text in ".{0,80}", keys in prop::collection::vec(("idx|name|type|mem_cnt|msg", "[0-9a-z\"{}\\[\\],:.-]{0,8}"), 0..5)) {
        let _ = parse(&text, Vec::new());
        let fields: Vec<_> = keys.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        for profile in [Profile::Local, Profile::Web, Profile::React] {
            for event in ["join_room", "chatting", "leave_room", "exit_room"] {
                if let Ok((_, Ok(payload))) = parse(&format!("[\"{event}\",{{{}}}]", fields.join(",")), Vec::new()) {
                    let kind = Kind::named(event).unwrap();
                    let _ = Chat::new(profile, limits()).handle(0, plain(&Identity::default()), kind, &payload, now());
                }
            }
        }
    }
}
