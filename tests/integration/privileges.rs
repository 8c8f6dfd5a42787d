//! Who may do what: the user a server runs as, the control socket, the files that are written. Needs root to change users.

use crate::{
    client::{Client, text},
    program::{self, Supervisor, chatctl, until},
};
use std::{
    fs,
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

const NOBODY: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn status(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_server_gives_up_roots_rights_and_keeps_its_journal() {
    if !is_root() {
        return;
    }
    let supervisor =
        Supervisor::start("user = \"nobody\"\ngroup = \"nogroup\"\nwatch = true\nprobe_interval = 100");
    let first = supervisor.child();
    assert_eq!(status(first, "Uid"), "65534 65534 65534 65534");
    assert!(status(first, "Gid").split(' ').all(|group| group != "0"));
    assert!(!status(first, "Groups").split(' ').any(|group| group == "0"), "{}", status(first, "Groups"));
    assert_eq!(
        (status(first, "CapEff").as_str(), status(first, "NoNewPrivs").as_str()),
        ("0000000000000000", "1")
    );
    let journal = supervisor.path("state/journal/chatting/chatting.sqlite");
    let own = |path: &Path| fs::metadata(path).map(|is| (is.uid(), is.permissions().mode() & 0o777));
    assert_eq!(own(&journal).unwrap(), (NOBODY, 0o600));
    assert!(supervisor.handshake().unwrap().starts_with("HTTP/1.1 200"));
    let app = until("a probe", || supervisor.app().filter(|app| app["health_latency_ms"].is_number()));
    assert_eq!((app["health"].as_str(), app["recovery"]["trouble"].as_str()), (Some("ok"), None), "{app}");
    let mut somebody = Client::join(supervisor.port, "somebody", "r");
    // And once more, beside the first: the journal changes hands, and so does who is connected.
    assert!(chatctl(supervisor.dir.path(), &["reload"]).status.success());
    let second = supervisor.child();
    assert_ne!(first, second);
    assert_eq!(status(second, "Uid"), "65534 65534 65534 65534");
    somebody.send(&text(r#"42["chatting","still here"]"#));
    somebody.hear(r#"42["chatting",{"msg":"still here","#);
    assert_eq!(supervisor.app().unwrap()["handover"]["connections"], 1);
    let app = supervisor.app().unwrap();
    assert_eq!((app["health"].as_str(), app["recovery"]["trouble"].as_str()), (Some("ok"), None), "{app}");
}

/// Whatever it is made to do. Here by a link in its page's folder, as one would be put there by somebody who can write
/// files; a server of root's would follow it everywhere.
#[test]
fn a_server_opens_what_it_needs_and_nothing_else() {
    let supervisor = Supervisor::prepare("[page]\ndir = \"page\"\n[log]\nlevel = \"debug\"");
    fs::create_dir(supervisor.path("page")).unwrap();
    fs::write(supervisor.path("page/index.html"), "the page").unwrap();
    fs::write(supervisor.path("secret"), "root:").unwrap();
    symlink("index.html", supervisor.path("page/inside")).unwrap();
    symlink(supervisor.path("secret"), supervisor.path("page/outside")).unwrap();
    symlink("/etc/shadow", supervisor.path("page/shadow")).unwrap();
    let supervisor = supervisor.launch();
    let log = until("a word about it", || {
        let log = fs::read_to_string(supervisor.path("state/logs/chatting.log")).unwrap();
        log.contains("sandbox").then_some(log)
    });
    if log.contains("this system has no landlock") {
        return;
    }
    let get = |path| program::get(SocketAddr::from(([127, 0, 0, 1], supervisor.port)), path).unwrap();
    for round in 0..2 {
        assert!(get("/inside").ends_with("the page"));
        for path in ["/outside", "/shadow"] {
            let answer = get(path);
            assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("root:"), "{path}: {answer}");
        }
        let app = supervisor.app().unwrap();
        assert_eq!(
            (app["health"].as_str(), app["recovery"]["trouble"].as_str()),
            (Some("ok"), None),
            "{app}"
        );
        if round == 0 {
            assert!(chatctl(supervisor.dir.path(), &["reload"]).status.success());
        }
    }
}

#[test]
fn a_user_that_there_is_not_is_said_before_anything_starts() {
    let supervisor = Supervisor::prepare("user = \"no-such-user\"");
    let output = chatctl(supervisor.dir.path(), &["supervise"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no user no-such-user"));
}

/// Whatever the modes of the files say.
#[test]
fn the_control_socket_is_for_its_owner_and_root() {
    if !is_root() {
        return;
    }
    let supervisor = Supervisor::start("");
    let socket = supervisor.path("state/control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for folder in [supervisor.dir.path(), &supervisor.path("state")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |user: u32| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--unix-socket"]).arg(&socket).arg("http://chatctl/status");
        curl.uid(user).gid(user).current_dir("/").stdin(Stdio::null()).output().unwrap()
    };
    let refused = ask(NOBODY);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(ask(0).stdout.starts_with(b"{"));
    until("a line about it", || supervisor.log().contains("is for its owner and root").then_some(()));
}

#[test]
fn what_is_written_is_nobody_elses_business() {
    let supervisor = Supervisor::start("");
    let mut folders = vec![supervisor.path("state")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is = fs::symlink_metadata(&path).unwrap();
            if is.is_symlink() {
                continue;
            }
            if is.is_dir() {
                folders.push(path);
            } else {
                seen += 1;
                // The readiness socket is behind the modes of its folders.
                let notify = path.extension().is_some_and(|extension| extension == "notify");
                assert!(
                    notify || is.permissions().mode() & 0o007 == 0,
                    "{}: {:o}",
                    path.display(),
                    is.mode()
                );
            }
        }
    }
    assert!(seen >= 5, "{seen} files");
}

#[test]
fn who_may_not_look_is_told_so_and_not_that_there_is_nothing() {
    if !is_root() {
        return;
    }
    let supervisor = Supervisor::start("");
    fs::set_permissions(supervisor.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where that user may pass, wherever this was built.
    let program = supervisor.path("chatctl");
    fs::copy(env!("CARGO_BIN_EXE_chatctl"), &program).unwrap();
    for what in ["status", "logs", "events", "reload"] {
        let mut asks = Command::new(&program);
        let asked =
            asks.arg(what).current_dir(supervisor.dir.path()).uid(NOBODY).gid(NOBODY).output().unwrap();
        assert_eq!(asked.status.code(), Some(1), "{what}");
        assert!(program::stderr(&asked).contains("belongs to another user"), "{what}: {asked:?}");
    }
}
