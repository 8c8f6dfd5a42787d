//! Hooks: people and programs that are told when something happens.
//!
//! Each hook has a queue and a task of its own: one that hangs or fails holds up no other, and never the supervision.
//! What is told is the [`Happened`] of the history, with `event` and `host` before it, as JSON: on a command's
//! standard input, or as the body of a POST.
//!
//! A queue is bounded by [`WAITING`]. Full: the oldest goes, and the history says how many went.

use super::{events::Events, tree};
use crate::{
    config::{Deed, Hook, Occasion},
    control::types::Happened,
    http_client::{self, Connection, tls::Trust},
    lock::lock,
};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Serialize;
use std::{
    collections::{BTreeSet, VecDeque},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What may wait for one hook.
const WAITING: usize = 64;
/// Bytes of a command's standard error that are kept, to say why it failed.
const LAST_WORDS: usize = 4 << 10;
/// Longest pause before another attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest wait for hooks that are at work when the supervisor ends.
const LAST_CALLS: Duration = Duration::from_secs(3);
/// For what a command has written, when it has ended.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// Variables that are between the supervisor and systemd.
const SUPERVISORS_OWN: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// All hooks; cheap to clone.
#[derive(Clone)]
pub(crate) struct Hooks {
    workers: Arc<Mutex<Vec<Worker>>>,
    events: Arc<Events>,
    tasks: TaskTracker,
    children: Children,
}

/// A hook, and what it is still to be told.
type Worker = (Hook, Arc<Queue>);

/// Commands that run now: their ends are waited for here, and not to be reaped by others.
#[derive(Clone, Default)]
struct Children(Arc<Mutex<BTreeSet<u32>>>);

/// What one hook is still to be told.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<Bytes>,
    dropped: u64,
    /// Nothing more comes.
    closed: bool,
}

/// What a hook is given.
#[derive(Serialize)]
struct Call<'a> {
    event: &'a str,
    host: &'a str,
    #[serde(flatten)]
    happened: &'a Happened,
}

impl Hooks {
    /// None yet; what becomes of them is written to `events`.
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self { workers: Arc::default(), events, tasks: TaskTracker::new(), children: Children::default() }
    }

    /// From now on it is these. What is waiting for one that is no longer among them is still delivered.
    pub(super) fn set(&self, hooks: &[Hook]) {
        let mut workers = lock(&self.workers);
        let old = std::mem::take(&mut *workers);
        for hook in hooks {
            let known = old.iter().find(|(known, _)| known == hook).map(|(_, queue)| queue.clone());
            let queue = known.unwrap_or_else(|| self.start(hook));
            workers.push((hook.clone(), queue));
        }
        for (_, queue) in old.iter().filter(|(_, old)| !workers.iter().any(|(_, new)| Arc::ptr_eq(old, new)))
        {
            queue.close();
        }
    }

    fn start(&self, hook: &Hook) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        self.tasks.spawn(work(hook.clone(), queue.clone(), self.events.clone(), self.children.clone()));
        queue
    }

    /// Tells those that want to know. Never waits.
    pub(super) fn call(&self, occasion: Occasion, happened: &Happened) {
        let workers = lock(&self.workers);
        let wants = |hook: &Hook| {
            // What is about no app is about all of them.
            let concerned =
                hook.apps.is_empty() || happened.app.is_empty() || hook.apps.contains(&happened.app);
            hook.on.contains(&occasion) && concerned
        };
        let mut call = None;
        for (_, queue) in workers.iter().filter(|(hook, _)| wants(hook)) {
            queue.push(call.get_or_insert_with(|| body(occasion.as_str(), happened)).clone());
        }
    }

    /// The commands that run now.
    pub(super) fn children(&self) -> Vec<u32> {
        lock(&self.children.0).iter().copied().collect()
    }

    /// Delivers what is waiting, but not for long, and lets nobody wait any more.
    pub(super) async fn finish(&self) {
        lock(&self.workers).drain(..).for_each(|(_, queue)| queue.close());
        self.tasks.close();
        if timeout(LAST_CALLS, self.tasks.wait()).await.is_err() {
            tracing::warn!("some hooks have not been told everything: the supervisor ends");
            self.children().into_iter().for_each(tree::kill);
        }
    }
}

impl Queue {
    fn push(&self, call: Bytes) {
        let mut waiting = lock(&self.waiting);
        if waiting.calls.len() == WAITING {
            waiting.calls.pop_front();
            waiting.dropped += 1;
        }
        waiting.calls.push_back(call);
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.waiting).closed = true;
        self.changed.notify_one();
    }

    /// The oldest, and how many went before it unsaid; `None`: there is no more.
    async fn next(&self) -> Option<(Bytes, u64)> {
        loop {
            {
                let mut waiting = lock(&self.waiting);
                if let Some(call) = waiting.calls.pop_front() {
                    return Some((call, std::mem::take(&mut waiting.dropped)));
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// One hook, for as long as it is wanted.
async fn work(hook: Hook, queue: Arc<Queue>, events: Arc<Events>, children: Children) {
    let name = name(&hook);
    let tell = |what: &str, why: String| {
        tracing::warn!(hook = name, "{what}: {why}");
        events.record(&Happened::now("", what, Some(format!("{name}: {why}")), None, None));
    };
    while let Some((call, dropped)) = queue.next().await {
        if dropped > 0 {
            tell("hook behind", format!("{dropped} events were dropped: more than {WAITING} waited"));
        }
        let mut pause = hook.retry_delay;
        for attempt in 0..=hook.retries {
            match perform(&hook, &call, &children).await {
                Ok(()) => break,
                Err(Failed { why, again }) if again && attempt < hook.retries => {
                    tracing::warn!(hook = name, "failed, tried again in {pause:?}: {why:#}");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Failed { why, .. }) => {
                    tell("hook failed", format!("{why:#}"));
                    break;
                }
            }
        }
    }
}

/// Tells a hook of something that has not happened, once, to see whether it works.
///
/// # Errors
/// It does not.
pub(crate) async fn try_out(hook: &Hook) -> Result<()> {
    let app = hook.apps.first().map_or("chatting", String::as_str);
    let why = Some("somebody tries this hook out".to_owned());
    let call = body("test", &Happened::now(app, "test", why, None, None));
    perform(hook, &call, &Children::default()).await.map_err(|failed| failed.why)
}

/// What it does, for people.
pub(crate) fn name(hook: &Hook) -> String {
    match &hook.deed {
        // What follows may be a secret: a key in a header, the path of a webhook.
        Deed::Run(argv) => {
            let more = if argv.len() > 1 { " ..." } else { "" };
            format!("{}{more}", argv.first().map_or("", String::as_str))
        }
        Deed::Post(url) => {
            let host =
                url.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or(""));
            let more = if url.path() == "/" && url.query().is_none() { "" } else { "..." };
            format!("{}://{host}/{more}", url.scheme_str().unwrap_or("http"))
        }
    }
}

fn body(event: &str, happened: &Happened) -> Bytes {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    serde_json::to_vec(&Call { event, host: &host, happened }).unwrap_or_default().into()
}

/// Why it did not work, and whether another attempt may.
struct Failed {
    why: anyhow::Error,
    again: bool,
}

impl From<anyhow::Error> for Failed {
    fn from(why: anyhow::Error) -> Self {
        Self { why, again: true }
    }
}

async fn perform(hook: &Hook, call: &Bytes, children: &Children) -> Result<(), Failed> {
    match &hook.deed {
        Deed::Run(argv) => Ok(run(argv, call, hook.timeout, children).await?),
        Deed::Post(url) => match timeout(hook.timeout, post(url, call)).await {
            Err(_) => Err(anyhow::anyhow!("no answer within {:?}", hook.timeout).into()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => {
                let again = !status.is_client_error()
                    || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                Err(Failed { why: anyhow::anyhow!("it was answered with {status}"), again })
            }
        },
    }
}

async fn post(url: &http::Uri, call: &Bytes) -> Result<StatusCode> {
    let mut connection = Connection::to_url(url, Trust::Vouched).await?;
    let request = Request::post(http_client::path(url)).header("user-agent", "chatctl");
    connection.exchange(request, "application/json", call.clone()).await.map(|(status, _)| status)
}

/// Runs a command to its end, or kills it and all it started.
async fn run(argv: &[String], call: &Bytes, longest: Duration, children: &Children) -> Result<()> {
    let [program, arguments @ ..] = argv else { bail!("the command is empty") };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    for name in SUPERVISORS_OWN {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let pid = child.id().context("it has no pid")?;
    lock(&children.0).insert(pid);
    let _running = Running { pid, children };
    let (mut input, error) = (child.stdin.take(), child.stderr.take());
    let words = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut words = Vec::new();
        if let Some(mut error) = error {
            let _ = (&mut error).take(LAST_WORDS as u64).read_to_end(&mut words).await;
            // It must not wait for a reader, however much it writes.
            let _ = tokio::io::copy(&mut error, &mut tokio::io::sink()).await;
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    }));
    let ended = async {
        if let Some(mut input) = input.take() {
            // One that does not want to know may close it.
            let _ = input.write_all(&[call, &b"\n"[..]].concat()).await;
        }
        child.wait().await
    };
    let Ok(status) = timeout(longest, ended).await else {
        tree::kill(pid);
        let _ = child.wait().await;
        bail!("was not done within {longest:?}, and killed");
    };
    let status = status.context("cannot be waited for")?;
    if status.success() {
        return Ok(());
    }
    let words = timeout(LAST_BYTES, words).await.ok().and_then(Result::ok).unwrap_or_default();
    let last = words.lines().last().map_or(String::new(), |line| format!(" ({line})"));
    bail!("ended with {status}{last}")
}

/// A command is one of the children for as long as it runs.
struct Running<'a> {
    pid: u32,
    children: &'a Children,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.children.0).remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_full_queue_lets_the_oldest_go_and_counts_them() {
        let queue = Queue::default();
        for n in 0..WAITING + 3 {
            queue.push(n.to_string().into());
        }
        queue.close();
        let next = || queue.next().now_or_never().unwrap();
        assert_eq!(next(), Some(("3".into(), 3)));
        assert_eq!(next(), Some(("4".into(), 0)));
        assert_eq!(
            std::iter::from_fn(next).count(),
            WAITING - 2,
            "what was waiting when it closed still comes"
        );
    }

    #[test]
    fn names_tell_no_secrets() {
        let url = "http://user:secret@example.com:81/path?token=secret".parse().unwrap();
        let mut hook = Hook {
            on: vec![Occasion::Crash],
            apps: Vec::new(),
            deed: Deed::Post(url),
            timeout: Duration::from_secs(1),
            retries: 0,
            retry_delay: Duration::from_secs(1),
        };
        assert_eq!(name(&hook), "http://example.com:81/...");
        hook.deed = Deed::Post("http://example.com".parse().unwrap());
        assert_eq!(name(&hook), "http://example.com/");
        hook.deed = Deed::Post("https://hooks.example.com/services/secret".parse().unwrap());
        assert_eq!(name(&hook), "https://hooks.example.com/...");
        hook.deed = Deed::Run(vec!["curl".into(), "-H".into(), "authorization: secret".into()]);
        assert_eq!(name(&hook), "curl ...");
    }
}
