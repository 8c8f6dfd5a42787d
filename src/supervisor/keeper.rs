//! The keeper: one small process an app, which holds what must outlive a supervisor. It writes the log, and has the
//! listening sockets: when a supervisor is killed, the chat goes on, its log is kept, and the next supervisor asks the
//! keeper for the sockets and takes the chat over as it is.
//!
//! ```text
//! child -> pipes -> keeper -> log file                   supervisor -- connects --> keeper
//!                                                        supervisor <- sockets, pipes (SCM_RIGHTS, unix(7)) --
//! ```
//!
//! Each has a socket of its own; `run/<app>.keep` leads to the one whose version is at work, so that the next
//! supervisor finds it whatever else was tried. It ends when its supervisor says so and the last child is gone. When both are gone and nobody said so, it waits
//! [`LINGER`] for the next supervisor, and whoever connects waits with it. One that dies is replaced; the supervisor
//! holds the same pipes, so nothing is lost.

use super::{
    logs::Log,
    sockets::{Doors, Sockets},
    unix,
};
use crate::{control::descriptors, lock::lock};
use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use std::{
    ffi::CStr,
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::symlink,
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;

/// The keeper's descriptor of the children's standard error.
const ERR: u32 = 5;
/// Longest wait for another supervisor, when nobody is left and none said that it is over.
const LINGER: Duration = Duration::from_secs(30);
/// The keeper's name among the processes.
pub(super) const NAME: &CStr = c"chatctl-keep";
/// Said by a supervisor that has taken what it was handed.
const TAKEN: u8 = b't';
/// Said by a supervisor that needs the keeper no longer.
const OVER: u8 = b'o';
/// Longest wait for a keeper to hand over.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before a keeper that died soon after its start, or could not be started, is replaced.
const PAUSE: Duration = Duration::from_secs(1);

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of a file, before it is put aside.
    pub(crate) size: u64,
    /// Files that are kept aside.
    pub(crate) retain: u32,
}

/// What is held for an app: by the supervisor, and by its keeper.
pub(super) struct Held {
    pub(super) sockets: Sockets,
    /// Where the children's standard output and error go.
    pub(super) out: PipeWriter,
    pub(super) err: PipeWriter,
    readers: [OwnedFd; 2],
    place: Place,
    /// The keeper's own socket.
    at: PathBuf,
    /// The connection to the keeper.
    keeper: Mutex<Option<UnixStream>>,
}

/// Where an app's keeper is, and how it keeps.
#[derive(Clone)]
pub(super) struct Place {
    /// Leads to the socket of the keeper that is at work.
    pub(super) path: PathBuf,
    pub(super) log: PathBuf,
    pub(super) bounds: Bounds,
}

impl Held {
    /// Makes pipes for these sockets, and starts a keeper for both.
    ///
    /// # Errors
    /// There are no descriptors left, or the keeper's socket cannot be had.
    pub(super) fn new(sockets: Sockets, place: Place, keepers: &TaskTracker) -> Result<Arc<Self>> {
        let (out_reader, out) = io::pipe()?;
        let (err_reader, err) = io::pipe()?;
        let readers = [out_reader.into(), err_reader.into()];
        static KEEPERS: AtomicU64 = AtomicU64::new(1);
        let mine = format!("{}-{}.keep", std::process::id(), KEEPERS.fetch_add(1, Relaxed));
        let at = place.path.with_extension(mine);
        let held = Arc::new(Self { sockets, out, err, readers, place, at, keeper: Mutex::default() });
        let keeper = held.start()?;
        keepers.spawn(keep_up(keeper, Arc::downgrade(&held)));
        Ok(held)
    }

    /// Takes over what a keeper holds that an earlier supervisor left behind, if there is one.
    pub(super) fn adopt(place: Place, doors: &Doors, keepers: &TaskTracker) -> Option<Arc<Self>> {
        let keeper = UnixStream::connect(&place.path).ok()?;
        let taken = take(&keeper, place, doors);
        let held =
            taken.inspect_err(|error| tracing::warn!("a keeper does not hand over: {error:#}")).ok()?;
        let held = Arc::new(held);
        keepers.spawn(keep_up(keeper, Arc::downgrade(&held)));
        Some(held)
    }

    /// What works from now on is what this keeper holds: it is the one that the next supervisor is to find.
    pub(super) fn lead(&self) -> io::Result<()> {
        let name = self.at.file_name().unwrap_or_default();
        if fs::read_link(&self.place.path).is_ok_and(|leads| leads == name) || self.at == self.place.path {
            return Ok(());
        }
        let next = self.place.path.with_extension("next");
        let _ = fs::remove_file(&next);
        symlink(name, &next).and_then(|()| fs::rename(&next, &self.place.path))
    }

    /// The keeper's own socket.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    /// How its log is kept.
    pub(super) fn bounds(&self) -> Bounds {
        self.place.bounds
    }

    /// Starts a keeper, in the place of an earlier one, and connects to it.
    fn start(&self) -> Result<UnixStream> {
        let listener = unix::listener(&self.at)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("chatctl")
            .arg("keep")
            .arg(&self.place.log)
            .arg(self.place.bounds.size.to_string())
            .arg(self.place.bounds.retain.to_string())
            .env("LISTEN_FDNAMES", "control:keep:err:chat")
            .env_remove("LISTEN_PID")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdin(self.readers[0].try_clone()?)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0);
        let control = self.sockets.control.try_clone()?;
        let mut fds: Vec<OwnedFd> = vec![control.into(), listener.into(), self.readers[1].try_clone()?];
        if let Some(chat) = &self.sockets.chat {
            fds.push(chat.try_clone()?.into());
        }
        command.env("LISTEN_FDS", fds.len().to_string());
        let mappings =
            fds.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect())?;
        // It is reaped with all that ends below the supervisor; what tells of its end is the connection.
        command.spawn().context("cannot start the keeper of the log")?;
        let keeper = UnixStream::connect(&self.at)?;
        self.connected(&keeper)?;
        Ok(keeper)
    }

    /// All that the keeper hands over is here.
    fn connected(&self, mut keeper: &UnixStream) -> io::Result<()> {
        keeper.write_all(&[TAKEN])?;
        *lock(&self.keeper) = Some(keeper.try_clone()?);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keeper {
            // One that is gone needs no telling.
            let _ = keeper.write_all(&[OVER]);
        }
        let _ = fs::remove_file(&self.at);
        if fs::read_link(&self.place.path).is_ok_and(|leads| Some(leads.as_os_str()) == self.at.file_name()) {
            let _ = fs::remove_file(&self.place.path);
        }
    }
}

/// Replaces a keeper that ends before what it holds is given up.
async fn keep_up(mut keeper: UnixStream, held: Weak<Held>) {
    loop {
        let begun = Instant::now();
        ended(keeper).await;
        if begun.elapsed() < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
        keeper = loop {
            let Some(held) = held.upgrade() else { return };
            tracing::warn!(log = ?held.place.log, "the keeper of the log has ended; starting another");
            match held.start() {
                Ok(keeper) => break keeper,
                // Without one the children would wait for ever to be rid of what they say.
                Err(error) => tracing::error!("no keeper of the log: {error:#}"),
            }
            drop(held);
            tokio::time::sleep(PAUSE).await;
        };
    }
}

/// Who asks must be who runs this, or root: it is handed the sockets.
fn is_owner(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|who| who.uid == own || who.uid.is_root())
}

async fn ended(keeper: UnixStream) {
    let _ = keeper.set_nonblocking(true);
    if let Ok(mut keeper) = tokio::net::UnixStream::from_std(keeper) {
        while keeper.read_u8().await.is_ok() {}
    }
}

/// The writing end of a pipe whose reading end is here (proc(5): opening it is opening the pipe).
fn writer(reader: &impl AsRawFd) -> io::Result<PipeWriter> {
    let pipe = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", reader.as_raw_fd()))?;
    Ok(PipeWriter::from(OwnedFd::from(pipe)))
}

fn take(keeper: &UnixStream, place: Place, doors: &Doors) -> Result<Held> {
    keeper.set_read_timeout(Some(PATIENCE))?;
    let (_, fds) = descriptors::receive(keeper, &mut [0])?;
    let mut fds = fds.into_iter();
    let (Some(control), Some(out), Some(err), chat) = (fds.next(), fds.next(), fds.next(), fds.next()) else {
        anyhow::bail!("it sent something else");
    };
    let chat = chat.map(|chat| doors.know(TcpListener::from(chat)));
    let sockets = Sockets { chat, control: UnixListener::from(control) };
    let (out_writer, err_writer) = (writer(&out)?, writer(&err)?);
    let (readers, unknown) = ([out, err], Mutex::default());
    // A keeper of an earlier version has its socket where there is a link now.
    let at = fs::read_link(&place.path).map_or(place.path.clone(), |leads| place.path.with_file_name(leads));
    let held = Held { sockets, out: out_writer, err: err_writer, readers, place, at, keeper: unknown };
    held.connected(keeper)?;
    Ok(held)
}

/// The keeper's own life: keeps the log until nobody can write to it any more. Standard input is the children's
/// standard output, descriptor 5 their standard error.
///
/// # Errors
/// The log cannot be opened, or the pipes are not there.
pub(crate) fn run(
    chat: Option<TcpListener>,
    control: UnixListener,
    keep: UnixListener,
    log: &Path,
    bounds: Bounds,
) -> Result<()> {
    let _ = rustix::thread::set_name(NAME);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _context = runtime.enter();
    // It ends with those it keeps for, not with the signals that are meant for them.
    use tokio::signal::unix::{SignalKind, signal};
    let kinds =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::user_defined1()];
    let _deaf = kinds.map(signal);
    let reopened =
        |fd: u32| File::open(format!("/proc/self/fd/{fd}")).map(|pipe| PipeReader::from(OwnedFd::from(pipe)));
    let (out, err) = (reopened(0)?, reopened(ERR)?);
    let life = Arc::new(Life::default());
    let handed = Handed { chat, control, readers: [out.try_clone()?, err.try_clone()?] };
    let serve = {
        let (life, handed) = (life.clone(), Arc::new(handed));
        move || {
            for stream in keep.incoming().flatten().filter(is_owner) {
                let (life, handed) = (life.clone(), handed.clone());
                // A supervisor for which there is no thread will ask again.
                let _ = thread::Builder::new().spawn(move || handed.hand_over(&stream, &life));
            }
        }
    };
    let log = Log::open(log.to_owned(), bounds)?;
    thread::Builder::new().name("keeper".to_owned()).spawn(serve)?;
    let more = |life: &Arc<Life>| {
        let life = life.clone();
        move |seen: &mut u64| life.goes_on(seen)
    };
    let following = [log.follow("out", out, more(&life))?, log.follow("err", err, more(&life))?];
    following.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// What is known of supervisors.
#[derive(Default)]
struct Life {
    state: Mutex<Supervisors>,
    changed: Condvar,
}

#[derive(Default)]
struct Supervisors {
    /// How many have come.
    came: u64,
    /// The last one said that it is over.
    over: bool,
}

impl Life {
    fn update(&self, change: impl FnOnce(&mut Supervisors)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Nobody can write any more. Whether another supervisor came since `seen`, or does in time.
    fn goes_on(&self, seen: &mut u64) -> bool {
        let state = lock(&self.state);
        let waits = |state: &mut Supervisors| state.came == *seen && !state.over;
        let waited = self.changed.wait_timeout_while(state, LINGER, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let another = state.came != *seen;
        *seen = state.came;
        another
    }
}

/// What a supervisor is handed.
struct Handed {
    chat: Option<TcpListener>,
    control: UnixListener,
    readers: [PipeReader; 2],
}

impl Handed {
    /// Hands it to a supervisor, and listens to it to its end.
    fn hand_over(&self, mut stream: &UnixStream, life: &Life) {
        // While the supervisor has not opened the pipes to write, they are held open here: they do not end meanwhile.
        let mut open = self.readers.each_ref().map(writer).into_iter().flatten().collect::<Vec<_>>();
        life.update(|supervisors| {
            supervisors.came += 1;
            supervisors.over = false;
        });
        if self.give(stream).is_err() {
            return;
        }
        let mut word = [0];
        while stream.read_exact(&mut word).is_ok() {
            match word[0] {
                TAKEN => open.clear(),
                OVER => life.update(|supervisors| supervisors.over = true),
                _ => {}
            }
        }
    }

    fn give(&self, stream: &UnixStream) -> io::Result<usize> {
        let mut fds = vec![self.control.as_fd(), self.readers[0].as_fd(), self.readers[1].as_fd()];
        fds.extend(self.chat.as_ref().map(AsFd::as_fd));
        descriptors::send(stream, b"k", &fds)
    }
}
