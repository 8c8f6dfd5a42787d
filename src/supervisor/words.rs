//! What a child that failed wrote last: it says more than an exit code.

use super::{logs, machine::Id, unit::Unit};
use crate::error::Failure;
use std::path::{Path, PathBuf};

/// Lines that are looked at: a stack trace is longer than a screen seldom.
const LINES: usize = 60;
/// The longest reason, in characters.
const LONGEST: usize = 200;
/// Lines that are shown of one that did not come up.
const SHOWN: usize = 8;

/// An app that did not come up the first time.
pub(super) struct FailedStart {
    pub(super) app: String,
    pub(super) why: String,
    pub(super) log: PathBuf,
    /// How long its log was before.
    pub(super) began: u64,
}

impl FailedStart {
    /// For people; to be asked for when its log is complete.
    pub(super) fn told(&self) -> Failure {
        let Self { app, why, log, began } = self;
        let lines = since(log, *began, SHOWN).into_iter().map(|line| format!("\n    {line}"));
        let lines: String = lines.collect();
        let last = if lines.is_empty() { lines } else { format!("\n  {}:{lines}", log.display()) };
        Failure::failed(format_args!("{app} did not come up, and everything was stopped again: {why}{last}"))
            .hint(format_args!(
                "mend it, or set `enabled = false` for it; without --detach it is tried again and again"
            ))
    }
}

/// How many bytes there are of a log.
pub(super) fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |file| file.len())
}

/// What has been added to a log since it was `began` bytes long: the last lines, as many at most.
pub(super) fn since(log: &Path, began: u64, lines: usize) -> Vec<String> {
    let Ok((mut last, end)) = logs::tail_and_end(log, lines, |_| true) else { return Vec::new() };
    // One that is shorter was put aside meanwhile, and all that is there is newer.
    let mut new = end.checked_sub(began).unwrap_or(end);
    let are_new = last.iter().rev().take_while(|line| {
        let length = line.len() as u64 + 1;
        let is = length <= new;
        new = new.saturating_sub(length);
        is
    });
    let count = are_new.count();
    last.split_off(last.len() - count)
}

impl Unit {
    /// Of a version that is not known to work, or of a life that was not stable: why it ended, in its own words, as far as
    /// they are in the log by now.
    pub(super) fn last_words(&self, id: Id) -> Option<String> {
        let child = self.children.get(&id)?;
        if child.version.number == self.good.number && self.machine.is_stable() {
            return None;
        }
        let lines = since(&self.log_file, child.log_began, LINES);
        telling(lines.iter().filter_map(|line| line.split_once(" err | ").map(|(_, words)| words)))
    }
}

/// The line that says it. Below what Node and others say of an uncaught error come its stack and their version; most
/// programs end with what matters.
fn telling<'a>(lines: impl DoubleEndedIterator<Item = &'a str> + Clone) -> Option<String> {
    let mut lines = lines.map(str::trim_end).filter(|line| !line.is_empty());
    let line = lines.clone().rfind(|line| is_error(line)).or(lines.next_back())?;
    Some(line.trim().chars().take(LONGEST).collect())
}

/// `TypeError: x is not a function`, `Error [ERR_X]: ...`, `java.io.IOException: ...`
fn is_error(line: &str) -> bool {
    let name: &str = line.split([':', ' ']).next().unwrap_or_default();
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || "._$".contains(letter));
    is_name
        && (name.ends_with("Error") || name.ends_with("Exception"))
        && line[name.len()..].starts_with([':', ' '])
}

#[cfg(test)]
mod tests {
    use super::{since, telling};

    #[test]
    fn the_line_that_says_why_is_found() {
        let node = "node:internal/modules/cjs/loader:1080\n  throw err;\n  ^\n\nError: Cannot find module './nope'\n\
                    Require stack:\n- /srv/app.js\n    at Module._resolve (node:internal:1)\n  code: 'MODULE_NOT_FOUND',\n\
                    }\n\nNode.js v18.19.0\n";
        let code = "TypeError [ERR_INVALID_ARG]: bad\n    at f (x.js:1)\n\nNode.js v20.0.0";
        let python = "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    import nope\n\
                      ModuleNotFoundError: No module named 'nope'\n";
        for (text, says) in [
            (node, Some("Error: Cannot find module './nope'")),
            (code, Some("TypeError [ERR_INVALID_ARG]: bad")),
            (python, Some("ModuleNotFoundError: No module named 'nope'")),
            ("starting\n  cannot open database\n\n", Some("cannot open database")),
            ("Errors: none\nthe end", Some("the end")),
            ("\n  \n", None),
            ("", None),
        ] {
            assert_eq!(telling(text.lines()).as_deref(), says, "{text}");
        }
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&log, "old\nnew\nnewer\n").unwrap();
        assert_eq!(since(log.path(), 4, 9), ["new", "newer"]);
        assert_eq!(since(log.path(), 4, 1), ["newer"]);
        assert_eq!(since(log.path(), 14, 9), [""; 0]);
        assert_eq!(since(log.path(), 1000, 9), ["old", "new", "newer"]);
        assert_eq!(telling(["x".repeat(1000).as_str()].into_iter()).unwrap().len(), 200);
    }
}
