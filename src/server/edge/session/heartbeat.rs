//! The heartbeat of a session (Engine.IO protocol, "Heartbeat"): in protocol 4 the server pings and the client answers, in
//! protocol 3 the client pings. Whoever is not heard of in time is gone.
//!
//! Pure: it knows what is due when, and reads no clock.

use std::time::{Duration, Instant};

/// From one ping to the next. Clients are told both when their session opens.
pub(in crate::server) const INTERVAL: Duration = Duration::from_secs(25);
/// Longest wait for the answer to one, or beyond its time for one.
pub(in crate::server) const TIMEOUT: Duration = Duration::from_secs(20);

/// Before the end of its interval the first ping goes out, by up to so much: those of a crowd that comes at once would else
/// all go out at once, for ever.
const EARLY: Duration = Duration::from_secs(5);
/// In so many steps.
const STEPS: u32 = 50;

/// How long after it opens a session is pinged, of which this is the number.
pub(super) fn first(number: u64) -> Duration {
    let step = u32::try_from(number % u64::from(STEPS)).unwrap_or(0);
    INTERVAL - EARLY * step / STEPS
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Protocol 4: to ping.
    Rest { until: Instant },
    /// Protocol 4: for the answer; `next`: when the next ping goes out.
    Pinged { until: Instant, next: Instant },
    /// Protocol 3: for the client's ping.
    Listens { until: Instant },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    Nothing,
    /// A ping goes out.
    Ping,
    /// The client is gone.
    Dead,
}

impl Heartbeat {
    /// Of a session whose first ping, if it is the server's, goes out after so long.
    pub(super) fn begin(eio3: bool, first: Duration, now: Instant) -> Self {
        match eio3 {
            false => Self::Rest { until: now + first },
            true => Self::Listens { until: now + INTERVAL + TIMEOUT },
        }
    }

    /// When something is due.
    pub(super) fn due(&self) -> Instant {
        match self {
            Self::Rest { until } | Self::Pinged { until, .. } | Self::Listens { until } => *until,
        }
    }

    /// What is due now.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        match *self {
            _ if now < self.due() => Beat::Nothing,
            Self::Rest { .. } => {
                *self = Self::Pinged { until: now + TIMEOUT, next: now + INTERVAL };
                Beat::Ping
            }
            Self::Pinged { .. } | Self::Listens { .. } => Beat::Dead,
        }
    }

    /// The client is heard of: in protocol 4 it has answered, in protocol 3 it has pinged.
    pub(super) fn heard(&mut self, now: Instant) {
        match *self {
            // An answer to nothing says nothing.
            Self::Rest { .. } => {}
            Self::Pinged { next, .. } => *self = Self::Rest { until: next },
            Self::Listens { .. } => *self = Self::Listens { until: now + INTERVAL + TIMEOUT },
        }
    }

    /// How long until the next ping goes out, if it is the server's.
    pub(super) fn next_ping(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Rest { until: next } | Self::Pinged { next, .. } => {
                Some(next.saturating_duration_since(now))
            }
            Self::Listens { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_pings_at_even_times_whenever_it_is_answered() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut heartbeat = Heartbeat::begin(false, INTERVAL, start);
        assert_eq!(heartbeat.beat(after(24)), Beat::Nothing);
        for (ping, pong) in [(25, 25), (50, 69), (75, 76)] {
            heartbeat.heard(after(ping - 1));
            assert_eq!(heartbeat.due(), after(ping), "an answer to nothing changes nothing");
            assert_eq!(heartbeat.beat(after(ping)), Beat::Ping);
            assert_eq!(heartbeat.beat(after(ping)), Beat::Nothing);
            assert_eq!(heartbeat.next_ping(after(pong)), Some(after(ping + 25) - after(pong)));
            heartbeat.heard(after(pong));
        }
    }

    #[test]
    fn those_who_come_at_once_are_not_pinged_at_once() {
        let firsts: Vec<_> = (0..100).map(first).collect();
        assert_eq!(firsts.iter().max(), Some(&INTERVAL));
        assert!(firsts.iter().all(|first| *first > INTERVAL - EARLY));
        let at_once = |at: &Duration| firsts.iter().filter(|first| *first == at).count();
        assert!(firsts.iter().all(|at| at_once(at) == 2));
    }

    #[test]
    fn who_does_not_answer_in_time_is_gone() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::begin(false, Duration::ZERO, start);
        assert_eq!(heartbeat.beat(start), Beat::Ping);
        assert_eq!(heartbeat.beat(start + TIMEOUT - Duration::from_millis(1)), Beat::Nothing);
        assert_eq!(heartbeat.beat(start + TIMEOUT), Beat::Dead);
    }

    #[test]
    fn in_protocol_3_the_client_has_to_ping() {
        let (start, patience) = (Instant::now(), INTERVAL + TIMEOUT);
        let mut heartbeat = Heartbeat::begin(true, Duration::ZERO, start);
        assert_eq!((heartbeat.beat(start + INTERVAL), heartbeat.next_ping(start)), (Beat::Nothing, None));
        heartbeat.heard(start + INTERVAL);
        assert_eq!(heartbeat.beat(start + patience), Beat::Nothing);
        assert_eq!(heartbeat.beat(start + INTERVAL + patience), Beat::Dead);
    }
}
