//! Apps that come and go with chat.toml, are renamed, and change places.

use crate::program::{Supervisor, chatctl, free_port, handshake, knocking, signal, stderr, until};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
};

/// Apps by name and port.
fn toml(apps: &[(&str, u16)]) -> String {
    let app = |(name, port): &(&str, u16)| {
        format!(
            "[[app]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\nwatch = true\nmin_uptime = \"500ms\"\n"
        )
    };
    format!("state_dir = \"state\"\n{}", apps.iter().map(app).collect::<String>())
}

/// Waits until the app `chatting` has answered a probe, which asks as a client does, and gives its status.
fn answered(supervisor: &Supervisor, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    until("an answer to a probe", || {
        supervisor
            .app()
            .filter(|app| app["state"] == "online" && app["health_latency_ms"].is_number() && is(app))
    })
}

/// Waits until these apps and no others are online at these ports, as they are to be.
fn settled(supervisor: &Supervisor, apps: &[(&str, u16)]) {
    let expected: Vec<_> =
        apps.iter().map(|(name, port)| (name.to_string(), format!("127.0.0.1:{port}"))).collect();
    let text = |app: &serde_json::Value, key: &str| app[key].as_str().unwrap_or_default().to_owned();
    until("the apps to be as chat.toml says", || {
        let status = supervisor.status()?;
        let apps = status["apps"].as_array()?;
        let are: Vec<_> = apps.iter().map(|app| (text(app, "name"), text(app, "listen"))).collect();
        let well = apps.iter().all(|app| app["state"] == "online" && app["refused"].is_null());
        (are == expected && well).then_some(())
    });
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn apps_that_are_renamed_or_change_places_refuse_nobody() {
    let (one, two) = (free_port(), free_port());
    let supervisor = Supervisor::prepare("");
    let write = |apps: &[(&str, u16)]| fs::write(supervisor.path("chat.toml"), toml(apps)).unwrap();
    write(&[("chatting", one), ("web", two)]);
    let supervisor = supervisor.launch();
    let write = |apps: &[(&str, u16)]| {
        fs::write(supervisor.path("chat.toml"), toml(apps)).unwrap();
        settled(&supervisor, apps);
    };
    settled(&supervisor, &[("chatting", one), ("web", two)]);
    knocking(&[at(one), at(two)], || {
        write(&[("talk", one), ("web", two)]);
        write(&[("talk", two), ("web", one)]);
        write(&[("web", one), ("talk", two)]);
    });
    for port in [one, two] {
        assert!(handshake(at(port)).unwrap().contains("\"sid\""));
    }
}

#[test]
fn an_app_that_goes_and_comes_back_is_one_app() {
    let (one, two) = (free_port(), free_port());
    let supervisor = Supervisor::prepare("");
    fs::write(supervisor.path("chat.toml"), toml(&[("chatting", one), ("web", two)])).unwrap();
    let supervisor = supervisor.launch();
    fs::write(supervisor.path("chat.toml"), toml(&[("chatting", one)])).unwrap();
    settled(&supervisor, &[("chatting", one)]);
    assert!(handshake(at(two)).is_err(), "its address is closed");
    // An order sees chat.toml as it is, whether its change has been noticed or not.
    fs::write(supervisor.path("chat.toml"), toml(&[("chatting", one), ("web", two)])).unwrap();
    let output = chatctl(supervisor.dir.path(), &["start", "web"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    settled(&supervisor, &[("chatting", one), ("web", two)]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let third = [("chatting", one), ("web", two), ("third", taken.local_addr().unwrap().port())];
    fs::write(supervisor.path("chat.toml"), toml(&third)).unwrap();
    let output = chatctl(supervisor.dir.path(), &["start", "third"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is in use by another program"), "{}", stderr(&output));
    drop(taken);
    let output = chatctl(supervisor.dir.path(), &["start", "third"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    settled(&supervisor, &third);
}

#[test]
fn who_connects_to_a_stopped_app_is_refused_and_does_not_wait_in_vain() {
    let supervisor = Supervisor::start("");
    let folder = supervisor.dir.path();
    // One that is started again at once has refused nobody.
    knocking(&[at(supervisor.port)], || {
        assert!(chatctl(folder, &["stop"]).status.success());
        assert!(chatctl(folder, &["start"]).status.success());
    });
    assert!(chatctl(folder, &["stop"]).status.success());
    until("its address to be closed", || TcpStream::connect(at(supervisor.port)).is_err().then_some(()));
    let events = String::from_utf8(chatctl(folder, &["events"]).stdout).unwrap();
    assert!(events.contains("chatting  stopping") && events.contains(": asked to stop"), "{events}");
    // Its address is free meanwhile, and it may come back to another that is in the way of the first.
    let wider = format!(
        "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\nlisten = \"0.0.0.0:{}\"\n",
        supervisor.port
    );
    fs::write(supervisor.path("chat.toml"), wider).unwrap();
    let output = chatctl(folder, &["start"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(supervisor.handshake().unwrap().contains("\"sid\""));
    let narrow = format!(
        "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\nlisten = \"127.0.0.1:{}\"\n",
        supervisor.port
    );
    fs::write(supervisor.path("chat.toml"), narrow).unwrap();
    let output = chatctl(folder, &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("some seconds after `chatctl stop`"), "{}", stderr(&output));
}

#[test]
fn an_app_on_any_port_is_asked_where_it_really_is_and_stays_there() {
    let toml = |port: u16, more: &str| {
        let keys = format!("probe_interval = \"100ms\"\nmin_uptime = \"100ms\"\n{more}");
        format!(
            "state_dir = \"state\"\n[[app]]\nname = \"chatting\"\nlisten = \"127.0.0.1:{port}\"\n{keys}\n"
        )
    };
    let mut supervisor = Supervisor::prepare("");
    fs::write(supervisor.path("chat.toml"), toml(0, "")).unwrap();
    supervisor = supervisor.launch();
    let first = answered(&supervisor, |_| true);
    let listen = first["listen"].as_str().unwrap().to_owned();
    let address: SocketAddr = listen.parse().unwrap();
    assert_ne!(address.port(), 0, "{first}");
    let shown = String::from_utf8(chatctl(supervisor.dir.path(), &["status"]).stdout).unwrap();
    assert!(shown.contains(&listen), "{shown}");
    knocking(&[address], || {
        let mut last = first["pid"].clone();
        // Any port, and just this one, are the same to who has it.
        for (n, port) in [0, address.port(), 0].into_iter().enumerate() {
            fs::write(supervisor.path("chat.toml"), toml(port, &format!("probe_failures = {}", n + 1)))
                .unwrap();
            let reloaded = chatctl(supervisor.dir.path(), &["reload"]);
            assert!(reloaded.status.success(), "{}", stderr(&reloaded));
            let app = answered(&supervisor, |app| app["pid"] != last);
            assert_eq!(
                (&app["listen"], &app["restarts"]),
                (&listen.as_str().into(), &(n + 1).into()),
                "{app}"
            );
            last = app["pid"].clone();
        }
    });
    signal(supervisor.pid(), "KILL");
    supervisor.ended();
    supervisor = supervisor.launch();
    let adopted = answered(&supervisor, |_| true);
    assert_eq!((&adopted["listen"], &adopted["restarts"]), (&listen.as_str().into(), &0.into()), "{adopted}");
    assert!(handshake(address).unwrap().contains("\"sid\""));
}
