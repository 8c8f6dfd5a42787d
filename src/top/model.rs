//! What `top` shows, made from samples, and what its keys mean. Pure: time is an argument.

use crate::control::types::{Action, RoomSize, Status};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

/// Samples that are kept of each app; one a second.
const SAMPLES: usize = 240;
/// Log lines that are kept of each app.
const LINES: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// As the supervisor said last.
    pub(super) status: Option<Status>,
    /// Why it says nothing now.
    pub(super) away: Option<String>,
    pub(super) series: BTreeMap<String, Series>,
    /// The app that is looked at, by its place.
    pub(super) selected: usize,
    /// What each app wrote last: none loses its lines to one that writes more.
    log: BTreeMap<String, VecDeque<String>>,
    /// Only lines with this in them, whatever its case.
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// What became of the last order.
    pub(super) said: Option<String>,
}

/// What a key means now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// An order, or a look at something else.
    #[default]
    Look,
    /// A letter of the filter.
    Filter,
    /// Yes or no.
    Sure(Action, String),
}

/// One app over the last minutes.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) memory: VecDeque<u64>,
    /// Tenths of a percent of one core.
    pub(super) cpu: VecDeque<u64>,
    /// Messages in, a second.
    pub(super) said: VecDeque<u64>,
    /// Packets out, a second.
    pub(super) sent: VecDeque<u64>,
    pub(super) rooms: Vec<RoomSize>,
    counted: Option<(Instant, u64, u64)>,
}

/// What a chat server says of itself, as far as it is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) rooms: Vec<RoomSize>,
}

/// A key, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    Enter,
    Escape,
    Backspace,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    Quit,
    Order(Action, String),
}

impl Model {
    /// Takes what supervisor and servers say now.
    pub(super) fn sampled(&mut self, status: Status, samples: &BTreeMap<String, Sample>, now: Instant) {
        self.series.retain(|name, _| status.apps.iter().any(|app| app.name == *name));
        for app in &status.apps {
            let series = self.series.entry(app.name.clone()).or_default();
            push(&mut series.memory, app.memory_bytes);
            push(&mut series.cpu, tenths(app.cpu_percent));
            series.counted(samples.get(&app.name), now);
        }
        self.selected = self.selected.min(status.apps.len().saturating_sub(1));
        (self.status, self.away) = (Some(status), None);
    }

    /// Nobody answers: what is known stays, and is said to be old.
    pub(super) fn lost(&mut self, why: String) {
        self.away = Some(why);
    }

    /// Takes a line of an app's log.
    pub(super) fn logged(&mut self, app: String, line: &str) {
        let log = self.log.entry(app).or_default();
        if log.len() == LINES {
            log.pop_front();
        }
        // What a program writes must not move this screen's cursor.
        let line = line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control());
        log.push_back(line.collect());
    }

    /// The name of the app that is looked at.
    pub(super) fn app(&self) -> Option<&str> {
        Some(&self.status.as_ref()?.apps.get(self.selected)?.name)
    }

    /// The lines of its log that the filter lets through, oldest first.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        let filter = self.filter.to_lowercase();
        let log = self.app().and_then(|app| self.log.get(app));
        let lines = log.into_iter().flatten().map(String::as_str);
        lines.filter(move |line| line.to_lowercase().contains(&filter))
    }

    /// Takes a key.
    pub(super) fn pressed(&mut self, key: Key) -> Deed {
        match (std::mem::take(&mut self.mode), key) {
            (Mode::Sure(action, app), Key::Char('y' | 'Y')) => return Deed::Order(action, app),
            (Mode::Sure(..), _) => {}
            (Mode::Filter, Key::Enter) => {}
            (Mode::Filter, Key::Escape) => self.filter.clear(),
            (Mode::Filter, key) => {
                match key {
                    Key::Char(c) => self.filter.push(c),
                    Key::Backspace => drop(self.filter.pop()),
                    _ => {}
                }
                self.mode = Mode::Filter;
            }
            (Mode::Look, Key::Char('q')) => return Deed::Quit,
            (Mode::Look, Key::Char('/')) => self.mode = Mode::Filter,
            (Mode::Look, Key::Escape) => self.filter.clear(),
            (Mode::Look, Key::Up | Key::Char('k')) => self.selected = self.selected.saturating_sub(1),
            (Mode::Look, Key::Down | Key::Char('j')) => {
                let last = self.status.as_ref().map_or(0, |status| status.apps.len().saturating_sub(1));
                self.selected = (self.selected + 1).min(last);
            }
            (Mode::Look, Key::Char(c)) => {
                let action = match c {
                    'r' => Some(Action::Reload),
                    'R' => Some(Action::Restart),
                    's' => Some(Action::Stop),
                    'S' => Some(Action::Start),
                    _ => None,
                };
                if let Some((action, app)) = action.zip(self.app().map(str::to_owned)) {
                    self.mode = Mode::Sure(action, app);
                }
            }
            (Mode::Look, Key::Enter | Key::Backspace) => {}
        }
        Deed::Nothing
    }
}

impl Series {
    fn counted(&mut self, sample: Option<&Sample>, now: Instant) {
        let Some(sample) = sample else {
            self.counted = None;
            self.rooms.clear();
            push(&mut self.said, 0);
            push(&mut self.sent, 0);
            return;
        };
        let before = self.counted.replace((now, sample.accepted, sample.delivered));
        let (said, sent) = before.map_or((0, 0), |(then, accepted, delivered)| {
            let millis = u64::try_from(now.duration_since(then).as_millis()).unwrap_or(u64::MAX).max(1);
            // Another process began to count afresh.
            let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1000) / millis;
            (rate(sample.accepted, accepted), rate(sample.delivered, delivered))
        });
        push(&mut self.said, said);
        push(&mut self.sent, sent);
        self.rooms.clone_from(&sample.rooms);
    }
}

fn push(samples: &mut VecDeque<u64>, sample: u64) {
    if samples.len() == SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// Of a percentage.
fn tenths(percent: f32) -> u64 {
    let text = format!("{:.0}", (percent * 10.0).max(0.0));
    text.parse().unwrap_or(0)
}
