//! The chat process: one profile, one listener, one namespace.
//!
//! ```text
//! socket -> edge: stream -> session -> namespace -> sequencer -> chat's rules
//!                                                      |    \-> recovery: the journal
//! socket <- edge <------- link <------ delivery <------+ when it is safe
//! ```
//!
//! A restart: the next server asks for everything -> established connections go to it ([`handover`]).
//! An end: SIGTERM -> what was said leaves -> the edge sends everybody away, and takes in what they still say -> the
//! journal is closed -> the next server opens it, and everybody comes back to it.
//!
//! Promises: what anybody has received, or had acknowledged, survives this process; one sender's messages reach every
//! receiver in the order sent, all members of a room see one order, nothing is dropped in silence. It must never import
//! the supervisor: they meet as processes.

mod assets;
mod auth;
mod connection;
mod control;
mod cors;
mod debts;
mod delivery;
mod doors;
mod ebb;
mod edge;
mod handover;
mod http;
mod link;
mod living;
mod namespace;
mod outbox;
mod pace;
mod packet;
mod page;
mod parking;
mod permit;
mod privileges;
mod recovery;
mod reread;
mod sandbox;
mod sequencer;
mod source;
mod stats;
mod tls;
mod transport;
mod turn;
mod visit;
mod wall_clock;
#[cfg(feature = "workbench")]
pub(crate) mod workbench;

use crate::{
    chat::Chat,
    config::{self, Profile},
    error::Failure,
    heap, listen,
};
use auth::Auth;
pub(crate) use auth::holds_a_secret;
use connection::{Entrance, Open};
use doors::Doors;
use edge::Edge;
use handover::{Giver, Outcome, Taken};
use namespace::Namespace;
use outbox::Bounds;
use recovery::Recovery;
use sandbox::Sandbox;
use sequencer::{Command, Inbox, Sequencer};
use stats::Stats;
use std::{
    net::SocketAddr,
    num::NonZero,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tls::Tls;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use turn::Turn;

/// What ten thousand connections take, less what is not theirs alone.
const CROWD: usize = 40 << 20;
/// Longest wait for clients to take leave; and when they are told to go whether they have answered or not.
const GOODBYE: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_millis(800);

/// What one chat server is to be.
pub(crate) struct Settings {
    pub(crate) profile: Profile,
    pub(crate) listen: SocketAddr,
    /// TLS, where it is wanted.
    pub(crate) tls: Option<config::Tls>,
    /// Who may say for whom a connection or a request is.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Who the server is to be, if not who has started it.
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) server: config::Server,
    /// Longest time to end once it is told to.
    pub(crate) kill_timeout: Duration,
    /// Below it lies what the apps keep.
    pub(crate) state_dir: PathBuf,
    /// The journal, where recovery is on.
    pub(crate) journal: PathBuf,
}

impl Settings {
    /// Those of an app, which listens there.
    pub(crate) fn of(config: &config::Config, app: &config::App, listen: SocketAddr) -> Self {
        Self {
            profile: app.profile,
            listen,
            tls: app.tls.clone(),
            trusted_proxies: app.trusted_proxies.clone(),
            user: app.user.clone(),
            group: app.group.clone(),
            kill_timeout: app.kill_timeout,
            server: config.server.clone(),
            state_dir: config.state_dir.clone(),
            journal: config.journal_file(&app.name),
        }
    }
}

/// Runs the chat server until it is told to stop.
///
/// # Errors
/// It could not start.
pub(crate) fn run(mut settings: Settings, mut inherited: listen::Inherited) -> Result<(), Failure> {
    allow_many_files();
    if let Some(dir) = settings.server.page.dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::usage(format_args!("[page] dir {} is not a folder", dir.display())));
    }
    // All that may take root's rights; then they are given up, before there is a second thread.
    let tls = settings.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
    let auth = Auth::load(settings.server.auth.clone(), settings.server.limits.max_name)?.map(Arc::new);
    let listener = match inherited.chat() {
        Some(listener) => listener,
        None => listen::bind(settings.listen).map_err(Failure::usage)?,
    };
    let journal = settings.server.recovery.enabled.then_some(settings.journal.as_path());
    let (user, group) = (settings.user.as_deref(), settings.group.as_deref());
    privileges::give_up(user, group, journal, &settings.state_dir)?;
    // And all that is to be known of the machine; then there is no more to be seen of it.
    recovery::prepare(journal);
    heap::keep_short();
    settings.server.timezone.get_or_insert_with(jiff::tz::TimeZone::system);
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    Sandbox::of(&settings).enter();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).enable_all();
    if inherited.go.is_some() {
        // A crowd may be about to come, and would wait for it.
        runtime.on_thread_start(move || heap::make_room(CROWD / workers));
    }
    let runtime = runtime
        .build()
        .map_err(|error| Failure::failed(format_args!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(serve(settings, inherited, Opened { listener, tls, auth }));
    // Connections that are still open are not waited for: their clients have been told.
    runtime.shutdown_background();
    result
}

/// A client is a descriptor: as many as this process may have.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// What was opened with more rights than the server keeps.
struct Opened {
    listener: std::net::TcpListener,
    tls: Option<Arc<Tls>>,
    auth: Option<Arc<Auth>>,
}

async fn serve(settings: Settings, inherited: listen::Inherited, opened: Opened) -> Result<(), Failure> {
    let cannot = |what: &str, error: std::io::Error| Failure::failed(format_args!("cannot {what}: {error}"));
    // Registered first: a signal during the start is not lost.
    let mut stop = Stop::register().map_err(|error| cannot("watch for signals", error))?;
    let hang_up = reread::register().map_err(|error| cannot("watch for signals", error))?;
    let Opened { listener, tls, auth } = opened;
    let address = listener.local_addr().map_err(|error| cannot("use the listening socket", error))?;

    let mut taken = match inherited.go {
        None => None,
        Some(go) => match turn::wait(go, &mut stop).await {
            Ok(Turn::Begin) => None,
            Ok(Turn::Took(taken)) => Some(taken),
            Ok(Turn::Stop) => return Ok(()),
            Err(error) => return Err(cannot("wait for its turn", error)),
        },
    };
    if auth.is_some() {
        taken.iter_mut().for_each(Taken::leave_out_strangers);
    }
    // The journal has one writer: the server before this one has let go of it now.
    let stats = Arc::new(Stats::new());
    let (limits, exempt) = (settings.server.limits, settings.server.exempt.clone());
    let doors = Doors::new(limits, exempt, auth.is_some(), stats.clone());
    tokio::spawn(ebb::run(doors.clone(), recovery::kept_for(settings.server.recovery.window)));
    let (edge, inbox) = begin(&settings, &stats, &doors, auth.clone(), taken.as_ref())?;
    let newcomers = taken.as_mut().map(Taken::newcomers).unwrap_or_default();
    if let Some(taken) = taken {
        let handover = taken.arrive(&edge, &inbox).await;
        let handover = stats.handover.get_or_init(|| handover);
        tracing::info!("took over from the server before: {handover}");
    }
    let entrance = Entrance {
        app: http::router(&settings, edge.clone(), inbox.clone()),
        doors,
        proxies: source::Proxies(settings.trusted_proxies.clone()),
        tls: tls.clone(),
        handshake_timeout: limits.handshake_timeout,
        stall_timeout: limits.stall_timeout,
    };
    let (handovers, mut asked) = mpsc::channel(1);
    let control = inherited
        .control
        .map(|control| control::start(control, stats.clone(), inbox.clone(), tls.clone(), handovers));
    let control = control.transpose().map_err(|error| cannot("serve the control API", error))?;
    let entrance = entrance.open_at(listener);
    let mut entrance = entrance.map_err(|error| cannot("use the listening socket", error))?;
    entrance.serve(newcomers);

    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(signal) = hang_up {
        tokio::spawn(reread::run(signal, tls, auth, stats.clone()));
    }
    tracing::info!(profile = settings.profile.as_str(), "listening on {scheme}://{address}");
    let status = stats.handover.get().map(ToString::to_string);
    let status = status.as_deref().map(sd_notify::NotifyState::Status);
    notify(&[sd_notify::NotifyState::Ready].into_iter().chain(status).collect::<Vec<_>>());

    let giver = Giver {
        edge: edge.clone(),
        inbox: inbox.clone(),
        control: control.as_ref().map(JoinHandle::abort_handle),
        patience: settings.kill_timeout,
    };
    let signal = loop {
        let next = tokio::select! {
            signal = stop.wait() => break signal,
            Some(next) = asked.recv() => next,
        };
        entrance = match giver.give(next, entrance).await {
            Outcome::Gone => return Ok(()),
            Outcome::Stays(Some(entrance)) => entrance,
            Outcome::Stays(None) => return Err(Failure::failed("the listening socket is lost")),
        };
    };
    tracing::info!("{signal}: stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        () = goodbye(&edge, &inbox, control, entrance) => {}
        signal = stop.wait() => tracing::info!("{signal} again: stopping at once"),
    }
    Ok(())
}

/// Lets what was accepted reach the clients and sends them away so that they come back by themselves, takes in what
/// they say until they are gone, and lets go of what only one server may hold.
async fn goodbye(edge: &Edge, inbox: &Inbox, control: Option<JoinHandle<()>>, entrance: Open) {
    ask(inbox, Command::Flush).await;
    // Who polls needs new connections for what it still has to say.
    let accepts = edge.living().none_polling();
    let leaves = async {
        edge.drain().await;
        let told = Instant::now();
        if tokio::time::timeout(LATE, edge.living().none()).await.is_err() {
            edge.drain_late();
        }
        let left = GOODBYE.saturating_sub(told.elapsed());
        if tokio::time::timeout(left, edge.living().none()).await.is_err() {
            tracing::info!("some clients did not take leave within {GOODBYE:?}");
        }
    };
    tokio::select! {
        // Both, in any order.
        ((), ()) = async { tokio::join!(accepts, edge.living().none()) } => {}
        () = leaves => {}
    }
    entrance.close().await;
    ask(inbox, Command::Close).await;
    if let Some(control) = control {
        control.abort();
        let _ = control.await;
    }
    notify(&[sd_notify::NotifyState::Custom("X_CHATCTL=released")]);
}

/// Waits until the sequencer has done it.
async fn ask(inbox: &Inbox, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
    let (reply, done) = oneshot::channel();
    inbox.push(command(reply));
    let _ = done.await;
}

/// Opens the journal, and begins the sequencer and what is before it.
fn begin(
    settings: &Settings,
    stats: &Arc<Stats>,
    doors: &Arc<Doors>,
    auth: Option<Arc<Auth>>,
    taken: Option<&Taken>,
) -> Result<(Arc<Edge>, Inbox), Failure> {
    let limits = settings.server.limits;
    let (inbox, commands) = sequencer::inbox(stats.clone());
    let bounds = Bounds { packets: limits.max_queue, bytes: limits.max_queue_bytes };
    let zone = settings.server.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    let mut chat = Chat::new(settings.profile, limits);
    let left = taken.and_then(Taken::left);
    let coming = taken.map(Taken::sessions).unwrap_or_default();
    let (recovery, restored) = Recovery::open(&settings.server, &settings.journal, left, &coming)?;
    restored.into_iter().for_each(|(member, seats, standing)| chat.restore(member, seats, standing));
    let mut sequencer = Sequencer::new(chat, recovery, bounds, zone, stats.clone());
    sequencer.board(&coming);
    let started = thread::Builder::new().name("sequencer".into()).spawn(move || sequencer.run(&commands));
    started.map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))?;
    let namespace = Namespace::new(inbox.clone(), auth);
    Ok((Edge::new(namespace, limits, settings.server.cors.clone(), doors.clone()), inbox))
}

/// Tells the supervisor or systemd; without one, nobody.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the supervisor");
    }
}

/// The signals that stop a server.
struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Stop {
    fn register() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
