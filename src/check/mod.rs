//! `chatctl check`: whether a configuration and this machine fit each other, said before anything is started.
//!
//! ```text
//! chat.toml -> config --+
//!                       +--> rules (pure) -> findings: how bad, what, where, how to mend it
//! this machine -> facts +
//! ```
//!
//! Promises: nothing is started, written or listened on; one list holds all that was found; each finding says how to
//! mend it. What is to be looked at besides becomes a fact in `facts` and a rule in `rules`, and nothing else changes.

mod facts;
mod rules;

pub(crate) use facts::Facts;

use crate::config::{Config, ConfigError};
use serde::Serialize;
use std::fmt::Write;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The configuration is wrong: nothing would start.
    Config,
    /// Something would not work.
    Problem,
    /// It works, and the operator should know.
    Remark,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is so.
    pub(crate) what: String,
    /// The file, line and key it is about; or the file or limit of the machine.
    #[serde(rename = "where")]
    pub(crate) place: String,
    /// What to do.
    pub(crate) mend: String,
}

/// All that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// The file, as it is called.
    pub(crate) config: String,
    /// Nothing that would not work.
    pub(crate) ok: bool,
    /// The worst first.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// Of a configuration and the machine it is to run on.
    pub(crate) fn new(config: &Config, facts: &Facts) -> Self {
        let name =
            config.path.as_ref().map_or_else(|| "the built-in chat.toml".into(), |p| p.display().to_string());
        Self::of(name, rules::findings(config, facts))
    }

    /// Of a file that is no configuration.
    pub(crate) fn wrong(error: &ConfigError) -> Self {
        let finding = |problem: &crate::config::Problem| {
            let key = if problem.key.is_empty() { String::new() } else { format!(": {}", problem.key) };
            let line = if problem.line == 0 { String::new() } else { format!(":{}", problem.line) };
            Finding {
                severity: Severity::Config,
                what: problem.message.clone(),
                place: format!("{}{line}{key}", error.file),
                mend: "`chatctl init all.toml` writes every key with its default; `chatctl schema` tells editors".to_owned(),
            }
        };
        Self::of(error.file.clone(), error.problems.iter().map(finding).collect())
    }

    fn of(config: String, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        Self { config, ok: findings.iter().all(|finding| finding.severity == Severity::Remark), findings }
    }

    /// The worst of it.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.findings.first().map(|finding| finding.severity)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut advised = "";
        for Finding { severity, what, place, mend } in &self.findings {
            let word = match severity {
                Severity::Config => "wrong",
                Severity::Problem => "problem",
                Severity::Remark => "remark",
            };
            let _ = writeln!(text, "{word}: {place}: {what}");
            // One advice for many findings is said once.
            if advised != mend {
                let _ = writeln!(text, "  hint: {mend}");
            }
            advised = mend;
        }
        let count = |wanted: Severity| self.findings.iter().filter(|found| found.severity == wanted).count();
        let problems = count(Severity::Config) + count(Severity::Problem);
        let _ = match (problems, count(Severity::Remark)) {
            (0, 0) => writeln!(text, "{}: nothing to mend", self.config),
            (problems, remarks) => {
                writeln!(text, "{}: {}, {}", self.config, many(problems, "problem"), many(remarks, "remark"))
            }
        };
        text
    }
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
