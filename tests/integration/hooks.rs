//! Hooks, as those see them who are told.

use crate::program::{DEADLINE, Supervisor, certificate, chatctl, free_port, signal, stderr, until};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
};

/// What was appended to this file, a JSON object a line.
fn told(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn events(supervisor: &Supervisor) -> String {
    fs::read_to_string(supervisor.path("state/logs/events.jsonl")).unwrap_or_default()
}

/// A supervisor with this hook, which may say `HEARD` for a file.
fn start(keys: &str, hook: &str) -> Supervisor {
    let supervisor = Supervisor::prepare("");
    let heard = supervisor.path("heard").display().to_string();
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    let toml = format!("{toml}{keys}\n[[hook]]\n{}\n", hook.replace("HEARD", &heard));
    fs::write(supervisor.path("chat.toml"), toml).unwrap();
    supervisor.launch()
}

#[test]
fn a_command_is_told_what_happened_from_the_crash_to_the_recovery() {
    let hook = r#"
        on = ["crash", "restart", "reload-failed", "recovered"]
        command = ["sh", "-c", "cat >> HEARD; echo >> HEARD"]"#;
    let supervisor = start("min_uptime = \"300ms\"\nwatch = true", hook);
    let heard = supervisor.path("heard");
    let child = supervisor.child();
    signal(child, "KILL");
    let said = until("crash, restart and recovery", || Some(told(&heard)).filter(|told| told.len() == 3));
    let what: Vec<_> = said.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(what, ["crash", "restart", "recovered"]);
    assert_eq!(
        (&said[0]["app"], &said[0]["class"], &said[0]["why"]),
        (&"chatting".into(), &"crash".into(), &"killed by signal 9 (SIGKILL)".into())
    );
    assert!(!said[0]["host"].as_str().unwrap().is_empty() && said[0]["time"].is_string(), "{said:?}");

    // One mistake in chat.toml, and the hook that is in force still tells it.
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    fs::write(supervisor.path("chat.toml"), format!("nonsense = 1\n{toml}")).unwrap();
    let refused = until("the refusal", || told(&heard).into_iter().nth(3));
    assert_eq!(refused["event"], "reload-failed");
    assert!(refused["why"].as_str().unwrap().contains("chat.toml:1: nonsense"), "{refused}");

    let status = supervisor.app().unwrap();
    assert_eq!(
        (&status["last_reason_class"], &status["restarts_by_class"]["crash"]),
        (&"crash".into(), &1.into())
    );
}

#[test]
fn one_that_hangs_is_killed_with_all_it_started_and_holds_nothing_up() {
    let hook = r#"
        on = ["crash"]
        command = ["sh", "-c", "sleep 987654 & echo $! >> HEARD; echo going to hang >&2; wait"]
        timeout = "300ms"
        retries = 0"#;
    let supervisor = start("", hook);
    signal(supervisor.child(), "KILL");
    supervisor.restarted(1);
    until("the history to say so", || {
        let events = events(&supervisor);
        (events.contains("hook failed") && events.contains("was not done within 300ms, and killed"))
            .then_some(())
    });
    let sleeper = fs::read_to_string(supervisor.path("heard")).unwrap();
    let stat = format!("/proc/{}/stat", sleeper.trim());
    until("the sleeper to be gone", || (!Path::new(&stat).exists()).then_some(()));
    assert!(supervisor.handshake().is_ok());
}

#[test]
fn a_url_that_fails_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in ["503 Service Unavailable", "503 Service Unavailable", "204 No Content"] {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut chunk) = (String::new(), [0; 4096]);
            while !request.ends_with('}') {
                let read = stream.read(&mut chunk).unwrap();
                request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            }
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            heard.send(request).unwrap();
        }
    });
    let hook = format!(
        "on = [\"crash\"]\nurl = \"http://127.0.0.1:{port}/told?token=s3cret\"\nretry_delay = \"10ms\"\napps = [\"chatting\"]"
    );
    let supervisor = start("", &hook);
    signal(supervisor.child(), "KILL");
    for _ in 0..3 {
        let request = requests.recv_timeout(DEADLINE).unwrap();
        assert!(request.starts_with("POST /told?token=s3cret HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
        let body = request.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["event"], "crash");
    }
    supervisor.restarted(1);
    assert!(!supervisor.log().contains("s3cret"), "{}", supervisor.log());
    assert!(!events(&supervisor).contains("hook"), "{}", events(&supervisor));
}

/// What becomes of an attempt to tell this URL, by who trusts those in this file.
fn tried_out(url: &str, trusted: &Path) -> Output {
    let supervisor = Supervisor::prepare("");
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    fs::write(supervisor.path("chat.toml"), format!("{toml}[[hook]]\non = \"crash\"\nurl = \"{url}\"\n"))
        .unwrap();
    Command::new(env!("CARGO_BIN_EXE_chatctl"))
        .args(["hooks", "--test"])
        .current_dir(supervisor.dir.path())
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap()
}

/// A process that ends with its test.
struct Until(Child);

impl Drop for Until {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

#[test]
fn a_url_by_https_is_told_if_it_is_who_it_should_be() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let files = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    certificate(folder.path(), "30", "key.pem");
    let longest = DEADLINE.as_secs().to_string();
    let server = Command::new("timeout")
        .args([&longest, "openssl", "s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-cert".as_ref(), files[0].as_os_str(), "-key".as_ref(), files[1].as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Until(server);
    until("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());

    // Whom nobody vouches for is not told, and neither is who has another name.
    let nobody = tempfile::NamedTempFile::new().unwrap();
    let url = move |host: &str| format!("https://{host}:{port}/services/s3cret");
    for (url, trusted, why) in [
        (url("localhost"), nobody.path(), "trusts nobody who could vouch"),
        (url("127.0.0.1"), &files[0], "not valid for name"),
    ] {
        let tried = tried_out(&url, trusted);
        let shown = String::from_utf8_lossy(&tried.stdout).into_owned();
        assert!(shown.contains(why) && !shown.contains("s3cret"), "{shown}");
        assert_eq!(tried.status.code(), Some(1), "{shown}");
    }

    let trusted = files[0].clone();
    let trying = std::thread::spawn(move || tried_out(&url("localhost"), &trusted));
    let mut request = String::new();
    while !request.ends_with('}') {
        let mut chunk = [0; 4096];
        let read = server.0.stdout.as_mut().unwrap().read(&mut chunk).unwrap();
        assert!(read > 0, "nobody was told: {request:?}");
        request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    assert!(request.starts_with("POST /services/s3cret HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: localhost:{port}\r\n")), "{request}");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    server.0.stdin.as_mut().unwrap().write_all(answer).unwrap();
    let tried = trying.join().unwrap();
    let shown = String::from_utf8_lossy(&tried.stdout).into_owned();
    let told = format!("https://localhost:{port}/...: on crash, of every app: works\n");
    assert!(shown.contains(&told), "{shown}");
}

#[test]
fn hooks_can_be_tried_out_and_mistakes_are_said() {
    let supervisor = Supervisor::prepare("");
    let none = chatctl(supervisor.dir.path(), &["hooks"]);
    assert!(stderr(&none).contains("has no hooks"), "{none:?}");
    let toml = fs::read_to_string(supervisor.path("chat.toml")).unwrap();
    let hooks = "[[hook]]\non = \"crash\"\ncommand = \"true\"\n[[hook]]\non = \"hang\"\ncommand = [\"sh\", \"-c\", \"echo no such host >&2; exit 6\"]\n";
    fs::write(supervisor.path("chat.toml"), format!("{toml}{hooks}")).unwrap();
    let tried = chatctl(supervisor.dir.path(), &["hooks", "--test"]);
    let shown = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert_eq!(tried.status.code(), Some(1), "{shown}");
    assert!(shown.contains("true: on crash, of every app: works\n"), "{shown}");
    assert!(shown.contains("failed: ended with exit status: 6 (no such host)\n"), "{shown}");

    let hooks = "[[hook]]\non = \"quake\"\n[[hook]]\non = []\nurl = \"ftp://x/\"\napps = \"other\"\n";
    fs::write(supervisor.path("chat.toml"), format!("{toml}{hooks}")).unwrap();
    let wrong = stderr(&chatctl(supervisor.dir.path(), &["hooks"]));
    for problem in [
        "hook.1.on: \"quake\" does not happen; there are crash, hang,",
        "hook.1.command: say what to do: either `command` or `url`",
        "hook.2.on: must not be empty",
        "hook.2.url: \"ftp://x/\" is not a URL as",
        "hook.2.apps: there is no app named \"other\"; there are chatting",
    ] {
        assert!(wrong.contains(problem), "{wrong}");
    }
}
