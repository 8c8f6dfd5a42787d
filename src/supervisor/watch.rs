//! Changes of files: which paths an app is made of, and which changes count. The home of notify.
//!
//! A file is watched through its folder, so that editors that replace it, and its removal and return, are seen.
//! Only what changes content counts: not access, not metadata. Waiting for quiet is the machine's business.

use crate::config::{App, Config, Watch};
use globset::{Glob, GlobSet, GlobSetBuilder};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use std::path::{Path, PathBuf};

/// Never worth a restart, wherever they are: what programs write while they run, and editors while they save.
const NOISE: [&str; 14] = [
    "**/*.log",
    "**/*.log.*",
    "**/*.db",
    "**/*.db-*",
    "**/*.sqlite*",
    "**/*-wal",
    "**/*-shm",
    "**/*-journal",
    "**/*~",
    "**/.*.sw?",
    "**/4913",
    "**/.#*",
    "**/.git/**",
    "**/node_modules/**",
];

/// What one app is made of.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) app: String,
    /// Files that its server reads again by itself.
    reread: Vec<PathBuf>,
    /// Single files.
    files: Vec<PathBuf>,
    /// Folders with all that is in them.
    folders: Vec<PathBuf>,
    ignored: GlobSet,
    /// What supervisor and servers write themselves: changes there never count.
    own: [PathBuf; 2],
    /// Paths are shown relative to it.
    base: PathBuf,
}

impl Watched {
    /// What to watch for an app; `program` is the binary, `reread` what its server reads again by itself.
    pub(super) fn new(config: &Config, app: &App, program: &Path, reread: Vec<PathBuf>) -> Self {
        let base = config.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        if app.watch != Watch::Off {
            files.push(program.to_owned());
            folders.extend(config.server.page.dir.clone());
        }
        if let Watch::Also(paths) = &app.watch {
            for path in paths {
                if path.is_dir() { folders.push(path.clone()) } else { files.push(path.clone()) }
            }
        }
        // Of a link, both count: what it leads to, and that it leads there.
        let links = |paths: &[PathBuf]| -> Vec<PathBuf> {
            paths.iter().filter(|path| path.is_symlink()).map(|link| in_place(link)).collect()
        };
        let reread_links = links(&reread);
        let reread = reread.into_iter().map(real).chain(reread_links).collect();
        let links = [links(&files), links(&folders)].concat();
        let files = files.into_iter().map(real).chain(links).collect();
        let folders = folders.into_iter().map(real).collect();
        let own = [&config.state_dir, &config.server.recovery.path].map(|path| real(path.clone()));
        let ignored = globs(&app.ignore_watch);
        Self { app: app.name.clone(), reread, files, folders, ignored, own, base: real(base) }
    }

    /// Everything that counts by its name.
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.reread, &self.files, &self.folders].into_iter().flatten().map(PathBuf::as_path)
    }

    /// The folders to watch, and whether with all below.
    fn roots(&self) -> impl Iterator<Item = (PathBuf, RecursiveMode)> {
        let there = |path: &&Path| path.is_dir();
        let around = move |path: &PathBuf| path.ancestors().skip(1).find(there).map(Path::to_owned);
        let missing = self.folders.iter().filter(|folder| !folder.is_dir());
        let parents = self.files.iter().chain(&self.reread).chain(missing).filter_map(around);
        let folders = self.folders.iter().filter(|folder| folder.is_dir()).cloned();
        let parents = parents.map(|path| (path, RecursiveMode::NonRecursive));
        folders.map(|path| (path, RecursiveMode::Recursive)).chain(parents)
    }

    /// The path as people would name it, when it is one that the server reads again.
    pub(super) fn is_reread(&self, path: &Path) -> Option<String> {
        self.reread.iter().any(|file| file.starts_with(path)).then(|| self.shown(path))
    }

    /// The path as people would name it, when its change counts.
    pub(super) fn counts(&self, path: &Path) -> Option<String> {
        // A folder on the way to what is watched came or went, and that with it.
        if self.files.iter().chain(&self.folders).any(|watched| watched.starts_with(path)) {
            return Some(self.shown(path));
        }
        let inside = self.folders.iter().find_map(|folder| path.strip_prefix(folder).ok())?;
        let shown = self.shown(path);
        let ignored = self.own.iter().any(|own| path.starts_with(own))
            || self.ignored.is_match(inside)
            || self.ignored.is_match(&shown);
        (!ignored).then_some(shown)
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.base).unwrap_or(path).display().to_string()
    }
}

/// The kernel reports real paths.
fn real(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| in_place(&path))
}

/// The path of the link itself, or of what is not there yet.
fn in_place(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    parent.zip(path.file_name()).map_or_else(|| path.to_owned(), |(parent, name)| parent.join(name))
}

fn globs(ignore: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for glob in NOISE.into_iter().chain(ignore.iter().map(String::as_str)) {
        // The configuration's were checked when it was read; a folder's name means what is in it, too.
        for glob in [glob.to_owned(), format!("{}/**", glob.trim_end_matches('/'))] {
            if let Ok(glob) = Glob::new(&glob) {
                builder.add(glob);
            }
        }
    }
    builder.build().unwrap_or_default()
}

/// Whether an event changes what a file is or says.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        _ => false,
    }
}

/// Watches everything in `watched` and the configuration file, and calls `report` with each changed path; with all of them
/// where the kernel has lost count of what changes.
///
/// # Errors
/// The kernel refuses: the message says what to do.
pub(super) fn start(
    watched: &[Watched],
    config: Option<&Path>,
    report: impl Fn(&Path) + Send + 'static,
) -> Result<RecommendedWatcher, String> {
    let all: Vec<PathBuf> = watched.iter().flat_map(Watched::all).chain(config).map(Path::to_owned).collect();
    let handler = move |event: notify::Result<Event>| match event {
        Ok(event) if event.need_rescan() => all.iter().for_each(|path| report(path)),
        Ok(event) if changes(event.kind) => event.paths.iter().for_each(|path| report(path)),
        Ok(_) => {}
        Err(error) => tracing::warn!("watching files: {}", explain(&error)),
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(|error| explain(&error))?;
    let config = config.and_then(Path::parent).map(|folder| (folder.to_owned(), RecursiveMode::NonRecursive));
    for (path, mode) in watched.iter().flat_map(Watched::roots).chain(config) {
        watcher.watch(&path, mode).map_err(|error| format!("{}: {}", path.display(), explain(&error)))?;
    }
    Ok(watcher)
}

/// Calls `changed` when something in a folder does.
///
/// # Errors
/// The kernel refuses: the message says what to do.
pub(super) fn folder(path: &Path, changed: impl Fn() + Send + 'static) -> Result<RecommendedWatcher, String> {
    let handler = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| changes(event.kind)) {
            changed();
        }
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(|error| explain(&error))?;
    watcher.watch(path, RecursiveMode::NonRecursive).map_err(|error| explain(&error))?;
    Ok(watcher)
}

/// What to do about inotify's limits.
fn explain(error: &notify::Error) -> String {
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;
    let full = "the kernel watches no more files for this user: raise it with `sysctl fs.inotify.max_user_watches=524288`";
    match &error.kind {
        ErrorKind::MaxFilesWatch => full.to_owned(),
        ErrorKind::Io(io) if io.raw_os_error() == Some(ENOSPC) => full.to_owned(),
        ErrorKind::Io(io) if io.raw_os_error() == Some(EMFILE) => {
            "too many watchers for this user: raise it with `sysctl fs.inotify.max_user_instances=1024`"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::lock;
    use std::{
        fs,
        sync::{Mutex, mpsc::channel},
        time::Duration,
    };

    #[test]
    fn only_what_the_app_is_made_of_counts() {
        let watched = Watched {
            app: "a".into(),
            reread: vec!["/etc/ssl/a.pem".into()],
            files: vec!["/srv/bin/chatctl".into()],
            folders: vec!["/srv/public".into()],
            ignored: globs(&["*.tmp".into(), "cache".into(), "public/drafts/**".into()]),
            own: ["/srv/public/state".into(), "/srv/public/kept".into()],
            base: "/srv".into(),
        };
        for (path, shown) in [
            ("/srv/bin/chatctl", Some("bin/chatctl")),
            ("/srv/bin/other", None),
            ("/srv/bin", Some("bin")),
            ("/srv/public/room.html", Some("public/room.html")),
            ("/srv/public/deep/er/x.js", Some("public/deep/er/x.js")),
            ("/srv/public/state/logs/a", None),
            ("/srv/public/kept/a.sqlite-shm", None),
            ("/srv/public/access.log", None),
            ("/srv/public/chat.db-wal", None),
            ("/srv/public/.room.html.swp", None),
            ("/srv/public/room.html~", None),
            ("/srv/public/.git/index", None),
            ("/srv/public/x.tmp", None),
            ("/srv/public/cache/x.js", None),
            ("/srv/public/drafts/x.js", None),
        ] {
            assert_eq!(watched.counts(Path::new(path)).as_deref(), shown, "{path}");
        }
    }

    #[test]
    fn where_the_kernel_has_lost_count_everything_has_changed() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = real(dir.path().to_owned());
        let watched = Watched {
            app: "a".into(),
            reread: Vec::new(),
            files: Vec::new(),
            folders: vec![folder.clone()],
            ignored: GlobSet::empty(),
            own: ["/none".into(), "/none".into()],
            base: folder.clone(),
        };
        let ((tell, told), (go_on, waits)) = (channel(), channel::<()>());
        let waits = Mutex::new(waits);
        let report = move |path: &Path| {
            let _ = (tell.send(path.to_owned()), lock(&waits).recv());
        };
        let _watcher = start(&[watched], None, report).unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.join(name));
        fs::write(&one, "").unwrap();
        // Each is told twice: what went, and what came.
        for _ in 0..=most.trim().parse::<usize>().unwrap() / 2 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        drop(go_on);
        while told.recv_timeout(Duration::from_secs(60)).unwrap() != folder {}
    }
}
