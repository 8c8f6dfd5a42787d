//! The report for people.

use super::{Report, Returns, Spread, Stolen};
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { scenario, url, connections, .. } = self;
        let early = if self.interrupted { ", interrupted" } else { "" };
        let by = if self.settings["transport"] == "polling" { " by polling" } else { "" };
        writeln!(f, "{scenario} of {url}{by}, {:.1} s{early}", self.seconds)?;
        let (made, wanted) = (count(connections.made as f64), count(connections.wanted as f64));
        writeln!(f, "  connections  {made} of {wanted}{}", some(", lost: ", connections.lost))?;
        if let Some(messages) = &self.messages {
            let (sent, delivered) = (count(messages.sent_per_s), count(messages.delivered_per_s));
            let troubles = [
                some(", could not be sent: ", messages.unsent),
                some(", refused: ", messages.refused),
                some(", MISSING: ", messages.missing),
                some(", twice: ", messages.twice),
            ];
            writeln!(f, "  messages     {sent}/s sent, {delivered}/s delivered{}", troubles.concat())?;
            if self.returns.is_some() && messages.owed > 0 {
                let share = 100.0 * (messages.owed - messages.missing) as f64 / messages.owed as f64;
                writeln!(f, "  delivered    {share:.3} % of {}", count(messages.owed as f64))?;
            }
        }
        spread(f, "latency", self.latency_us.as_ref())?;
        if let Some(handshakes) = &self.handshakes {
            writeln!(
                f,
                "  handshakes   {}/s, {} in all",
                count(handshakes.per_s),
                count(handshakes.made as f64)
            )?;
        }
        spread(f, "coming in", self.entry_us.as_ref())?;
        if let Some(Returns { back, recovered, away }) = self.returns {
            let (back, recovered) = (count(back as f64), count(recovered as f64));
            writeln!(
                f,
                "  returns      {back}, {recovered} of them with their session{}",
                some(", STILL AWAY: ", away)
            )?;
        }
        spread(f, "coming back", self.back_us.as_ref())?;
        spread(f, "caught up", self.caught_up_us.as_ref())?;
        if let Some(server) = &self.server {
            write!(f, "  server       {:.0} % of a core", 100.0 * server.cores)?;
            if let Some(deliveries) = server.deliveries_per_cpu_s {
                write!(f, ", {} deliveries per CPU-second", count(deliveries))?;
            }
            if let Some(handshakes) = server.handshakes_per_cpu_s {
                write!(f, ", {} handshakes per CPU-second", count(handshakes))?;
            }
            let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            write!(f, "; {:.1} MB (PSS)", megabytes(server.pss_bytes))?;
            if let Some(after) = server.pss_after_bytes {
                write!(
                    f,
                    ", {:.1} MB before, {:.1} MB after",
                    megabytes(server.pss_before_bytes),
                    megabytes(after)
                )?;
            }
            if let Some(bytes) = server.bytes_per_connection {
                write!(f, ", {:.1} KB a connection", bytes / 1024.0)?;
            }
            writeln!(f)?;
        }
        write!(f, "  generator    {:.0} % of a core", 100.0 * self.generator.cores)?;
        if let Some(lag) = &self.generator.lag_us {
            write!(f, ", late by {} (99 %)", time(lag.p99))?;
        }
        writeln!(f)?;
        if let Some(Stolen { cpu_s, share }) = self.stolen {
            let share = 100.0 * share;
            writeln!(
                f,
                "  host         took {cpu_s:.2} s of the processors ({share:.1} %) from this machine: the longest waits may be its"
            )?;
        }
        self.troubles
            .iter()
            .try_for_each(|(what, times)| writeln!(f, "  ! {} times: {what}", count(*times as f64)))
    }
}

fn spread(f: &mut Formatter<'_>, name: &str, spread: Option<&Spread>) -> fmt::Result {
    let Some(Spread { p50, p90, p99, p999, max, .. }) = spread else { return Ok(()) };
    let quantiles = [("50 %", p50), ("90 %", p90), ("99 %", p99), ("99.9 %", p999), ("longest", max)];
    let quantiles = quantiles.map(|(name, us)| format!("{name} {}", time(*us)));
    writeln!(f, "  {name:12} {}", quantiles.join(", "))
}

fn some(name: &str, number: u64) -> String {
    if number == 0 { String::new() } else { format!("{name}{}", count(number as f64)) }
}

/// With commas, as `12,345`.
pub(in crate::bench) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// µs in the unit that people would take.
pub(in crate::bench) fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..10_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}
