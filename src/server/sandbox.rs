//! What this process may still do when it has started: less than its user may. Whatever a client makes of it, the kernel
//! (landlock(7), Linux 5.13 and later) lets it open no file but those it will need, write none but its journal, connect
//! to nobody, and signal nobody outside.
//!
//! It goes by folders, since certificates, keys and pages are exchanged by rename; of a name that leads through links, by
//! the folder at their end as well. Descriptors that it has, or is given, are not touched: its sockets, standard error,
//! a handover. It holds for threads that are started later, so it comes before the runtime. An older kernel does what it
//! can; without any of it the modes of the files are what there is.

use super::Settings;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use std::{
    env, fs,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// What is asked of the kernel: as of Linux 6.15. What later ones add has not been tried here.
const KNOWN: ABI = ABI::V7;

/// The folders of what is opened after the start, or files where no more is needed.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Sandbox {
    /// One for a server with these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        let server = &settings.server;
        let tls = settings.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        let files = tls.chain(&server.auth.keys).flat_map(|file| around(file));
        let pages = server.page.dir.iter().filter(|_| server.page.enabled).flat_map(|dir| at_ends(dir));
        let folder = settings.journal.parent();
        // Without recovery it removes what there was.
        let journal = folder.filter(|folder| server.recovery.enabled || folder.is_dir());
        Self {
            read: files.chain(pages).collect(),
            // Of a folder that could not be made: where it will be, when that has been mended.
            write: journal
                .and_then(|folder| folder.ancestors().find(|there| there.is_dir()))
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }

    /// Locks this thread in for good, and those that it starts.
    pub(super) fn enter(&self) {
        match self.restrict() {
            Ok(RulesetStatus::NotEnforced) => {
                tracing::debug!("there is no sandbox: this system has no landlock")
            }
            Ok(_) => {
                tracing::debug!(read = ?self.read, write = ?self.write, "in a sandbox: of the files only these")
            }
            Err(error) => tracing::warn!(%error, "there is no sandbox"),
        }
    }

    fn restrict(&self) -> Result<RulesetStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write =
            read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
        let sandbox = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(scopes())?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, write))?;
        Ok(sandbox.restrict_self()?.ruleset)
    }
}

/// All, unless who started it listens at an abstract socket to hear how it is (sd_notify(3)).
fn scopes() -> BitFlags<Scope> {
    let abstract_socket = env::var_os("NOTIFY_SOCKET").is_some_and(|path| path.as_bytes().starts_with(b"@"));
    if abstract_socket { Scope::Signal.into() } else { Scope::from_all(KNOWN) }
}

/// Where to look for a file that is opened again by its name, after it was exchanged.
fn around(file: &Path) -> Vec<PathBuf> {
    let folder = |file: PathBuf| match file.parent() {
        // The whole machine is no folder of a certificate: then it is this file alone.
        Some(folder) if folder.parent().is_some() => folder.to_owned(),
        _ => file,
    };
    at_ends(file).into_iter().map(folder).collect()
}

/// What a name leads to now, and, where a link on the way may be turned elsewhere within its folder (`current` to the
/// next of `releases`), where that can be.
fn at_ends(name: &Path) -> Vec<PathBuf> {
    let mut ends = vec![name.to_owned()];
    ends.extend(fs::canonicalize(name));
    for link in name.ancestors() {
        let (Ok(target), Some(here)) = (fs::read_link(link), link.parent()) else { continue };
        let target = here.join(target);
        let is_below =
            target.starts_with(here) && !target.components().any(|part| part == Component::ParentDir);
        let folder = target.parent().filter(|folder| is_below && folder.parent().is_some());
        ends.extend(folder.map(Path::to_owned));
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{io::Errno, process};
    use std::{
        fs::{File, OpenOptions},
        io::{self, ErrorKind::PermissionDenied},
        net::{TcpListener, TcpStream},
        os::unix::{fs::symlink, net::UnixDatagram},
        process::Command,
        sync::Barrier,
        thread,
    };

    /// Locks a thread in, does something outside, and then this inside; nothing of it where the kernel has no landlock.
    fn inside(sandbox: &Sandbox, outside: impl FnOnce(), work: impl FnOnce(RulesetStatus) + Send) {
        let changed = Barrier::new(2);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let status = sandbox.restrict().unwrap();
                changed.wait();
                changed.wait();
                if status != RulesetStatus::NotEnforced {
                    work(status);
                }
            });
            changed.wait();
            outside();
            changed.wait();
            thread.join().unwrap();
        });
    }

    fn is_denied<T>(done: io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == PermissionDenied)
    }

    #[test]
    fn who_has_taken_it_over_reads_and_writes_nothing_else_and_reaches_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("journal"), dir.path().join("other"));
        fs::create_dir(&own).unwrap();
        fs::write(&other, "somebody's").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let sandbox = Sandbox { read: Vec::new(), write: vec![own.clone()] };
        inside(
            &sandbox,
            || {},
            |status| {
                for file in [Path::new("/etc/shadow"), Path::new("/proc/self/environ"), &other] {
                    assert!(is_denied(File::open(file)), "{}", file.display());
                }
                assert!(is_denied(fs::read_dir("/etc")));
                assert!(is_denied(OpenOptions::new().append(true).open(&other)));
                assert!(is_denied(fs::write(dir.path().join("new"), "")));
                assert!(is_denied(fs::remove_file(&other)));
                assert!(is_denied(symlink("/etc/shadow", own.join("link"))));
                assert!(is_denied(Command::new("true").status()));
                // What older kernels cannot do.
                if status == RulesetStatus::FullyEnforced {
                    assert!(is_denied(TcpStream::connect(address)));
                    assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
                    assert_eq!(process::getppid().map(process::test_kill_process), Some(Err(Errno::PERM)));
                }
                // And it works.
                for content in ["first", "second"] {
                    fs::write(own.join("chat.sqlite"), content).unwrap();
                }
                fs::remove_file(own.join("chat.sqlite")).unwrap();
                let notify = UnixDatagram::unbound().unwrap();
                notify.send_to(b"READY=1", dir.path().join("notify")).unwrap();
                heard.recv(&mut [0; 16]).unwrap();
            },
        );
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
    }

    /// By rename, and by turning a link elsewhere: as certbot, Kubernetes and deploy scripts do it.
    #[test]
    fn what_is_exchanged_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |name: &str, content: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), content).unwrap();
        };
        let link = |target: &str, name: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            symlink(target, at("new link")).unwrap();
            fs::rename(at("new link"), at(name)).unwrap();
        };
        put("plain/cert.pem", "old");
        put("archive/site/1.pem", "old");
        link("../../archive/site/1.pem", "live/site/cert.pem");
        put("mount/..data1/key", "old");
        link("..data1", "mount/..data");
        link("..data/key", "mount/key");
        put("app/releases/1/public/index.html", "old");
        link(at("app/releases/1").to_str().unwrap(), "app/current");
        let files = ["plain/cert.pem", "live/site/cert.pem", "mount/key"].map(at);
        let read = files.iter().flat_map(|file| around(file)).chain(at_ends(&at("app/current/public")));
        let exchange = || {
            put("plain/new.pem", "new");
            fs::rename(at("plain/new.pem"), at("plain/cert.pem")).unwrap();
            put("archive/site/2.pem", "new");
            link("../../archive/site/2.pem", "live/site/cert.pem");
            put("mount/..data2/key", "new");
            link("..data2", "mount/..data");
            put("app/releases/2/public/index.html", "new");
            link(at("app/releases/2").to_str().unwrap(), "app/current");
            put("secret", "");
        };
        inside(&Sandbox { read: read.collect(), write: Vec::new() }, exchange, |_| {
            for file in files.iter().chain([&at("app/current/public/index.html")]) {
                assert_eq!(fs::read_to_string(file).unwrap(), "new", "{}", file.display());
            }
            assert!(is_denied(File::open(at("secret"))));
            assert!(is_denied(OpenOptions::new().append(true).open(&files[0])));
        });
    }

    #[test]
    fn the_whole_machine_is_no_folder_of_a_certificate() {
        assert_eq!(around(Path::new("/cert-that-is-not.pem")), [PathBuf::from("/cert-that-is-not.pem")]);
        let run = at_ends(Path::new("/var/run"));
        assert!(!run.contains(&PathBuf::from("/")), "{run:?}");
    }
}
