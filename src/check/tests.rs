//! Tables: a configuration and a machine that fit, and what is said when one thing about them is different.

use super::{
    facts::{Expiry, Filesystem, Folder, Port, Program, RunsAs},
    *,
};

const TOML: &str = "state_dir = \"/var/lib/chatctl\"\n[cors]\norigins = [\"https://a.example\"]\n[page]\ndir = \"public\"\n[[app]]\nname = \"web\"\nlisten = 4000\nmax_memory_restart = \"300M\"\n[[app]]\nname = \"mail\"\ncommand = [\"node\", \"mail.js\"]\n";

fn config(more: &str) -> Config {
    Config::from_text(&format!("{TOML}{more}"), Some(std::path::Path::new("/srv/chat.toml"))).unwrap()
}

fn fitting() -> Facts {
    let folder = |path: &str| Folder {
        path: path.into(),
        refused: None,
        filesystem: Filesystem::Disk,
        free: 100 << 30,
    };
    let program = Program { path: Some("/usr/bin/node".into()), executable: true, cwd_is_there: true };
    Facts {
        ports: vec![("web".to_owned(), "0.0.0.0:4000".parse().unwrap(), Port::Free)],
        programs: vec![("mail".to_owned(), program)],
        state_dir: folder("/var/lib/chatctl"),
        journal: Some(folder("/var/lib/chatctl/journal")),
        page: Some(Vec::new()),
        nofile: Some(1 << 20),
        inotify_watches: Some(60_000),
        watched_folders: 10,
        somaxconn: Some(4096),
        memory: 8 << 30,
        now: 2_000_000_000,
        built: 1_900_000_000,
        ..Facts::default()
    }
}

/// What is found when one thing is different: how bad, where, what.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = fitting();
    change(&mut facts);
    let report = Report::new(&config(""), &facts);
    assert!(report.findings.iter().all(|finding| !finding.mend.is_empty()));
    let word = |severity| if severity == Severity::Problem { "problem" } else { "remark" };
    report.findings.iter().map(|f| format!("{}: {}: {}", word(f.severity), f.place, f.what)).collect()
}

fn check(change: impl FnOnce(&mut Facts), expect: &str) {
    assert_eq!(found(change), [expect]);
}

#[test]
fn what_fits_is_left_alone() {
    assert_eq!(found(|_| {}), [] as [&str; 0]);
    assert_eq!(found(|facts| facts.ports[0].2 = Port::Ours), [] as [&str; 0], "our own supervisor has it");
    let report = Report::new(&config(""), &fitting());
    assert_eq!(
        (report.ok, report.worst(), report.text().as_str()),
        (true, None, "/srv/chat.toml: nothing to mend\n")
    );
}

#[test]
fn ports_are_judged() {
    let port = |port| move |facts: &mut Facts| facts.ports[0].2 = port;
    check(
        port(Port::Taken),
        "problem: /srv/chat.toml:8: app.web.listen: 0.0.0.0:4000 is in use by another program",
    );
    check(
        port(Port::Forbidden),
        "problem: /srv/chat.toml:8: app.web.listen: 0.0.0.0:4000: this user may not listen there",
    );
    check(
        port(Port::Nowhere),
        "problem: /srv/chat.toml:8: app.web.listen: this machine has no address 0.0.0.0",
    );
}

#[test]
fn limits_of_the_machine_are_judged() {
    check(
        |facts| facts.nofile = Some(4096),
        "remark: /srv/chat.toml: limits.max_connections: RLIMIT_NOFILE is 4096: 3996 people find room in a server, 50000 are let in",
    );
    assert!(found(|facts| facts.nofile = Some(1024))[0].starts_with("problem: "));
    check(
        |facts| facts.somaxconn = Some(128),
        "remark: net.core.somaxconn: 128 connections may wait during a restart, 4096 are asked for",
    );
    check(
        |facts| facts.watched_folders = 70_000,
        "problem: fs.inotify.max_user_watches: 70000 folders are to be watched, and this user may watch 60000",
    );
    check(
        |facts| facts.memory = 256 << 20,
        "problem: max_memory_restart of the enabled apps: together 300M, and there are 256M of memory",
    );
    check(
        |facts| facts.memory = 512 << 20,
        "remark: max_memory_restart of the enabled apps: together 300M, of 512M of memory: a reload runs two of one app for a moment",
    );
    check(
        |facts| facts.now = 1_800_000_000,
        "problem: the clock: it is before the day this program was built: times of messages and logs are wrong, certificates seem invalid",
    );
}

#[test]
fn folders_are_judged() {
    check(
        |facts| facts.state_dir.refused = Some("/var/lib: Permission denied".to_owned()),
        "problem: /srv/chat.toml:1: state_dir: /var/lib/chatctl cannot be written: /var/lib: Permission denied",
    );
    check(
        |facts| facts.state_dir.free = 1 << 20,
        "problem: /srv/chat.toml:1: state_dir: 1M are free for logs in /var/lib/chatctl",
    );
    check(
        |facts| facts.journal.as_mut().unwrap().free = 200 << 20,
        "remark: /srv/chat.toml: recovery.path: the journal in /var/lib/chatctl/journal may take 256M, and 200M are free",
    );
    check(
        |facts| facts.journal.as_mut().unwrap().filesystem = Filesystem::Network,
        "problem: /srv/chat.toml: recovery.path: the journal in /var/lib/chatctl/journal is on a network filesystem: each message would wait for it",
    );
    check(
        |facts| facts.state_dir.filesystem = Filesystem::Memory,
        "remark: /srv/chat.toml:1: state_dir: /var/lib/chatctl is in memory: logs and recovery are gone after a reboot",
    );
    check(
        |facts| facts.page = Some(vec!["index.html", "room.html"]),
        "problem: /srv/chat.toml:5: page.dir: /srv/public has neither index.html nor room.html, or is not there",
    );
    check(
        |facts| facts.unwatchable = vec![("web".to_owned(), "/srv/lib".into())],
        "remark: /srv/chat.toml: app.web.watch: lib is not there",
    );
}

#[test]
fn programs_are_judged() {
    check(
        |facts| facts.programs[0].1.path = None,
        "problem: /srv/chat.toml:12: app.mail.command: node is nowhere in PATH",
    );
    check(
        |facts| facts.programs[0].1.executable = false,
        "problem: /srv/chat.toml:12: app.mail.command: /usr/bin/node is not executable",
    );
    check(
        |facts| facts.programs[0].1.cwd_is_there = false,
        "problem: /srv/chat.toml: app.mail.cwd: there is no such folder",
    );
}

#[test]
fn users_are_judged_of_chats_too() {
    let at = "/srv/chat.toml";
    for app in ["web", "mail"] {
        let owner = |owner| move |facts: &mut Facts| facts.owners = vec![(app.to_owned(), owner)];
        check(
            owner(RunsAs::Nobody("there is no user kim".to_owned())),
            &format!("problem: {at}: app.{app}.user: there is no user kim"),
        );
        check(
            owner(RunsAs::Another),
            &format!("problem: {at}: app.{app}.user: only root may run an app as somebody else"),
        );
        assert_eq!(found(owner(RunsAs::Us)), [] as [&str; 0]);
    }
    let root = |facts: &mut Facts| {
        facts.owners = vec![("web".to_owned(), RunsAs::Another)];
        facts.is_root = true;
    };
    assert_eq!(found(root), [] as [&str; 0]);
}

#[test]
fn certificates_are_judged() {
    let certificate = |left: i64| {
        move |facts: &mut Facts| {
            let at = facts.now.saturating_add_signed(left);
            facts.certificates = vec![("web".to_owned(), Ok(Expiry { at, day: "2033-05-18".to_owned() }))];
        }
    };
    const DAYS: i64 = 86_400;
    assert_eq!(found(certificate(14 * DAYS)), [] as [&str; 0]);
    check(
        certificate(14 * DAYS - 1),
        "remark: /srv/chat.toml: app.web.tls: the certificate expires on 2033-05-18, in 13 days",
    );
    for left in [0, -100 * DAYS] {
        check(
            certificate(left),
            "problem: /srv/chat.toml: app.web.tls: the certificate has expired on 2033-05-18: browsers refuse to connect",
        );
    }
    check(
        |facts| {
            facts.certificates = vec![("web".to_owned(), Err("/srv/key.pem: Permission denied".to_owned()))]
        },
        "problem: /srv/chat.toml: app.web.tls: /srv/key.pem: Permission denied",
    );
}

#[test]
fn keys_and_who_may_read_them_are_judged() {
    check(
        |facts| facts.keys = Some("/srv/keys: there is no key in it".to_owned()),
        "problem: /srv/chat.toml: auth.keys: /srv/keys: there is no key in it",
    );
    check(
        |facts| facts.open_secrets = vec![("app.web.tls".to_owned(), "/srv/key.pem".into())],
        "remark: /srv/chat.toml: app.web.tls: everybody on this machine may read key.pem",
    );
    check(
        |facts| facts.unreadable = vec![("web".to_owned(), "/srv/key.pem".into(), "/srv".into())],
        "remark: /srv/chat.toml: app.web.user: it may not read key.pem, because of the modes of /srv: a new one could not be taken up",
    );
    check(
        |facts| facts.impassable = vec![("web".to_owned(), "/root".into())],
        "problem: /srv/chat.toml: app.web.user: it cannot pass through /root to the state_dir",
    );
}

#[test]
fn the_configuration_itself_is_judged() {
    let open = Config::from_text(&TOML.replace("https://a.example", "*"), None).unwrap();
    let report = Report::new(&open, &fitting());
    assert_eq!(report.findings[0].what, "pages of any origin may connect");
    assert_eq!((report.ok, report.worst()), (true, Some(Severity::Remark)));
    let long = Config::from_text(&TOML.replace("/var/lib", &format!("/{}", "x".repeat(80))), None).unwrap();
    assert!(Report::new(&long, &fitting()).findings[0].what.contains("paths of up to"));
    let report = Report::wrong(&Config::from_text("x = 1", Some("/srv/chat.toml".as_ref())).unwrap_err());
    assert_eq!((report.ok, report.worst(), report.findings.len()), (false, Some(Severity::Config), 2));
    assert!(report.findings[1].place.ends_with("/srv/chat.toml:1: x"), "{:?}", report.findings);
}
