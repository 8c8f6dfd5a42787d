//! What is counted. Times are ns since the run began.

use super::{mark::Mark, report::Spread};
use hdrhistogram::Histogram;
use std::{collections::BTreeMap, ops::Range};

/// Three digits of each value are kept, up to an hour in µs.
const LONGEST: u64 = 3_600_000_000;
/// Kinds of troubles that are told apart.
const KINDS: usize = 50;

/// How long something took, again and again.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // Only figures that contradict each other are refused, and these do not.
        #[allow(clippy::expect_used, reason = "constants")]
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that fit"))
    }
}

impl Times {
    pub(super) fn record(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None`: nothing was.
    pub(super) fn spread(&self) -> Option<Spread> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Spread {
            count: self.0.len(),
            min: self.0.min(),
            mean: self.0.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        })
    }
}

/// What has happened up to now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What is measured; before it nothing is known.
    pub(super) window: Range<u64>,
    /// Messages sent, from the beginning; the next one has this number.
    pub(super) sent: u32,
    /// Messages that were due in the window.
    pub(super) sent_in_window: u64,
    /// Deliveries that are owed, from the beginning.
    pub(super) owed: u64,
    /// And that have come.
    pub(super) delivered: u64,
    /// Those that came within the window.
    pub(super) delivered_in_window: u64,
    /// How long those took that were due in the window, whenever they came.
    pub(super) latency: Times,
    /// How much later than due they were sent.
    pub(super) lag: Times,
    /// How long those took that were due while their receiver was away.
    pub(super) caught_up: Times,
    /// Deliveries that came once more.
    pub(super) twice: u64,
    /// Messages that were due and could not be sent: the server took no more.
    pub(super) unsent: u64,
    /// Messages that the server refused.
    pub(super) refused: u64,
    /// Connections that ended before the end.
    pub(super) lost: u64,
    /// Those that ended at the end.
    pub(super) left: u64,
    /// What went wrong, and how often.
    pub(super) troubles: BTreeMap<String, u64>,
    /// How long coming in took: of those who were to come in the window, or while there was none.
    pub(super) entry: Times,
    /// Who came in within the window.
    pub(super) entered_in_window: u64,
    /// Connections that were cut.
    pub(super) cuts: u64,
    /// How long coming back took.
    pub(super) back: Times,
    /// How many of them took up their session.
    pub(super) recovered: u64,
}

impl Tally {
    /// What is due from now on is measured, for so long.
    pub(super) fn measure(&mut self, window: Range<u64>) {
        self.window = window;
    }

    /// The window ends now.
    pub(super) fn close(&mut self, now: u64) {
        self.window.end = self.window.end.min(now);
    }

    /// A message that was due is on its way to so many.
    pub(super) fn said(&mut self, due: u64, now: u64, listeners: u64) {
        self.sent += 1;
        self.owed += listeners;
        if self.window.contains(&due) {
            self.sent_in_window += 1;
            self.lag.record(now.saturating_sub(due));
        }
    }

    /// Somebody has got a message.
    pub(super) fn heard(&mut self, mark: Mark, now: u64) {
        self.delivered += 1;
        if self.window.contains(&now) {
            self.delivered_in_window += 1;
        }
        if self.window.contains(&mark.due) {
            self.latency.record(now.saturating_sub(mark.due));
        }
    }

    /// The same, of one that may hear a message twice, or when it is back; it is connected since then.
    pub(super) fn heard_once(&mut self, mark: Mark, now: u64, is_first: bool, since: u64) {
        if !is_first {
            self.twice += 1;
        } else if mark.due >= since {
            self.heard(mark, now);
        } else {
            self.delivered += 1;
            self.delivered_in_window += u64::from(self.window.contains(&now));
            if self.window.contains(&mark.due) {
                self.caught_up.record(now.saturating_sub(mark.due));
            }
        }
    }

    /// Somebody who was to come then is in.
    pub(super) fn entered(&mut self, due: u64, now: u64) {
        if self.window.is_empty() || self.window.contains(&due) {
            self.entry.record(now.saturating_sub(due));
        }
        self.entered_in_window += u64::from(self.window.contains(&now));
    }

    /// Somebody who was away is back, after so many ns; with its session, or without.
    pub(super) fn returned(&mut self, is_recovered: bool, ns: u64) {
        self.recovered += u64::from(is_recovered);
        self.back.record(ns);
    }

    pub(super) fn trouble(&mut self, why: impl ToString) {
        let mut why = why.to_string();
        // A server may have something else to say each time.
        if self.troubles.len() >= KINDS && !self.troubles.contains_key(&why) {
            "something else".clone_into(&mut why);
        }
        *self.troubles.entry(why).or_default() += 1;
    }

    /// Deliveries that have not come.
    pub(super) fn missing(&self) -> u64 {
        self.owed.saturating_sub(self.delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(due: u64) -> Mark {
        Mark { run: 0, due, sender: 0, number: 0 }
    }

    #[test]
    fn a_stall_is_charged_for_all_that_waited() {
        let mut tally = Tally::default();
        tally.measure(0..1_000_000_000);
        // One message a millisecond for a second; the server stalls for the second half, and then takes all at once.
        for n in 0..1000u64 {
            let due = n * 1_000_000;
            let sent = if n < 500 { due } else { 1_000_000_000 };
            tally.said(due, sent, 1);
            tally.heard(mark(due), sent + 50_000);
        }
        let latency = tally.latency.spread().unwrap();
        assert_eq!((latency.count, latency.p50 < 100), (1000, true));
        assert!(
            (450_000..=451_000).contains(&latency.p90.abs_diff(50_000)) || latency.p90 > 390_000,
            "{latency:?}"
        );
        assert!(latency.max > 499_000, "{latency:?}");
        assert!(tally.lag.spread().unwrap().max > 499_000);
    }

    #[test]
    fn troubles_of_many_kinds_are_counted_all_the_same() {
        let mut tally = Tally::default();
        (0..1000).for_each(|n| tally.trouble(n));
        tally.trouble(0);
        assert_eq!((tally.troubles.len(), tally.troubles["0"]), (KINDS + 1, 2));
        assert_eq!(tally.troubles.values().sum::<u64>(), 1001);
    }

    #[test]
    fn what_was_due_in_the_window_counts_and_what_came_in_it() {
        let mut tally = Tally::default();
        tally.said(5, 5, 3);
        tally.measure(10..20);
        for due in [10, 19, 20] {
            tally.said(due, due, 2);
        }
        for (due, came) in [(5, 9), (5, 10), (10, 12), (10, 19), (19, 20), (20, 25)] {
            tally.heard(mark(due), came);
        }
        assert_eq!((tally.sent, tally.sent_in_window), (4, 2));
        assert_eq!((tally.owed, tally.delivered, tally.missing()), (9, 6, 3));
        assert_eq!((tally.delivered_in_window, tally.latency.spread().unwrap().count), (3, 3));
        tally.close(15);
        assert_eq!(tally.window, 10..15);
    }
}
