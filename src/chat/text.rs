//! The sentences of the notices and the clock of the messages, to the letter of the replaced server.

use crate::config::Profile;
use std::fmt;

/// Joined: `web` and `react` put a space after the name, `local` does not.
pub(super) fn joined(profile: Profile, name: &str) -> String {
    match profile {
        Profile::Local => format!("{name}님이 입장하셨습니다."),
        Profile::Web | Profile::React => format!("{name} 님이 입장하셨습니다."),
    }
}

/// Left, or gone.
pub(super) fn left(profile: Profile, name: &str) -> String {
    match profile {
        Profile::Local => format!("{name}님이 퇴장하셨습니다."),
        Profile::Web | Profile::React => format!("{name} 님이 퇴장하셨습니다."),
    }
}

/// Removed by `exit_room`.
pub(super) fn removed(profile: Profile, name: &str) -> String {
    match profile {
        Profile::Local => format!("{name}님을 강퇴시켰습니다."),
        Profile::Web | Profile::React => format!("{name} 님을 챗방에서 내보냈습니다."),
    }
}

/// The minute of the day in the server's configured zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallTime {
    /// 0 to 23.
    pub(crate) hour: u8,
    /// 0 to 59.
    pub(crate) minute: u8,
}

/// `오전 hh:mm` or `오후 hh:mm`, on a 12-hour clock whose noon and midnight are 12.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = if self.hour < 12 { "오전" } else { "오후" };
        let hour = match self.hour % 12 {
            0 => 12,
            hour => hour,
        };
        write!(f, "{half} {hour:02}:{:02}", self.minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_has_two_halves_of_twelve_hours() {
        for (hour, minute, text) in [
            (0, 0, "오전 12:00"),
            (0, 5, "오전 12:05"),
            (1, 59, "오전 01:59"),
            (11, 59, "오전 11:59"),
            (12, 0, "오후 12:00"),
            (13, 7, "오후 01:07"),
            (23, 59, "오후 11:59"),
        ] {
            assert_eq!(WallTime { hour, minute }.to_string(), text);
        }
    }
}
