//! What this machine is like, as far as a configuration depends on it. Looks, and changes nothing.

use crate::{
    certificate,
    config::{App, Command, Config, Tls, Watch},
    control::client,
    owner::{self, Owner},
    server, supervisor,
};
use rustix::{
    fs::{Access, StatFs, access, statfs},
    io::Errno,
    net::{AddressFamily, SocketType, bind, socket, sockopt::set_socket_reuseaddr},
    process::{Resource, geteuid, getrlimit},
};
use std::{
    env, fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A supervisor that does not say by then what it holds is not asked again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Folders that are counted at most.
const COUNTED: u64 = 100_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// By app.
    pub(super) ports: Vec<(String, SocketAddr, Port)>,
    pub(super) programs: Vec<(String, Program)>,
    pub(super) owners: Vec<(String, RunsAs)>,
    /// By app; why one cannot be used.
    pub(super) certificates: Vec<(String, Result<Expiry, String>)>,
    /// Why the keys of tokens cannot be used.
    pub(super) keys: Option<String>,
    /// Secrets that everybody on this machine may read, by the key of chat.toml that names them.
    pub(super) open_secrets: Vec<(String, PathBuf)>,
    /// By app: files that its user is to read, and cannot; and what keeps it from them.
    pub(super) unreadable: Vec<(String, PathBuf, PathBuf)>,
    /// By app: folders on the way to the state_dir through which its user cannot pass.
    pub(super) impassable: Vec<(String, PathBuf)>,
    /// Paths that are watched and not there.
    pub(super) unwatchable: Vec<(String, PathBuf)>,
    /// Folders that are watched, with all below.
    pub(super) watched_folders: u64,
    pub(super) state_dir: Folder,
    /// `None`: there is to be no journal.
    pub(super) journal: Option<Folder>,
    /// The operator's own page: what is missing in it.
    pub(super) page: Option<Vec<&'static str>>,
    /// Most files a process may have open; `None`: as many as it wants.
    pub(super) nofile: Option<u64>,
    /// `fs.inotify.max_user_watches`.
    pub(super) inotify_watches: Option<u64>,
    /// `net.core.somaxconn`.
    pub(super) somaxconn: Option<u64>,
    /// Bytes of memory there are for this.
    pub(super) memory: u64,
    /// Seconds since 1970, now and when this program was built.
    pub(super) now: u64,
    pub(super) built: u64,
    pub(super) is_root: bool,
}

/// What is so about a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Port {
    Free,
    /// Our own supervisor has it.
    Ours,
    Taken,
    Forbidden,
    /// The machine has no such address.
    Nowhere,
    Unknown(String),
}

/// What is so about a program of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// Where it is.
    pub(super) path: Option<PathBuf>,
    pub(super) executable: bool,
    pub(super) cwd_is_there: bool,
}

/// What is so about who an app is to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunsAs {
    /// Who looks.
    Us,
    /// Somebody else, whom there is.
    Another,
    /// There is none; why.
    Nobody(String),
}

/// When a certificate expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Seconds since 1970.
    pub(super) at: u64,
    /// For people: the day, in UTC.
    pub(super) day: String,
}

/// A folder that is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Why it cannot be written, or made.
    pub(super) refused: Option<String>,
    pub(super) filesystem: Filesystem,
    /// Bytes that are free.
    pub(super) free: u64,
}

/// What kind of filesystem it is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Filesystem {
    #[default]
    Disk,
    Memory,
    Network,
    /// The upper layer of a container.
    Layer,
}

impl Facts {
    /// Looks at this machine.
    pub(crate) async fn gather(config: &Config) -> Self {
        let held = match client::status(&config.state_dir, PATIENCE).await {
            Ok(status) => status.apps.into_iter().map(|app| app.listen).collect(),
            Err(_) => Vec::new(),
        };
        let listening = config.enabled().filter_map(|app| Some((app, app.listen?)));
        let ports = listening.map(|(app, at)| (app.name.clone(), at, port(at, &held))).collect();
        let programs =
            config.enabled().filter_map(|app| Some((app.name.clone(), program(app, app.command.as_ref()?))));
        let page = config.server.page.dir.as_ref();
        let watched: Vec<(String, PathBuf)> = config.enabled().flat_map(|app| watched(config, app)).collect();
        let keys = config.server.auth.keys.as_ref();
        let secret = keys.map(|file| server::holds_a_secret(file));
        let secrets = config
            .enabled()
            .filter_map(|app| Some((format!("app.{}.tls", app.name), app.tls.as_ref()?.key.clone())))
            .chain(
                keys.filter(|_| secret == Some(Ok(true))).map(|file| ("auth.keys".to_owned(), file.clone())),
            );
        let others: Vec<_> = config.enabled().filter_map(|app| Some((app, another(app)?))).collect();
        Self {
            open_secrets: secrets.filter(|(_, file)| is_open(file)).collect(),
            keys: secret.and_then(Result::err),
            unreadable: others.iter().flat_map(|(app, owner)| unreadable(config, app, owner)).collect(),
            impassable: others
                .iter()
                .filter_map(|(app, owner)| {
                    Some((app.name.clone(), owner.kept_from(config.state_dir.parent()?, owner::PASS)?))
                })
                .collect(),
            ports,
            programs: programs.collect(),
            owners: config.enabled().map(|app| (app.name.clone(), runs_as(app))).collect(),
            certificates: config
                .enabled()
                .filter_map(|app| Some((app.name.clone(), expiry(app.tls.as_ref()?))))
                .collect(),
            watched_folders: watched.iter().map(|(_, path)| folders(path)).sum(),
            unwatchable: watched
                .into_iter()
                .filter(|(_, path)| !path.exists() && page != Some(path))
                .collect(),
            state_dir: folder(&config.state_dir),
            journal: config.server.recovery.enabled.then(|| folder(&config.server.recovery.path)),
            page: page.filter(|_| config.server.page.enabled).map(|dir| missing_pages(dir)),
            nofile: getrlimit(Resource::Nofile).maximum,
            inotify_watches: kernel("fs/inotify/max_user_watches"),
            somaxconn: kernel("net/core/somaxconn"),
            memory: supervisor::memory_of_the_machine(),
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            built: env!("CHATCTL_BUILT").parse().unwrap_or(0),
            is_root: geteuid().is_root(),
        }
    }
}

/// Binds, and does not listen: nobody can connect meanwhile.
fn port(address: SocketAddr, held: &[String]) -> Port {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let tried = socket(family, SocketType::STREAM, None).and_then(|socket| {
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)
    });
    match tried {
        Ok(()) => Port::Free,
        Err(Errno::ADDRINUSE) if held.contains(&address.to_string()) => Port::Ours,
        Err(Errno::ADDRINUSE) => Port::Taken,
        Err(Errno::ACCESS) => Port::Forbidden,
        Err(Errno::ADDRNOTAVAIL) => Port::Nowhere,
        Err(error) => Port::Unknown(error.to_string()),
    }
}

fn program(app: &App, command: &Command) -> Program {
    let name = command.argv.first().map_or("", String::as_str);
    let path = if name.contains('/') {
        Some(command.cwd.join(name)).filter(|path| path.is_file())
    } else {
        // As it will be looked for: in the program's own PATH, if it has one.
        let path = app.env.get("PATH").map(Into::into).or_else(|| env::var_os("PATH")).unwrap_or_default();
        env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    Program {
        executable: path.as_ref().is_some_and(|path| access(path, Access::EXEC_OK).is_ok()),
        path,
        cwd_is_there: command.cwd.is_dir(),
    }
}

fn runs_as(app: &App) -> RunsAs {
    match Owner::of(app.user.as_deref(), app.group.as_deref()) {
        Ok(owner) if is_another(&owner) => RunsAs::Another,
        Ok(_) => RunsAs::Us,
        Err(error) => RunsAs::Nobody(format!("{error:#}")),
    }
}

fn is_another(owner: &Owner) -> bool {
    owner.user.as_ref().is_some_and(|user| user.uid.as_raw() != geteuid().as_raw())
}

/// Whom an app is to run as, if that is somebody else whom there is.
fn another(app: &App) -> Option<Owner> {
    Owner::of(app.user.as_deref(), app.group.as_deref()).ok().filter(is_another)
}

/// The files that a chat server reads again while it runs, as far as its user cannot.
fn unreadable(config: &Config, app: &App, owner: &Owner) -> Vec<(String, PathBuf, PathBuf)> {
    let chat = app.listen.is_some() && app.command.is_none();
    let files = app.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]).chain(&config.server.auth.keys);
    files
        .filter(|file| chat && file.exists())
        .filter_map(|file| Some((app.name.clone(), file.clone(), owner.kept_from(file, owner::READ)?)))
        .collect()
}

/// Whether everybody on this machine may read it.
fn is_open(file: &Path) -> bool {
    file.metadata().is_ok_and(|is| is.permissions().mode() & owner::READ != 0)
}

fn expiry(files: &Tls) -> Result<Expiry, String> {
    let expires = certificate::read(files)?.expires;
    let at = u64::try_from(expires.as_second()).unwrap_or(0);
    Ok(Expiry { at, day: expires.strftime("%Y-%m-%d").to_string() })
}

/// The paths that are watched for an app, besides the program and chat.toml.
fn watched(config: &Config, app: &App) -> Vec<(String, PathBuf)> {
    let page = config.server.page.dir.clone().filter(|_| app.watch != Watch::Off);
    let also = if let Watch::Also(paths) = &app.watch { paths.as_slice() } else { &[] };
    page.into_iter().chain(also.iter().cloned()).map(|path| (app.name.clone(), path)).collect()
}

/// How many folders there are from here on down: so many watches it takes.
fn folders(root: &Path) -> u64 {
    let (mut open, mut count) = (vec![root.to_owned()], 0);
    while let Some(folder) = open.pop().filter(|_| count < COUNTED) {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        count += 1;
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(below.map(|entry| entry.path()));
    }
    count
}

fn folder(path: &Path) -> Folder {
    // What is not there yet is made in the nearest folder that is.
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let refused = match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        _ if !there.is_dir() => Some(format!("{} is no folder", there.display())),
        Ok(()) => None,
        Err(error) => Some(format!("{}: {error}", there.display())),
    };
    let stat = statfs(there).ok();
    // proc(5) and its like have no room at all.
    let keeps = stat.as_ref().is_none_or(|stat| stat.f_blocks > 0);
    Folder {
        path: path.to_owned(),
        refused: refused.or_else(|| (!keeps).then(|| format!("{} keeps no files", there.display()))),
        filesystem: stat.as_ref().map_or(Filesystem::Disk, filesystem),
        free: stat.map_or(u64::MAX, |stat| {
            stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(4096))
        }),
    }
}

/// statfs(2) lists the numbers.
fn filesystem(stat: &StatFs) -> Filesystem {
    match stat.f_type {
        0x0102_1994 | 0x8584_58f6 => Filesystem::Memory,
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 | 0x00c3_6400 | 0x5346_4846 => {
            Filesystem::Network
        }
        0x794c_7630 => Filesystem::Layer,
        _ => Filesystem::Disk,
    }
}

/// What the server would not find in the folder of the page.
fn missing_pages(dir: &Path) -> Vec<&'static str> {
    ["index.html", "room.html"].into_iter().filter(|page| !dir.join(page).is_file()).collect()
}

fn kernel(setting: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(setting)).ok()?.trim().parse().ok()
}
