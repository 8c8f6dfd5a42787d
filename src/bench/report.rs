//! What came of a measurement: for machines as JSON, for people as a few lines.

pub(super) mod text;

use super::{
    process::{Here, Machine, Usage},
    run::Run,
    tally::Tally,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// See the module. Fields are only ever added.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Which version of this program measured.
    pub(crate) chatctl: String,
    pub(crate) scenario: String,
    pub(crate) url: String,
    /// What was asked for.
    pub(crate) settings: Value,
    /// Whether somebody ended it early.
    pub(crate) interrupted: bool,
    /// Length of the measurement.
    pub(crate) seconds: f64,
    pub(crate) connections: Connections,
    /// From the first byte sent until the CONNECT reply.
    pub(crate) entry_us: Option<Spread>,
    pub(crate) messages: Option<Messages>,
    /// From when a message was due until it was there, one for each that receives it.
    pub(crate) latency_us: Option<Spread>,
    /// People who came and went.
    pub(crate) handshakes: Option<Handshakes>,
    /// Those who were cut off.
    pub(crate) returns: Option<Returns>,
    /// From when one was cut off (`jitter`: from when it came back to the door) until it was in again.
    pub(crate) back_us: Option<Spread>,
    /// As `latency_us`, of what was due while its receiver was away.
    pub(crate) caught_up_us: Option<Spread>,
    pub(crate) server: Option<Server>,
    pub(crate) generator: Generator,
    /// What the host took from this machine in the measurement; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stolen: Option<Stolen>,
    /// What went wrong, and how often.
    pub(crate) troubles: BTreeMap<String, u64>,
}

/// Who came in.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) wanted: u64,
    pub(crate) made: u64,
    /// That ended before the end.
    pub(crate) lost: u64,
}

/// What was said. Of the measurement, but for what is owed and missing: these are of all that was said.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Messages {
    pub(crate) sent: u64,
    pub(crate) sent_per_s: f64,
    /// That were due, and could not be sent any more.
    pub(crate) unsent: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    pub(crate) delivered_per_s: f64,
    pub(crate) owed: u64,
    pub(crate) missing: u64,
    /// Deliveries that came once more than they should.
    pub(crate) twice: u64,
}

/// People who came and went, in the measurement.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Handshakes {
    pub(crate) made: u64,
    pub(crate) per_s: f64,
}

/// Those who were cut off.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Returns {
    /// Who came back.
    pub(crate) back: u64,
    /// Of them: with their session, so that they miss nothing.
    pub(crate) recovered: u64,
    /// Who had not come back when nobody waited any longer.
    pub(crate) away: u64,
}

/// How times are spread, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// What the server used in the measurement, with all its processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) cpu_s: f64,
    /// Cores that it kept busy.
    pub(crate) cores: f64,
    pub(crate) deliveries_per_cpu_s: Option<f64>,
    pub(crate) handshakes_per_cpu_s: Option<f64>,
    /// At the end.
    pub(crate) rss_bytes: u64,
    pub(crate) pss_bytes: u64,
    /// Before anybody came.
    pub(crate) rss_before_bytes: u64,
    pub(crate) pss_before_bytes: u64,
    /// What one connection took of it (PSS).
    pub(crate) bytes_per_connection: Option<f64>,
    /// After all had gone.
    pub(crate) pss_after_bytes: Option<u64>,
}

/// What measuring took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) cpu_s: f64,
    pub(crate) cores: f64,
    /// How much later than due messages were sent, in an open loop.
    pub(crate) lag_us: Option<Spread>,
}

/// What the host of a virtual machine gave to others while there was work to do here: it decides how long the longest
/// waits are, whatever the server does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stolen {
    /// Of all processors together.
    pub(crate) cpu_s: f64,
    /// Of their time, from 0 to 1.
    pub(crate) share: f64,
}

impl Stolen {
    fn between(before: Machine, after: Machine) -> Option<Self> {
        let stolen = after.stolen.saturating_sub(before.stolen).as_secs_f64();
        let all = after.all.saturating_sub(before.all).as_secs_f64();
        (stolen > 0.0 && all > 0.0).then(|| Self { cpu_s: stolen, share: (stolen / all).min(1.0) })
    }
}

impl Report {
    pub(super) fn new(run: &Run, scenario: &str, settings: &impl Serialize, wanted: u32) -> Self {
        let tally = run.tally.borrow();
        let mut asked = serde_json::to_value(settings).unwrap_or_default();
        if let (Some(asked), Ok(Value::Object(against))) =
            (asked.as_object_mut(), serde_json::to_value(&run.against))
        {
            asked.extend(against.into_iter().filter(|(key, _)| key != "url"));
        }
        let (window, entry_us) = (tally.window.clone(), tally.entry.spread());
        Self {
            chatctl: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: scenario.to_owned(),
            url: run.against.url.clone(),
            settings: asked,
            interrupted: run.interrupted.get(),
            seconds: Duration::from_nanos(window.end.saturating_sub(window.start)).as_secs_f64(),
            connections: Connections {
                wanted: wanted.into(),
                made: entry_us.map_or(0, |entry| entry.count),
                lost: tally.lost,
            },
            entry_us,
            messages: None,
            handshakes: None,
            returns: None,
            back_us: None,
            caught_up_us: None,
            latency_us: None,
            server: None,
            generator: Generator::default(),
            stolen: None,
            troubles: tally.troubles.clone(),
        }
    }

    pub(super) fn messages(&mut self, tally: &Tally) {
        self.latency_us = tally.latency.spread();
        self.generator.lag_us = tally.lag.spread().filter(|_| self.settings["rate"].is_number());
        self.caught_up_us = tally.caught_up.spread();
        self.messages = Some(Messages {
            sent: tally.sent_in_window,
            sent_per_s: self.per_second(tally.sent_in_window as f64),
            unsent: tally.unsent,
            refused: tally.refused,
            delivered: tally.delivered_in_window,
            delivered_per_s: self.per_second(tally.delivered_in_window as f64),
            owed: tally.owed,
            missing: tally.missing(),
            twice: tally.twice,
        });
    }

    pub(super) fn handshakes(&mut self, tally: &Tally) {
        let made = tally.entered_in_window;
        self.handshakes = Some(Handshakes { made, per_s: self.per_second(made as f64) });
    }

    pub(super) fn returns(&mut self, tally: &Tally, away: u64) {
        self.back_us = tally.back.spread();
        self.returns = Some(Returns { back: tally.back.count(), recovered: tally.recovered, away });
    }

    /// And what its machine lost meanwhile.
    pub(super) fn generator(&mut self, before: &Here, after: &Here) {
        self.generator.cpu_s = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        self.stolen =
            before.machine.zip(after.machine).and_then(|(before, after)| Stolen::between(before, after));
        self.generator.cores = self.per_second(self.generator.cpu_s);
    }

    /// `idle`: before anybody came; the others: when the measurement began, and when it ended.
    pub(super) fn server(&mut self, idle: Option<Usage>, before: Option<Usage>, after: Option<Usage>) {
        let (Some(idle), Some(before), Some(after)) = (idle, before, after) else { return };
        let cpu_s = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        let per_cpu = |count: u64| (cpu_s > 0.0).then(|| count as f64 / cpu_s);
        let (made, more) = (self.connections.made, after.pss.saturating_sub(idle.pss));
        self.server = Some(Server {
            cpu_s,
            cores: self.per_second(cpu_s),
            deliveries_per_cpu_s: self.messages.as_ref().and_then(|messages| per_cpu(messages.delivered)),
            handshakes_per_cpu_s: self.handshakes.as_ref().and_then(|handshakes| per_cpu(handshakes.made)),
            rss_bytes: after.rss,
            pss_bytes: after.pss,
            rss_before_bytes: idle.rss,
            pss_before_bytes: idle.pss,
            bytes_per_connection: (made > 0 && self.handshakes.is_none()).then(|| more as f64 / made as f64),
            pss_after_bytes: None,
        });
    }

    /// After all had gone.
    pub(super) fn left(&mut self, usage: Option<Usage>, tally: &Tally) {
        self.troubles.clone_from(&tally.troubles);
        if let (Some(server), Some(usage)) = (&mut self.server, usage) {
            server.pss_after_bytes = Some(usage.pss);
        }
    }

    /// Whether everything was as it should be: all came in and stayed, and all that was said arrived.
    pub(crate) fn is_whole(&self) -> bool {
        let Connections { wanted, made, lost } = self.connections;
        let stayed = lost == 0 && made == wanted;
        let arrived = match (&self.returns, &self.messages) {
            // That something is lost on those who are cut off is what is measured, and that a door is crowded.
            (Some(returns), _) => returns.away == 0,
            (None, Some(messages)) => messages.missing + messages.unsent + messages.refused == 0,
            (None, None) => true,
        };
        !self.interrupted && stayed && arrived && (self.returns.is_some() || self.troubles.is_empty())
    }

    fn per_second(&self, sum: f64) -> f64 {
        if self.seconds > 0.0 { sum / self.seconds } else { 0.0 }
    }
}

/// A duration in s.
pub(super) fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_a_part_of_all_there_was() {
        let machine =
            |all, stolen| Machine { all: Duration::from_secs(all), stolen: Duration::from_secs(stolen) };
        let between = |before, after| Stolen::between(before, after);
        assert_eq!(between(machine(100, 5), machine(120, 6)), Some(Stolen { cpu_s: 1.0, share: 0.05 }));
        for (before, after) in [((100, 5), (120, 5)), ((100, 5), (100, 5)), ((100, 5), (120, 4))] {
            assert_eq!(between(machine(before.0, before.1), machine(after.0, after.1)), None);
        }
    }
}
