//! The wall clock of the messages, asked for its zone once a minute.

use crate::chat::{Now, WallTime};
use jiff::{Timestamp, tz::TimeZone};
use std::time::Instant;

/// See the module.
pub(super) struct Clock {
    zone: TimeZone,
    minute: i64,
    now: WallTime,
}

impl Clock {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, minute: i64::MIN, now: WallTime { hour: 0, minute: 0 } }
    }

    /// What it is now.
    pub(super) fn now(&mut self) -> Now {
        let now = Timestamp::now();
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            let local = self.zone.to_datetime(now);
            self.minute = minute;
            self.now = WallTime {
                hour: u8::try_from(local.hour()).unwrap_or(0),
                minute: u8::try_from(local.minute()).unwrap_or(0),
            };
        }
        Now { at: Instant::now(), wall: self.now }
    }
}
