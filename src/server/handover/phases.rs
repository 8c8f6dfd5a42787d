//! Who serves: the decisions of both sides, and nothing else. Pure: what they hear is an argument.
//!
//! ```text
//!   giver:  Announcing --Ready--> Sending --all sent--> Asking --Prepared--> commit --sent--> it has gone
//!              |                     |                    |                     |
//!              +--- anything else ---+--------------------+---------------------+--> it goes on, with everything
//!
//!   taker:  Preparing --all announced--> Collecting --End--> Waiting --Commit--> it takes them
//!              |                            |                   |
//!              |                            |                   +-- silence: shut the door, look once more:
//!              |                            |                   |      Commit? take : decline
//!              +---- closed ----------------+-------------------+-- the giver is dead: it takes what has come;
//!              |                            |                          else: decline
//!              +---- silence, nonsense -----+--: decline
//! ```
//!
//! Why never both: the giver has gone only when its commit was accepted by a socket that the taker had not shut, and
//! then it is there to be read, also after the taker's patience. Without a commit the taker takes only from the dead.
//! Why never neither: who does not commit goes on; and when the giver has gone and the taker then fails, or declines
//! for its last look came too late to matter, the supervisor puts the taker (or another) on duty as after any death.

/// The giving side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Giver {
    /// It serves, and has said who is going to come.
    Announcing,
    /// It sends its connections.
    Sending,
    /// It waits for the taker to have them all.
    Asking,
}

/// What the giver meets with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// The taker is ready for them.
    Ready,
    /// All is sent.
    AllSent,
    /// The taker has it all.
    Prepared,
    /// It broke, it took too long, it was something else.
    Trouble,
}

/// What the giver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Give {
    /// Serve nobody any more, and send everything.
    Pause,
    /// Listen.
    Wait,
    /// Commit; it has gone if that is sent, and goes on if not.
    Commit,
    /// Go on, with everything.
    Keep,
}

impl Giver {
    /// What follows from it.
    pub(super) fn on(&mut self, met: Met) -> Give {
        match (*self, met) {
            (Self::Announcing, Met::Ready) => {
                *self = Self::Sending;
                Give::Pause
            }
            (Self::Sending, Met::AllSent) => {
                *self = Self::Asking;
                Give::Wait
            }
            (Self::Asking, Met::Prepared) => Give::Commit,
            _ => Give::Keep,
        }
    }
}

/// The taking side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Taker {
    /// It makes things ready for those that are going to come.
    Preparing,
    /// Connections come.
    Collecting,
    /// It has said that it has them all.
    Waiting,
    /// It has shut the door, and looks once more.
    Shut,
}

/// What the taker hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// All that are going to come are known.
    AllAnnounced,
    /// These were all.
    End,
    /// They are its own.
    Commit,
    /// The socket is closed, or nothing is in it after the door was shut.
    Closed {
        /// The giver's process has ended.
        dead: bool,
    },
    /// Nothing, for too long.
    Silence,
    /// Something else.
    Nonsense,
}

/// What the taker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// Say that it is ready for them, and listen.
    Ready,
    /// Say that it has them all, and listen.
    Prepared,
    /// Shut the door, and listen once more.
    Shut,
    /// They are its own.
    Take,
    /// They are not.
    Decline,
}

impl Taker {
    /// What follows from it.
    pub(super) fn on(&mut self, heard: Heard) -> Step {
        match (*self, heard) {
            (Self::Preparing, Heard::AllAnnounced) => {
                *self = Self::Collecting;
                Step::Ready
            }
            (Self::Collecting, Heard::End) => {
                *self = Self::Waiting;
                Step::Prepared
            }
            (Self::Waiting | Self::Shut, Heard::Commit) => Step::Take,
            (_, Heard::Closed { dead: true }) => Step::Take,
            (Self::Waiting, Heard::Silence) => {
                *self = Self::Shut;
                Step::Shut
            }
            _ => Step::Decline,
        }
    }
}

#[cfg(test)]
mod tests;
