//! Whole servers, in this process: by the real entrance, edge, sequencer and journal.

use crate::honest::Honest;
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{Mutex, OnceLock},
    thread,
};
use tempfile::TempDir;

/// How many [`server`] knows.
pub const SERVERS: usize = 3;

/// The profiles, each with a part of the configuration that the others do not have. Rates are out of the way: what is
/// refused by them would be read no further. Sessions go soon, so that a long run holds no more than a short one.
const CONFIGURATIONS: [&str; SERVERS] = [
    r#"profile = "local"
    trusted_proxies = ["127.0.0.1"]
    [recovery]
    window = "1s"
    leave_grace = "50ms""#,
    r#"profile = "web"
    [cors]
    origins = ["https://*.example.com"]
    [history]
    messages = 3
    [recovery]
    window = "1s""#,
    r#"profile = "react"
    [recovery]
    enabled = false"#,
];

const LIMITS: &str = r#"
    [limits]
    messages_per_second = 1000000
    message_burst = 1000000
    room_messages_per_second = 1000000
    room_message_burst = 1000000
    max_payload = 65536
    max_name = 32
    max_room = 32
    max_rooms_per_socket = 4
    max_queue = 512
"#;

/// A chat server, and an honest client of it.
pub struct Server {
    /// Where people connect.
    pub address: SocketAddr,
    /// Its control API.
    pub control: PathBuf,
    honest: Mutex<Honest>,
    _dir: TempDir,
}

/// One of the servers; it begins when it is first asked for, and never ends.
pub fn server(index: usize) -> &'static Server {
    static ALL: [OnceLock<Server>; SERVERS] = [const { OnceLock::new() }; SERVERS];
    let index = index % SERVERS;
    ALL[index].get_or_init(|| Server::start(CONFIGURATIONS[index]))
}

impl Server {
    fn start(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display();
        let toml = format!(
            "state_dir = {:?}\n[[app]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\n{configuration}\n{LIMITS}",
            state.to_string()
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, control) = (listener.local_addr().unwrap(), dir.path().join("control"));
        let counter = UnixListener::bind(&control).unwrap();
        let serve = move || {
            panic!("the server has ended: {:?}", chatctl::workbench::hostile::serve(&toml, listener, counter))
        };
        thread::spawn(serve);
        let honest = Mutex::new(Honest::connect(address));
        Self { address, control, honest, _dir: dir }
    }

    /// Sees that the honest client has noticed nothing: it is still connected, and answered in time.
    ///
    /// # Panics
    /// It has noticed something.
    pub fn is_well(&self) {
        self.honest.lock().unwrap().speak();
    }
}
