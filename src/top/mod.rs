//! `chatctl top`: supervisor, apps, rooms and log on one screen, as they are now.
//!
//! ```text
//! /status, /stats, log files, keys, signals -> model (pure) -> view (pure) -> terminal
//! ```
//!
//! Promises: the terminal is left as it was, however this ends (a panic, SIGTERM, SIGHUP) or is suspended; a
//! supervisor that is away is shown, and looked for. It reads and asks; it decides nothing.

mod model;
mod view;

use crate::{
    control::{client, types::Status},
    supervisor::{follow, logs},
};
use anyhow::Result;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::{StreamExt, future::join_all};
use model::{Deed, Key, Model, Sample};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Who does not answer by then is away.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Rooms that are asked for.
const ROOMS: usize = 40;
/// Lines of each log that are there at the start.
const BEGINNING: usize = 100;

/// What comes in from elsewhere.
enum News {
    Sampled(Status, BTreeMap<String, Sample>),
    Lost(String),
    Logged(String, String),
    Done(String),
}

/// Shows it until somebody quits.
///
/// # Errors
/// There is no terminal, or it is gone.
pub(crate) async fn run(state_dir: PathBuf, colour: bool) -> Result<()> {
    let mut ends =
        [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?];
    let mut suspend = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
    // Full: samples wait; lines of a log that comes too fast to be read are left out.
    let (told, mut news) = mpsc::channel(256);
    tokio::spawn(sample(state_dir.clone(), told.clone()));
    let mut screen = Screen::new()?;
    let mut keys = EventStream::new();
    let mut model = Model::default();
    let mut followed = Vec::new();
    loop {
        follow_logs(&model, &state_dir, &mut followed, &told);
        screen.terminal.draw(|frame| view::draw(frame, &model, colour))?;
        let [term, hup, int] = &mut ends;
        let deed = tokio::select! {
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if is_suspend(key) => {
                    screen.suspend()?;
                    Deed::Nothing
                }
                Some(Ok(Event::Key(key))) => read(key).map_or(Deed::Nothing, |key| {
                    model.said = None;
                    model.pressed(key)
                }),
                Some(Ok(_)) => Deed::Nothing,
                // The terminal is gone.
                Some(Err(_)) | None => Deed::Quit,
            },
            Some(news) = news.recv() => {
                take(&mut model, news);
                Deed::Nothing
            }
            _ = suspend.recv() => {
                screen.suspend()?;
                Deed::Nothing
            }
            _ = term.recv() => Deed::Quit,
            _ = hup.recv() => Deed::Quit,
            _ = int.recv() => Deed::Quit,
        };
        match deed {
            Deed::Nothing => {}
            Deed::Quit => return Ok(()),
            Deed::Order(action, app) => {
                model.said = Some(format!("{action} {app}: under way"));
                let (state_dir, told) = (state_dir.clone(), told.clone());
                tokio::spawn(async move {
                    let done = match client::act(&state_dir, action, std::slice::from_ref(&app)).await {
                        Ok(outcomes) => {
                            let said = outcomes
                                .iter()
                                .map(|outcome| format!("{action} {}: {}", outcome.app, outcome.message));
                            said.collect::<Vec<_>>().join("; ")
                        }
                        Err(error) => format!("{action} {app}: {error:#}"),
                    };
                    told.send(News::Done(done)).await
                });
            }
        }
    }
}

fn take(model: &mut Model, news: News) {
    match news {
        News::Sampled(status, samples) => model.sampled(status, &samples, Instant::now()),
        News::Lost(why) => model.lost(why),
        News::Logged(app, line) => model.logged(app, &line),
        News::Done(said) => model.said = Some(said),
    }
}

/// Asks the supervisor and each chat server, again and again.
async fn sample(state_dir: PathBuf, told: mpsc::Sender<News>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let news = match client::status(&state_dir, TIMEOUT).await {
            Ok(status) => {
                let samples = samples(&state_dir.join("run"), &status).await;
                News::Sampled(status, samples)
            }
            Err(error) => News::Lost(format!("{error:#}")),
        };
        if told.send(news).await.is_err() {
            return;
        }
    }
}

async fn samples(run: &Path, status: &Status) -> BTreeMap<String, Sample> {
    let chats = status.apps.iter().filter(|app| app.pid.is_some() && app.profile != "-");
    let asked = chats.map(async |app| {
        let stats =
            client::stats_and_rooms(&client::stats_socket(run, &app.name), ROOMS, TIMEOUT).await.ok()?;
        let sample =
            Sample { accepted: stats.accepted, delivered: stats.delivered, rooms: stats.largest_rooms };
        Some((app.name.clone(), sample))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Reads along in the logs of apps that are new.
fn follow_logs(model: &Model, state_dir: &Path, followed: &mut Vec<String>, told: &mpsc::Sender<News>) {
    let apps = model.status.iter().flat_map(|status| &status.apps);
    for app in apps.filter(|app| !followed.contains(&app.name)).collect::<Vec<_>>() {
        followed.push(app.name.clone());
        let (name, file, told) = (app.name.clone(), app.log_file.clone(), told.clone());
        let folder = state_dir.join("logs");
        // Ends with the process: reading along blocks.
        thread::spawn(move || {
            let logged = |line: String| News::Logged(name.clone(), line);
            let (lines, end) = logs::tail_and_end(&file, BEGINNING, |_| true).unwrap_or_default();
            for line in lines {
                let _ = told.blocking_send(logged(line));
            }
            let _ = follow::follow(&folder, &[(file, end)], |_, line| {
                !matches!(told.try_send(logged(line.to_owned())), Err(mpsc::error::TrySendError::Closed(_)))
            });
        });
    }
}

/// The terminal, which is as it was when this is gone.
struct Screen {
    terminal: ratatui::DefaultTerminal,
}

impl Screen {
    /// Takes it; a panic gives it back as well.
    fn new() -> Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }

    /// Gives it back, stops this process until it is to go on, and takes it again.
    fn suspend(&mut self) -> Result<()> {
        ratatui::try_restore()?;
        // Not SIGTSTP, which is waited for here.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
        self.terminal = ratatui::try_init()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

fn is_suspend(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('z') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn read(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Char('q')),
        KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => None,
        KeyCode::Char(c) => Some(Key::Char(c)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Backspace => Some(Key::Backspace),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
