//! `chatctl bench`: how much a Socket.IO server can do, and what it needs for it. Any server: this one, Node's, another.
//!
//! # Theory of operation
//!
//! One thread, one task a connection. Whatever costs the generator time is missing in the measurement, so the way of a
//! message through it is short: bytes are read into one buffer that all connections share, frames are walked over where they
//! lie, and of a message nothing is looked at but its [`mark`], a short run of digits in its text, which says when it was
//! due, who sent it and which one it is. What is sent is one frame that is filled in. Nothing is allocated for a message.
//!
//! # What it promises
//!
//! - The latency of a message is counted from when it was *due*, not from when it could at last be sent: with a fixed rate
//!   (an open loop) a server that stalls is charged for everything that waited meanwhile (coordinated omission).
//! - Every delivery that is owed is counted, and those that did not come are said.
//! - It says what it used itself, and how late it was: whether the server was measured, or the generator.

mod churn;
mod client;
mod compare;
mod connection;
mod crowd;
mod fanout;
mod idle;
mod jitter;
mod mark;
mod process;
mod report;
mod run;
mod storm;
mod stream;
mod talk;
mod tally;
mod target;
mod timer;

pub(crate) use churn::Churn;
pub(crate) use compare::Comparison;
pub(crate) use connection::Transport;
pub(crate) use fanout::Fanout;
pub(crate) use idle::Idle;
pub(crate) use jitter::Jitter;
pub(crate) use report::Report;
pub(crate) use run::Against;
pub(crate) use storm::Storm;

use anyhow::Result;
use run::Run;
use std::rc::Rc;
use tokio::runtime::{Builder, LocalOptions};

/// What is measured.
#[derive(Debug)]
pub(crate) enum Scenario {
    /// Messages to everybody in a room.
    Fanout(Fanout),
    /// Connections that say nothing.
    Idle(Idle),
    /// People who come and go at once.
    Churn(Churn),
    /// All connections are cut at once.
    Storm(Storm),
    /// People whose connections break every few seconds.
    Jitter(Jitter),
}

impl Scenario {
    /// Connections there are at once.
    fn connections(&self) -> u32 {
        match self {
            Self::Fanout(fanout) => fanout.clients,
            Self::Idle(idle) => idle.clients,
            Self::Churn(churn) => churn.clients,
            Self::Storm(storm) => storm.clients,
            Self::Jitter(jitter) => jitter.clients,
        }
    }

    /// Connections that the kernel knows of at once: those of before linger on for a minute (TIME_WAIT).
    fn ports(&self) -> u32 {
        let lives = match self {
            Self::Fanout(_) | Self::Idle(_) => 1,
            Self::Storm(_) => 2,
            Self::Churn(_) | Self::Jitter(_) => return u32::MAX,
        };
        self.connections().saturating_mul(lives)
    }

    /// Bytes of a message's text.
    fn size(&self) -> usize {
        match self {
            Self::Fanout(fanout) => fanout.size,
            Self::Jitter(jitter) => jitter.size,
            Self::Idle(_) | Self::Churn(_) | Self::Storm(_) => 0,
        }
    }
}

/// Measures, and says what came of it.
///
/// # Errors
/// There is nobody there, it speaks something else, this process may not have so many connections, or not one of them
/// came about.
pub(crate) fn run(against: Against, scenario: &Scenario) -> Result<Report> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let run = Rc::new(Run::prepare(against, scenario)?);
        run.stop_when_interrupted();
        match scenario {
            Scenario::Fanout(fanout) => fanout::run(&run, fanout).await,
            Scenario::Idle(idle) => idle::run(&run, idle).await,
            Scenario::Churn(churn) => churn::run(&run, churn).await,
            Scenario::Storm(storm) => storm::run(&run, storm).await,
            Scenario::Jitter(jitter) => jitter::run(&run, jitter).await,
        }
    })
}
