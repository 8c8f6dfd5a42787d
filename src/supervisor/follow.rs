//! Reading along in files that grow, and are put aside when they have grown: `logs -f`, `events -f`.

use super::watch;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// A file that is read along.
struct Following {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

/// Why to look up.
enum Wake {
    Changed,
    Over,
}

/// A file, and from where on it is read along.
pub(crate) type From = (PathBuf, u64);

/// Calls `line` with the index of the file and each line that is added to it after that, until it gives `false`.
///
/// # Errors
/// The folder cannot be watched, or a file not be read.
pub(crate) fn follow(folder: &Path, files: &[From], line: impl FnMut(usize, &str) -> bool) -> io::Result<()> {
    // Full: one report is as good as many.
    read_along(folder, files, sync_channel(1), line)
}

/// The same, also until `over`, which may wait as long as it likes, returns.
///
/// # Errors
/// As [`follow`].
pub(crate) fn follow_until(
    folder: &Path,
    files: &[From],
    over: impl FnOnce() + Send + 'static,
    line: impl FnMut(usize, &str) -> bool,
) -> io::Result<()> {
    let (wake, woken) = sync_channel(1);
    let ended = wake.clone();
    thread::Builder::new().spawn(move || {
        over();
        let _ = ended.send(Wake::Over);
    })?;
    read_along(folder, files, (wake, woken), line)
}

fn read_along(
    folder: &Path,
    files: &[From],
    (changed, woken): (SyncSender<Wake>, Receiver<Wake>),
    mut line: impl FnMut(usize, &str) -> bool,
) -> io::Result<()> {
    let mut following: BTreeMap<usize, Following> = files.iter().map(Following::new).enumerate().collect();
    let _watcher = watch::folder(folder, move || {
        let _ = changed.try_send(Wake::Changed);
    })
    .map_err(io::Error::other)?;
    loop {
        for (index, file) in &mut following {
            for text in file.more()? {
                if !line(*index, &text) {
                    return Ok(());
                }
            }
        }
        if !matches!(woken.recv(), Ok(Wake::Changed)) {
            return Ok(());
        }
    }
}

impl Following {
    fn new((path, from): &From) -> Self {
        let mut file = File::open(path).ok();
        if let Some(file) = &mut file
            && file.metadata().is_ok_and(|is| is.len() >= *from)
        {
            // One that is shorter is the next already.
            let _ = file.seek(SeekFrom::Start(*from));
        }
        Self { path: path.clone(), file, begun: Vec::new() }
    }

    /// The lines that were added; of a file that was put aside, its last ones, then those of the next.
    fn more(&mut self) -> io::Result<Vec<String>> {
        loop {
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut self.begun)?;
            }
            let there = File::open(&self.path).ok();
            let id = |file: &Option<File>| Some(file.as_ref()?.metadata().ok()?.ino());
            if there.is_none() || id(&there) == id(&self.file) {
                break;
            }
            self.file = there;
        }
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::logs::tail_and_end;
    use std::io::Write;

    #[test]
    fn nothing_is_missed_between_two_looks_or_when_a_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "old\n").unwrap();
        let (last, end) = tail_and_end(&path, 10, |_| true).unwrap();
        assert_eq!(last, ["old"]);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        let mut following = Following::new(&(path.clone(), end));
        assert_eq!(following.more().unwrap(), ["one"]);
        file.write_all(b"o\nthree\n").unwrap();
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        std::fs::write(&path, "four\n").unwrap();
        assert_eq!(following.more().unwrap(), ["two", "three", "four"]);
        assert!(following.more().unwrap().is_empty());
    }
}
