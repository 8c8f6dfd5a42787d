//! Two measurements side by side: what is better now, and by how much.

use super::{
    Report,
    report::text::{count, time},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
};

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Number,
    Micros,
    Bytes,
    Cores,
    /// Of all there was; nothing on both sides is not worth a line.
    Share,
}

/// A figure of a report, and its name.
type Figure = (&'static str, Unit, fn(&Report) -> Option<f64>);

const FIGURES: [Figure; 18] = [
    ("delivered a second", Unit::Number, |report| Some(report.messages.as_ref()?.delivered_per_s)),
    ("deliveries per CPU-second", Unit::Number, |report| report.server.as_ref()?.deliveries_per_cpu_s),
    ("latency, 50 %", Unit::Micros, |report| Some(report.latency_us?.p50 as f64)),
    ("latency, 99 %", Unit::Micros, |report| Some(report.latency_us?.p99 as f64)),
    ("latency, 99.9 %", Unit::Micros, |report| Some(report.latency_us?.p999 as f64)),
    ("missing", Unit::Number, |report| Some(report.messages.as_ref()?.missing as f64)),
    ("came in a second", Unit::Number, |report| Some(report.handshakes.as_ref()?.per_s)),
    ("handshakes per CPU-second", Unit::Number, |report| report.server.as_ref()?.handshakes_per_cpu_s),
    ("coming in, 99 %", Unit::Micros, |report| Some(report.entry_us?.p99 as f64)),
    ("came back with their session", Unit::Number, |report| Some(report.returns.as_ref()?.recovered as f64)),
    ("coming back, 99 %", Unit::Micros, |report| Some(report.back_us?.p99 as f64)),
    // Where some have not come back there is no such time.
    ("all back", Unit::Micros, |report| {
        let all = report.returns.as_ref()?.away == 0;
        report.back_us.filter(|_| all).map(|back| back.max as f64)
    }),
    ("memory (PSS)", Unit::Bytes, |report| Some(report.server.as_ref()?.pss_bytes as f64)),
    ("memory of a connection", Unit::Bytes, |report| report.server.as_ref()?.bytes_per_connection),
    ("memory when all have gone", Unit::Bytes, |report| {
        Some(report.server.as_ref()?.pss_after_bytes? as f64)
    }),
    ("cores of the server", Unit::Cores, |report| Some(report.server.as_ref()?.cores)),
    ("cores of the generator", Unit::Cores, |report| Some(report.generator.cores)),
    ("taken by the host", Unit::Share, |report| Some(report.stolen.map_or(0.0, |stolen| stolen.share))),
];

/// See the module.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Measurements of each.
    rounds: [usize; 2],
    /// What was asked for differently.
    differences: Vec<String>,
    /// How many of each lost or refused something, or were ended early: what they say of the rest flatters.
    not_whole: [usize; 2],
    figures: Vec<Row>,
}

/// A figure that both have: medians.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    #[serde(skip)]
    unit: Unit,
    before: f64,
    after: f64,
    /// `after / before`; `None`: there was nothing before.
    ratio: Option<f64>,
}

impl Comparison {
    /// Of several rounds of each the medians are compared.
    pub(crate) fn of(before: &[Report], after: &[Report]) -> Self {
        let row = |(name, unit, figure): Figure| {
            let (before, after) = (median(before, figure)?, median(after, figure)?);
            if matches!(unit, Unit::Share) && before + after == 0.0 {
                return None;
            }
            Some(Row { name, unit, before, after, ratio: (before > 0.0).then(|| after / before) })
        };
        Self {
            rounds: [before.len(), after.len()],
            differences: differences(before, after),
            not_whole: [before, after]
                .map(|reports| reports.iter().filter(|report| !report.is_whole()).count()),
            figures: FIGURES.into_iter().filter_map(row).collect(),
        }
    }
}

fn median(reports: &[Report], figure: fn(&Report) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(figure).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)?;
    Some(f64::midpoint(values[middle / 2], values[middle.div_ceil(2)]))
}

/// What makes two measurements ones of different things; the server's address does not.
fn differences(before: &[Report], after: &[Report]) -> Vec<String> {
    let asked = |reports: &[Report]| -> BTreeSet<String> {
        let settings = |report: &Report| {
            let settings = report.settings.as_object().cloned().unwrap_or_default();
            let mut asked: Vec<String> =
                settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
            asked.push(format!("scenario {}", report.scenario));
            asked
        };
        reports.iter().flat_map(settings).collect()
    };
    let (before, after) = (asked(before), asked(after));
    let only = |what: &str, here: &BTreeSet<String>, there: &BTreeSet<String>| {
        here.difference(there).map(|setting| format!("only {what}: {setting}")).collect::<Vec<_>>()
    };
    [only("before", &before, &after), only("after", &after, &before)].concat()
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Number => count(value),
            Self::Micros => time(value as u64),
            Self::Bytes if value < 1_048_576.0 => format!("{:.1} KB", value / 1024.0),
            Self::Bytes => format!("{:.1} MB", value / 1_048_576.0),
            Self::Cores => format!("{value:.2}"),
            Self::Share => format!("{:.1} %", 100.0 * value),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [before, after] = self.rounds;
        writeln!(
            f,
            "{:28} {:>14} {:>14}   after / before",
            format!("medians of {before} and {after}"),
            "before",
            "after"
        )?;
        for Row { name, unit, before, after, ratio } in &self.figures {
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(f, "{name:28} {:>14} {:>14}   {ratio:>6}", unit.show(*before), unit.show(*after))?;
        }
        for ((what, rounds), count) in ["before", "after"].iter().zip(self.rounds).zip(self.not_whole) {
            if count > 0 {
                writeln!(
                    f,
                    "! {what}: {count} of {rounds} lost or refused something, or were ended early: see the reports"
                )?;
            }
        }
        self.differences.iter().try_for_each(|difference| writeln!(f, "! {difference}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report(deliveries: f64, more: Value) -> Report {
        let mut report = json!({
            "chatctl": "0.1.0", "scenario": "fanout", "url": "http://x", "settings": { "clients": 10 },
            "interrupted": false, "seconds": 1.0, "connections": { "wanted": 10, "made": 10, "lost": 0 },
            "server": {
                "cpu_s": 1.0, "cores": 1.0, "deliveries_per_cpu_s": deliveries, "rss_bytes": 0, "pss_bytes": 2_097_152,
                "rss_before_bytes": 0, "pss_before_bytes": 0
            },
            "generator": { "cpu_s": 0.5, "cores": 0.5 }, "troubles": {}
        });
        for (key, value) in more.as_object().unwrap() {
            report[key] = value.clone();
        }
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn medians_are_compared_and_what_only_one_has_is_not() {
        let spread = json!({ "count": 1, "min": 1, "mean": 1.0, "p50": 1, "p90": 1, "p99": 1500, "p999": 1, "max": 1 });
        let before =
            [70.0, 1000.0, 80.0].map(|deliveries| report(deliveries, json!({ "latency_us": spread })));
        let after = [200.0, 280.0].map(|deliveries| report(deliveries, json!({})));
        let comparison = Comparison::of(&before, &after);
        let row = &comparison.figures[0];
        assert_eq!(
            (row.name, row.before, row.after, row.ratio),
            ("deliveries per CPU-second", 80.0, 240.0, Some(3.0))
        );
        assert!(comparison.differences.is_empty());
        assert!(comparison.figures.iter().all(|row| row.name != "taken by the host"), "nothing was");
        let stolen = [report(1.0, json!({ "stolen": { "cpu_s": 1.0, "share": 0.25 } }))];
        let text = Comparison::of(&before[..1], &stolen).to_string();
        assert!(text.contains("taken by the host") && text.contains("25.0 %"), "{text}");
        let text = comparison.to_string();
        assert!(
            text.contains("medians of 3 and 2") && text.contains("2.0 MB") && !text.contains("latency"),
            "{text}"
        );
    }

    #[test]
    fn measurements_that_lost_something_are_not_compared_in_silence() {
        let spread = |max| json!({ "count": 1, "min": 1, "mean": 1.0, "p50": 1, "p90": 1, "p99": 1, "p999": 1, "max": max });
        let storm = |away, max| {
            report(
                1.0,
                json!({ "back_us": spread(max), "returns": { "back": 9, "recovered": 9, "away": away } }),
            )
        };
        let well = Comparison::of(&[storm(0, 9000)], &[storm(0, 5000)]);
        assert!(well.figures.iter().any(|row| row.name == "all back"));
        assert!(!well.to_string().contains('!'), "{well}");
        let ill = Comparison::of(&[storm(0, 9000)], &[storm(1, 10), storm(0, 10)]);
        assert_eq!(ill.not_whole, [0, 1]);
        assert!(ill.to_string().contains("! after: 1 of 2 lost"), "{ill}");
        let away = Comparison::of(&[storm(0, 9000)], &[storm(1, 10)]);
        assert!(away.figures.iter().all(|row| row.name != "all back"), "{away}");
    }

    #[test]
    fn what_was_asked_for_differently_is_said() {
        let before = [report(1.0, json!({}))];
        let after = [report(0.0, json!({ "scenario": "churn", "settings": { "clients": 20 } }))];
        let comparison = Comparison::of(&before, &after);
        let expect = [
            "only before: clients 10",
            "only before: scenario fanout",
            "only after: clients 20",
            "only after: scenario churn",
        ];
        assert_eq!(comparison.differences, expect);
        assert_eq!(Comparison::of(&after, &before).figures[0].ratio, None);
        assert!(Comparison::of(&[], &before).figures.is_empty());
    }
}
