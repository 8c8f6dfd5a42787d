//! What becomes of an order while somebody waits for it at a terminal: what happens to its apps, as it happens.
//!
//! It goes to standard error, line by line, so it is right on every terminal, and what the order says at its end stands
//! alone on standard output. Where nobody looks nothing is said.

use crate::control::{
    client::{self, Happenings},
    types::Happened,
};
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Instant,
};

/// See the module.
pub(super) struct Progress {
    happenings: Option<Happenings>,
    /// None: all.
    apps: Vec<String>,
    began: Instant,
}

impl Progress {
    /// Listens from now on, before the order is given. A supervisor of another version may not know how to tell.
    pub(super) async fn of(state_dir: &Path, apps: &[String]) -> Self {
        let happenings = if io::stderr().is_terminal() { client::listen(state_dir).await.ok() } else { None };
        Self { happenings, apps: apps.to_vec(), began: Instant::now() }
    }

    /// Waits for what was ordered, and says meanwhile what happens.
    pub(super) async fn until<T>(mut self, ordered: impl Future<Output = T>) -> T {
        let mut ordered = std::pin::pin!(ordered);
        while let Some(happenings) = &mut self.happenings {
            tokio::select! {
                biased;
                happened = happenings.next() => match happened {
                    Some(happened) => self.say(&happened),
                    None => self.happenings = None,
                },
                outcome = &mut ordered => return outcome,
            }
        }
        ordered.await
    }

    fn say(&self, happened: &Happened) {
        let concerned = self.apps.is_empty() || self.apps.contains(&happened.app);
        if let Some(line) = line(happened).filter(|_| concerned && !happened.app.is_empty()) {
            let seconds = self.began.elapsed().as_secs_f64();
            let _ = writeln!(io::stderr(), "{seconds:>5.1} s  {}  {line}", happened.app);
        }
    }
}

/// As the history says it, without what who waits knows: what was asked for, and how it ends.
fn line(happened: &Happened) -> Option<String> {
    match happened.what.as_str() {
        "kept" | "refused" => None,
        "connections handed over" => happened.why.clone(),
        _ => {
            let why = happened.why.clone().filter(|_| happened.class.as_deref() != Some("asked"));
            Some(Happened { why, ..happened.clone() }.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_who_waits_knows_already_is_left_out() {
        let line = |what: &str, why: &str, class: Option<&str>| {
            line(&Happened::now("web", what, Some(why.to_owned()), class, Some(7)))
        };
        for (happened, says) in [
            (line("reloading", "asked to reload", Some("asked")), Some("reloading (pid 7)")),
            (line("online", "on trial for 5s", None), Some("online (pid 7): on trial for 5s")),
            (
                line("connections handed over", "3 connections handed over", None),
                Some("3 connections handed over"),
            ),
            (
                line("waiting", "exited with code 3", Some("crash")),
                Some("waiting (pid 7): exited with code 3"),
            ),
            (line("kept", "this version has proved itself", None), None),
            (line("refused", "exited with code 3", None), None),
        ] {
            assert_eq!(happened.as_deref(), says);
        }
    }
}
