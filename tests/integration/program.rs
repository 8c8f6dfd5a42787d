//! A folder with a chat.toml, and a supervisor that runs on it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Nothing here takes longer, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `ready` gives something.
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Below those that the kernel gives to whoever connects: a connection of another test could have one of them at the
/// very moment at which it is needed.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port of this test's own, until all tests have ended. Children are given fixed ports, so that they keep them over
/// restarts.
///
/// Who holds the UDP port of that number has taken it; so do the tests in JavaScript.
pub(crate) fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().unwrap();
    let first = std::process::id() as usize * 100 + taken.len();
    let free = PORTS.cycle().skip(first % PORTS.len()).take(PORTS.len()).find_map(|port| {
        let held = UdpSocket::bind(("127.0.0.1", port)).ok()?;
        TcpListener::bind(("0.0.0.0", port)).is_ok().then_some((port, held))
    });
    let (port, held) = free.expect("no port is free");
    taken.push(held);
    port
}

/// Runs the program to its end.
pub(crate) fn chatctl(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A supervisor in a folder of its own.
pub(crate) struct Supervisor {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) process: Option<Child>,
}

impl Supervisor {
    /// Starts one for the app `chatting` with these extra keys, and waits until it is online.
    pub(crate) fn start(keys: &str) -> Self {
        let supervisor = Self::prepare(keys);
        supervisor.launch()
    }

    /// Only the folder.
    pub(crate) fn prepare(keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::write(dir.path().join("chat.toml"), config(port, keys)).unwrap();
        Self { dir, port, process: None }
    }

    pub(crate) fn launch(self) -> Self {
        self.launch_program(Path::new(env!("CARGO_BIN_EXE_chatctl")))
    }

    /// With this copy of the program.
    pub(crate) fn launch_program(mut self, program: &Path) -> Self {
        self.begin(program);
        until("the app to be online", || (self.app()?["state"] == "online").then_some(()));
        self
    }

    /// Starts this copy of the program, and waits for nothing.
    pub(crate) fn begin(&mut self, program: &Path) {
        let errors = fs::File::options().create(true).append(true).open(self.path("supervisor.log")).unwrap();
        let mut command = Command::new(program);
        command.arg("supervise").current_dir(self.dir.path()).stdin(Stdio::null()).stderr(errors);
        self.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `status --json`, if a supervisor answers.
    pub(crate) fn status(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&chatctl(self.dir.path(), &["status", "--json"]).stdout).ok()
    }

    /// The first app's part of it.
    pub(crate) fn app(&self) -> Option<serde_json::Value> {
        self.status().map(|status| status["apps"][0].clone())
    }

    pub(crate) fn child(&self) -> u32 {
        u32::try_from(self.app().unwrap()["pid"].as_u64().unwrap()).unwrap()
    }

    /// What the child of this app, by its place in chat.toml, was started with in its environment.
    pub(crate) fn variable(&self, app: usize, name: &str) -> Option<String> {
        let pid = self.status().unwrap()["apps"][app]["pid"].as_u64().unwrap();
        let environ = String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
        environ.split('\0').find_map(|set| set.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    }

    /// Waits until the app has been started again so often and is online, and gives its status.
    pub(crate) fn restarted(&self, times: u64) -> serde_json::Value {
        until("a restart", || {
            self.app().filter(|app| app["restarts"].as_u64() >= Some(times) && app["state"] == "online")
        })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("supervisor.log")).unwrap()
    }

    pub(crate) fn handshake(&self) -> std::io::Result<String> {
        handshake(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        let process = self.process.as_mut().unwrap();
        until("the supervisor to end", || process.try_wait().unwrap())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Ok(None) = process.try_wait() {
            signal(process.id(), "TERM");
            let _ = process.wait();
        }
    }
}

pub(crate) fn config(port: u16, keys: &str) -> String {
    format!("state_dir = \"state\"\n[[app]]\nname = \"chatting\"\nlisten = \"127.0.0.1:{port}\"\n{keys}\n")
}

/// Sends a signal.
/// Makes `cert.pem` in this folder, for `localhost` and for so many days, and this key.
pub(crate) fn certificate(folder: &Path, days: &str, key: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        // It vouches for itself, and for nobody else.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-days", days, "-subj", "/CN=chat.example.com", "-out", "cert.pem", "-keyout", key])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// What an Engine.IO client does first.
pub(crate) fn handshake(address: SocketAddr) -> std::io::Result<String> {
    get(address, "/socket.io/?EIO=4&transport=polling")
}

/// Asks for something by HTTP; gives the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Ends the knocking, also when a test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects to all of these all the time while `doing`: nobody may be refused.
pub(crate) fn knocking(addresses: &[SocketAddr], doing: impl FnOnce()) {
    let (done, connects, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for address in addresses {
            let (done, connects, refused) = (&done, &connects, &refused);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let counter = if TcpStream::connect(address).is_ok() { connects } else { refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let _done = Done(&done);
        doing();
    });
    assert!(connects.load(Ordering::Relaxed) > 0);
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {connects:?} connects");
}

/// A supervisor whose program is a copy that a test may replace.
pub(crate) fn own_program(keys: &str) -> Supervisor {
    let supervisor = Supervisor::prepare(keys);
    let program = supervisor.path("chatctl");
    fs::copy(env!("CARGO_BIN_EXE_chatctl"), &program).unwrap();
    supervisor.launch_program(&program)
}

/// Puts a script in the place of a program, whole, as an installer does.
pub(crate) fn replace(program: &Path, script: &str) {
    let staged = program.with_extension("new");
    fs::write(&staged, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(staged, program).unwrap();
}
