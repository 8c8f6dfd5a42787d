//! Every place where bytes of strangers, or of a disk, come in. For the fuzzers.

pub use crate::server::workbench::hostile::{Journal, Keys, take_over};

use crate::{
    config::Config,
    control::{
        self,
        server::Ask,
        types::{Outcome, Status, Supervisor},
    },
    listen::Inherited,
    migrate::{self, Found, Place},
    server::{self, Settings},
};
use std::{
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// Runs the first chat server of this chat.toml, as `chatctl serve` does, for ever.
///
/// # Errors
/// It does not start, or has ended.
pub fn serve(chat_toml: &str, listener: TcpListener, control: UnixListener) -> Result<(), String> {
    let config = Config::from_text(chat_toml, None).map_err(|error| error.to_string())?;
    let app = config.enabled().next().ok_or("there is no app")?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let inherited = Inherited { chats: vec![(String::new(), listener)], control: Some(control), go: None };
    server::run(Settings::of(&config, app, address), inherited).map_err(|failure| failure.to_string())
}

/// Serves a supervisor's control API for ever; behind it is none, but one that has no apps.
///
/// # Errors
/// The socket cannot be used.
pub fn supervisor(listener: UnixListener) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ((asks, mut asked), done) = (mpsc::channel(16), CancellationToken::new());
        control::server::start(listener, asks, broadcast::Sender::new(1), PathBuf::new(), done.clone())?;
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Status(reply) => drop(reply.send(status())),
                Ask::Act(_, apps, reply) => {
                    let unknown = |app: &String| Outcome::new(app, Err("no such app".to_owned()));
                    drop(reply.send(apps.iter().map(unknown).collect()));
                }
                Ask::Shutdown => done.cancel(),
            }
        }
        Ok(())
    })
}

fn status() -> Status {
    let supervisor = Supervisor {
        pid: 1,
        uptime_s: 0,
        version: String::new(),
        config: None,
        config_problems: Vec::new(),
        problems: Vec::new(),
    };
    Status { supervisor, apps: Vec::new() }
}

/// Reads and checks a chat.toml.
///
/// # Errors
/// What is wrong with it: line, key, and what.
pub fn configuration(text: &str) -> Result<(), Vec<(usize, String, String)>> {
    let problems = |problem: crate::config::Problem| (problem.line, problem.key, problem.message);
    match Config::from_text(text, None) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.problems.into_iter().map(problems).collect()),
    }
}

/// Makes a chat.toml of a pm2 file of this name; every path is a text.
///
/// # Errors
/// It cannot be read, and why.
pub fn migrated(name: &str, text: &str) -> Result<String, String> {
    let from = Path::new("/srv/chat").join(name);
    let (to, look) = (Path::new("/srv/chat/chat.toml"), |_: &Path| Found::Text);
    let place =
        Place { from: &from, to, env: Some("production"), look: &look, read: &|_| Some(text.to_owned()) };
    let migrated = migrate::made_of(text, &place);
    migrated.map(|migrated| migrated.text).map_err(|failure| failure.to_string())
}
