//! What a child writes, kept: every line of its standard output and error, with time and stream, in one file.
//!
//! Two threads block on its pipes until their end, so the last line before a death is there. The file is put aside
//! by size and bounded in total; one that somebody else moves away is made anew. A full disk loses lines of the
//! log, and says how many as soon as it can; it never stops who writes.

use super::keeper::Bounds;
use crate::lock::lock;
use jiff::ZonedDateTime;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, PipeReader, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

/// A line longer than this is cut into several.
const LINE_SIZE: usize = 64 << 10;

/// The log file of one app.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Rotating>>);

/// A file that is put aside when it has grown; a few older ones are kept.
pub(super) struct Rotating {
    path: PathBuf,
    bounds: Bounds,
    file: File,
    /// Lines that the disk did not take.
    lost: u64,
}

impl Log {
    /// Opens it, to append.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: PathBuf, bounds: Bounds) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Rotating::open(path, bounds)?))))
    }

    /// Keeps what comes out of `pipe`; `stream` is its name in the lines. At its end `more` says whether to go on:
    /// it may be opened to write again.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn follow(
        &self,
        stream: &'static str,
        pipe: PipeReader,
        more: impl Fn(&mut u64) -> bool + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let log = self.clone();
        let keep = move || {
            let (mut pipe, mut seen) = (BufReader::with_capacity(LINE_SIZE, pipe), 0);
            while log.copy(stream, &mut pipe).is_ok() && more(&mut seen) {}
        };
        thread::Builder::new().name(format!("log-{stream}")).spawn(keep)
    }

    fn copy(&self, stream: &str, mut pipe: impl BufRead) -> io::Result<()> {
        // Beyond the last line end there is a line that is still to be finished, with so many bytes of text.
        let (mut lines, mut unfinished) = (Vec::new(), 0);
        loop {
            let chunk = match pipe.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                break;
            }
            let prefix = format!("{} {stream} | ", stamp());
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                if unfinished == 0 {
                    lines.extend_from_slice(prefix.as_bytes());
                }
                lines.extend_from_slice(line);
                unfinished += line.len();
                // A line that goes on in the next chunk is finished there, unless it is overlong already.
                if line.ends_with(b"\n") {
                    unfinished = 0;
                } else if unfinished >= LINE_SIZE {
                    lines.push(b'\n');
                    unfinished = 0;
                }
            }
            let read = chunk.len();
            pipe.consume(read);
            // Only whole ones: the other stream's come between.
            let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.write(&lines[..whole]);
            lines.drain(..whole);
        }
        if unfinished > 0 {
            lines.push(b'\n');
        }
        self.write(&lines);
        Ok(())
    }

    fn write(&self, lines: &[u8]) {
        // At its end a keeper has nothing more to say, and leaves the file as its successor wants it.
        if lines.is_empty() {
            return;
        }
        let mut file = lock(&self.0);
        // What is lost is told as soon as there is room for it.
        let _ = file.write(lines);
    }
}

impl Rotating {
    /// Opens it, to append.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: PathBuf, bounds: Bounds) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, bounds, file, lost: 0 })
    }

    /// Adds whole lines.
    ///
    /// # Errors
    /// The disk does not take them.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.try_write(lines);
        if written.is_err() {
            self.lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        written
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.is_current() {
            self.file = open(&self.path)?;
        }
        let size = self.file.metadata()?.len();
        if size > 0 && size + lines.len() as u64 > self.bounds.size {
            self.rotate()?;
        }
        if self.lost > 0 {
            let note =
                format!("{} err | chatctl: the disk was full: {} lines are lost\n", stamp(), self.lost);
            self.file.write_all(note.as_bytes())?;
            self.lost = 0;
        }
        self.file.write_all(lines)
    }

    /// The file that is written to now.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the open file is the one at the path: another keeper, or logrotate, may have put it aside.
    fn is_current(&self) -> bool {
        let id = |meta: io::Result<std::fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
        id(self.file.metadata()) == id(std::fs::metadata(&self.path))
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..self.bounds.retain).rev() {
            let _ = std::fs::rename(aside(&self.path, n), aside(&self.path, n + 1));
        }
        if self.bounds.retain == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, aside(&self.path, 1))?;
        }
        self.file = open(&self.path)?;
        Ok(())
    }
}

/// The time as it stands before each line.
fn stamp() -> impl std::fmt::Display {
    ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn aside(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The last `count` lines of a file, read from its end; none when there is no such file.
///
/// # Errors
/// It is there but cannot be read.
pub(crate) fn tail(path: &Path, count: usize) -> io::Result<Vec<String>> {
    tail_and_end(path, count, |_| true).map(|(lines, _)| lines)
}

/// The same without the empty ones: of a stack trace they are the end.
///
/// # Errors
/// As [`tail`].
pub(crate) fn last_words(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let says = |line: &str| line.split_once(" | ").is_none_or(|(_, text)| !text.trim().is_empty());
    tail_and_end(path, count, says).map(|(lines, _)| lines)
}

/// As [`tail`], of the lines that are wanted, and where the file ended then: what is added since comes after it.
///
/// # Errors
/// As [`tail`].
pub(crate) fn tail_and_end(
    path: &Path,
    count: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<(Vec<String>, u64)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        file => file?,
    };
    let end = file.seek(SeekFrom::End(0))?;
    let mut part = 32 << 10;
    loop {
        let start = end.saturating_sub(part);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        io::Read::read_exact(&mut file, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // Where it does not begin with the file, it may begin within a line.
        let lines = text.lines().skip(usize::from(start > 0)).filter(|line| wanted(line));
        let lines: Vec<&str> = lines.collect();
        if start == 0 || lines.len() >= count {
            let last = &lines[lines.len().saturating_sub(count)..];
            return Ok((last.iter().map(|line| (*line).to_owned()).collect(), end));
        }
        part *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { size: 10 << 20, retain: 3 };

    fn written(input: &[u8], capacity: usize) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        Log::open(path.clone(), BOUNDS)
            .unwrap()
            .copy("out", BufReader::with_capacity(capacity, input))
            .unwrap();
        let lines = tail(&path, 1 << 20).unwrap();
        lines.iter().map(|line| line.split_once(" out | ").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for capacity in [1, 3, 7, 100] {
            assert_eq!(
                written(b"one\ntwo\n\nlast without end", capacity),
                ["one", "two", "", "last without end"]
            );
        }
        assert!(written(b"", 8).is_empty());
    }

    #[test]
    fn an_endless_line_is_cut_however_it_arrives() {
        for capacity in [LINE_SIZE, LINE_SIZE / 16] {
            let lines = written(&vec![b'x'; 3 * LINE_SIZE], capacity);
            assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_SIZE; 3]);
        }
    }

    /// Before each part that is read, the other stream writes a line.
    struct Between<'a>(&'a [u8], Log);

    impl io::Read for Between<'_> {
        fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
            self.1.write(b"now err | between\n");
            self.0.read(part)
        }
    }

    #[test]
    fn a_line_of_one_stream_is_never_in_the_middle_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = Log::open(path.clone(), BOUNDS).unwrap();
        // No part but the last ends with a line.
        let input = "a line of some twenty\n".repeat(20_000);
        let parts = Between(input.as_bytes(), log.clone());
        log.copy("out", BufReader::with_capacity(4097, parts)).unwrap();
        let lines = tail(&path, 1 << 20).unwrap();
        let of = |stream: &str| lines.iter().filter(|line| line.ends_with(stream)).count();
        assert_eq!(of(" out | a line of some twenty"), 20_000);
        assert_eq!(of("now err | between") + 20_000, lines.len());
    }

    #[test]
    fn the_total_is_bounded_and_the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = Log::open(path.clone(), BOUNDS).unwrap();
        for n in 0..60u8 {
            log.write(&[vec![b'a' + n % 26; 1 << 20], vec![b'\n']].concat());
        }
        let sizes: Vec<u64> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 4);
        assert!(sizes.iter().sum::<u64>() <= BOUNDS.size * 4, "{sizes:?}");
        assert_eq!(tail(&path, 1).unwrap()[0].as_bytes()[0], b'a' + 59 % 26);
    }

    #[test]
    fn a_keeper_that_ends_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, vec![b'x'; 100]).unwrap();
        let earlier = Log::open(path.clone(), Bounds { size: 10, retain: 0 }).unwrap();
        earlier.copy("out", io::empty()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("moved"));
        let log = Log::open(path.clone(), BOUNDS).unwrap();
        log.write(b"one\n");
        std::fs::rename(&path, &moved).unwrap();
        log.write(b"two\n");
        assert_eq!(
            (tail(&moved, 9).unwrap(), tail(&path, 9).unwrap()),
            (vec!["one".to_owned()], vec!["two".to_owned()])
        );
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, (0..20_000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        assert_eq!(tail(&path, 2).unwrap(), ["line 19998", "line 19999"]);
        assert_eq!(tail(&path, 15_000).unwrap().len(), 15_000);
        let (seldom, end) = tail_and_end(&path, 3, |line| line.ends_with("5000")).unwrap();
        assert_eq!((seldom, end), (vec!["line 5000".to_owned(), "line 15000".to_owned()], 208_890));
        let (last, _) = tail_and_end(&path, 1, |line| line.ends_with("5000")).unwrap();
        assert_eq!(last, ["line 15000"]);
        assert!(tail(&dir.path().join("none"), 5).unwrap().is_empty());
    }
}
