//! Screens as they look, held by snapshots, and what keys do.

use super::{
    model::{Deed, Key, Mode, Model, Sample},
    view,
};
use crate::control::types::{Action, AppStatus, Health, Recovery, RoomSize, Status, Supervisor};
use ratatui::{Terminal, backend::TestBackend, style::Color};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

fn app(name: &str, health: Health) -> AppStatus {
    let json = serde_json::json!({
        "name": name, "state": if health == Health::Ok { "online" } else { "crash-looping" }, "pid": 42, "uptime_s": 7,
        "restarts": 3, "last_reason": null, "memory_bytes": 96 << 20, "memory_limit_bytes": 300 << 20,
        "cpu_percent": 12.5, "listen": "0.0.0.0:3000", "profile": "web", "health": health, "health_reason": null,
        "health_latency_ms": 0.42, "connections": 1234, "rooms": 7, "recovery": Recovery::default(), "log_file": "/x",
    });
    serde_json::from_value(json).unwrap()
}

fn status() -> Status {
    let supervisor = Supervisor {
        pid: 7,
        uptime_s: 3723,
        version: "0".into(),
        config: None,
        config_problems: Vec::new(),
        problems: Vec::new(),
    };
    Status { supervisor, apps: vec![app("chatting", Health::Ok), app("web", Health::Unhealthy)] }
}

fn sample(seconds: u64) -> BTreeMap<String, Sample> {
    let room = |room: &str, members| RoomSize { room: room.into(), members };
    let rooms = vec![room("lobby", 812), room("\u{1b}[31mred", 20), room("김", 3)];
    let sample = Sample { accepted: 10 * seconds * seconds, delivered: 500 * seconds, rooms };
    [("chatting".to_owned(), sample)].into()
}

fn model() -> Model {
    let (mut model, begun) = (Model::default(), Instant::now());
    for second in 0..60 {
        let mut status = status();
        status.apps[0].memory_bytes = (40 + second) << 20;
        model.sampled(status, &sample(second), begun + Duration::from_secs(second));
    }
    for n in 0..30 {
        model
            .logged("chatting".into(), &format!("2026-01-02T03:04:{n:02}.000+00:00 err | line {n}\u{1b}[2J"));
    }
    model.logged("web".into(), "2026-01-02T03:04:00.000+00:00 err | of another app");
    model
}

fn screen(model: &Model, width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, colour)).unwrap();
    terminal
}

#[test]
fn it_looks_right_at_every_size() {
    for (width, height) in [(80, 24), (120, 40), (70, 18), (60, 15)] {
        let screen = screen(&model(), width, height, true);
        insta::assert_snapshot!(format!("{width}x{height}"), screen.backend());
    }
}

#[test]
fn why_the_one_that_is_looked_at_does_not_work_is_said() {
    let mut model = model();
    let mut status = status();
    let web = &mut status.apps[1];
    (web.last_reason, web.next_start_in_s) = (Some("exited with code 3".into()), Some(2.5));
    (web.unstable_restarts, web.max_restarts) = (6, 16);
    model.sampled(status, &sample(61), Instant::now());
    let says = "web: exited with code 3; starts again in 2.5 s (failed 6 times in a row";
    assert!(!screen(&model, 80, 24, false).backend().to_string().contains("starts again"));
    model.pressed(Key::Down);
    let shown = screen(&model, 80, 24, false).backend().to_string();
    assert!(shown.contains(says), "{shown}");
}

#[test]
fn no_size_is_too_odd() {
    for (width, height) in [(1, 1), (0, 0), (70, 1), (1, 18), (500, 18), (71, 200)] {
        screen(&model(), width, height, true);
        screen(&Model::default(), width, height, false);
    }
}

#[test]
fn without_colours_it_has_none_and_says_the_same() {
    let (plain, coloured) = (screen(&model(), 80, 24, false), screen(&model(), 80, 24, true));
    let colours = |screen: &Terminal<TestBackend>| {
        let cells = screen.backend().buffer().content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(&plain), 0);
    assert!(colours(&coloured) > 0);
    assert!(
        coloured.backend().buffer().content().iter().all(|cell| cell.bg == Color::Reset),
        "light and dark"
    );
    assert_eq!(plain.backend().to_string(), coloured.backend().to_string());
}

#[test]
fn a_supervisor_that_is_away_is_said_to_be() {
    let mut model = model();
    model.lost("Connection refused".into());
    let shown = screen(&model, 100, 24, false).backend().to_string();
    assert!(shown.contains("no supervisor answers, what is shown is old: Connection refused"), "{shown}");
    assert!(shown.contains("chatting"), "{shown}");
    model.sampled(status(), &sample(61), Instant::now());
    assert!(!screen(&model, 100, 24, false).backend().to_string().contains("no supervisor"));
}

#[test]
fn rates_are_those_of_one_process() {
    let (mut model, begun) = (Model::default(), Instant::now());
    for (second, counted) in [(0, 0), (1, 1), (3, 3), (4, 1)] {
        model.sampled(status(), &sample(counted), begun + Duration::from_secs(second));
    }
    // 10 in the first second, 80 in the next two; then another process has counted less.
    assert_eq!(model.series["chatting"].said, [0, 10, 40, 0]);
}

#[test]
fn keys_ask_before_they_do() {
    let mut model = model();
    let mut press = |key| model.pressed(key);
    assert_eq!(press(Key::Char('y')), Deed::Nothing, "to no question");
    assert_eq!(press(Key::Char('R')), Deed::Nothing);
    assert_eq!(press(Key::Char('n')), Deed::Nothing);
    assert_eq!(press(Key::Char('y')), Deed::Nothing, "it was answered");
    press(Key::Down);
    press(Key::Down);
    press(Key::Char('s'));
    assert_eq!(press(Key::Char('y')), Deed::Order(Action::Stop, "web".into()));
    press(Key::Up);
    for (key, action) in [('r', Action::Reload), ('R', Action::Restart), ('S', Action::Start)] {
        press(Key::Char(key));
        assert_eq!(press(Key::Char('y')), Deed::Order(action, "chatting".into()));
    }
    assert_eq!(press(Key::Char('q')), Deed::Quit);
}

#[test]
fn the_filter_is_typed_and_forgotten() {
    let mut model = model();
    "/LINE 2q".chars().for_each(|c| assert_eq!(model.pressed(Key::Char(c)), Deed::Nothing));
    model.pressed(Key::Backspace);
    model.pressed(Key::Enter);
    assert_eq!((model.lines().count(), &model.mode), (11, &Mode::Look));
    assert!(screen(&model, 80, 24, false).backend().to_string().contains("log of chatting with \"LINE 2\""));
    model.pressed(Key::Escape);
    assert_eq!(model.lines().count(), 30);
}

#[test]
fn who_writes_much_leaves_the_others_their_lines() {
    let mut model = model();
    let before = model.lines().count();
    (0..5000).for_each(|n| model.logged("web".into(), &n.to_string()));
    assert_eq!(model.lines().count(), before);
    model.pressed(Key::Down);
    assert_eq!(model.lines().last(), Some("4999"));
    assert!(model.lines().count() <= 1000);
}

#[test]
fn what_is_logged_moves_no_cursor() {
    let shown = screen(&model(), 80, 24, false);
    assert!(shown.backend().buffer().content().iter().all(|cell| !cell.symbol().contains('\u{1b}')));
}
