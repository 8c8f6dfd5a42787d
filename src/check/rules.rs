//! What makes a configuration and a machine not fit: pure, by tables.

use super::{
    Finding, Severity,
    facts::{Expiry, Facts, Filesystem, Folder, Port, RunsAs},
    many,
};
use crate::{config::Config, control::types::size};
use std::path::Path;

/// Descriptors a server has open besides its clients'.
const ITS_OWN: u64 = 100;
/// Clients that are reckoned with where there is no limit.
const RECKONED: u64 = 10_000;
/// Below so many clients it is no production.
const FEW: u64 = 1000;
/// Connections that are to wait in the kernel during a restart.
const BACKLOG: u64 = 4096;
/// Less room than that, and writing fails soon.
const LITTLE: u64 = 64 << 20;
/// The longest path of a Unix socket (sun_path), and what is put behind state_dir: run/<app>.<pid>-<n>.notify
const SOCKET_PATH: usize = 107;
const SOCKET_NAME: usize = "/run/.4194304-99999.notify".len();
/// A certificate is to be renewed earlier than so long before its end: Let's Encrypt's are a month before.
const SOON: u64 = 14 * DAY;
const DAY: u64 = 86_400;
/// A clock that is so far ahead of the build is wrong.
const YEARS: u64 = 20 * 365 * DAY;

/// Everything that is not as it should be. A rule is a function of this list.
pub(super) fn findings(config: &Config, facts: &Facts) -> Vec<Finding> {
    let rules = [
        ports,
        descriptors,
        state_dir,
        journal,
        sockets,
        page,
        clock,
        memory,
        programs,
        owners,
        certificates,
        keys,
        secrets,
        readers,
        watching,
        queue,
        origins,
    ];
    rules.iter().flat_map(|rule| rule(config, facts)).collect()
}

fn problem(place: String, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { severity: Severity::Problem, what: what.into(), place, mend: mend.into() }
}

fn remark(place: String, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { severity: Severity::Remark, ..problem(place, what, mend) }
}

fn ports(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (app, address, port) in &facts.ports {
        let number = address.port();
        let (what, mend) = match port {
            Port::Free | Port::Ours => continue,
            Port::Taken => (
                format!("{address} is in use by another program"),
                format!("stop it (`ss -ltnp sport = :{number}` names it), or listen elsewhere"),
            ),
            Port::Forbidden => (
                format!("{address}: this user may not listen there"),
                "ports below 1024 need root or CAP_NET_BIND_SERVICE: `chatctl systemd` gives it, or listen above 1024"
                    .to_owned(),
            ),
            Port::Nowhere => (
                format!("this machine has no address {}", address.ip()),
                "`ip address` shows which it has; 0.0.0.0 is all of IPv4, [::] all there are".to_owned(),
            ),
            Port::Unknown(error) => (format!("cannot listen on {address}: {error}"), "listen elsewhere".to_owned()),
        };
        found.push(problem(config.place(&format!("app.{app}.listen")), what, mend));
    }
    found
}

fn descriptors(config: &Config, facts: &Facts) -> Vec<Finding> {
    let Some(limit) = facts.nofile else { return Vec::new() };
    let mut found = Vec::new();
    for app in config.enabled() {
        if let Some(own) = app.nofile.filter(|own| *own > limit && !facts.is_root) {
            let what = format!("{own} files is more than this user may give: {limit}");
            let place = config.place(&format!("app.{}.nofile", app.name));
            found.push(problem(
                place,
                what,
                "raise the hard limit: LimitNOFILE= under systemd, else limits.conf(5)",
            ));
        }
    }
    let wanted = match config.server.limits.max_connections as u64 {
        0 => RECKONED,
        most => most,
    };
    let room = limit.saturating_sub(ITS_OWN);
    if config.enabled().any(|app| app.listen.is_some()) && room < wanted {
        let what =
            format!("RLIMIT_NOFILE is {limit}: {room} people find room in a server, {wanted} are let in");
        let mend = format!(
            "LimitNOFILE= under systemd (`chatctl systemd` sets it), `ulimit -Hn {}` in a shell, or lower max_connections",
            wanted + ITS_OWN
        );
        let place = config.place("limits.max_connections");
        found.push(if room < FEW { problem(place, what, mend) } else { remark(place, what, mend) });
    }
    found
}

fn state_dir(config: &Config, facts: &Facts) -> Vec<Finding> {
    let logs: u64 = config.enabled().map(|app| app.log_max_size * (u64::from(app.log_retain) + 1)).sum();
    let place = config.place("state_dir");
    let mut found = space(&facts.state_dir, &place, logs, "logs");
    let dir = facts.state_dir.path.display();
    found.extend(match facts.state_dir.filesystem {
        Filesystem::Memory => Some(remark(
            place,
            format!("{dir} is in memory: logs and recovery are gone after a reboot"),
            "choose a state_dir on a disk, as /var/lib/chatctl",
        )),
        Filesystem::Layer => Some(remark(
            place,
            format!("{dir} is a layer of a container, and goes with it"),
            "mount a volume there",
        )),
        Filesystem::Network => Some(problem(
            place,
            format!("{dir} is on a network filesystem: Unix sockets and locks do not work there"),
            "choose a state_dir on a local disk",
        )),
        Filesystem::Disk => None,
    });
    found
}

fn journal(config: &Config, facts: &Facts) -> Vec<Finding> {
    let Some(folder) = &facts.journal else { return Vec::new() };
    let place = config.place("recovery.path");
    let chats = config.enabled().filter(|app| app.listen.is_some()).count() as u64;
    let mut found = space(folder, &place, config.server.recovery.max_bytes * chats, "the journal");
    if folder.filesystem == Filesystem::Network && facts.state_dir.filesystem != Filesystem::Network {
        let what = format!(
            "the journal in {} is on a network filesystem: each message would wait for it",
            folder.path.display()
        );
        found.push(problem(place, what, "put it on a local disk"));
    }
    found
}

/// Whether a folder can be written, and has room.
fn space(folder: &Folder, place: &str, needs: u64, what: &str) -> Vec<Finding> {
    let path = folder.path.display();
    if let Some(refused) = &folder.refused {
        let what = format!("{path} cannot be written: {refused}");
        let mend = "make it, and give it to the user who runs chatctl; or choose another";
        return vec![problem(place.to_owned(), what, mend)];
    }
    let free = size(folder.free);
    if folder.free < LITTLE {
        let full = format!("{free} are free for {what} in {path}");
        return vec![problem(place.to_owned(), full, "make room: a full disk costs log lines and recovery")];
    }
    if folder.free < needs {
        let what = format!("{what} in {path} may take {}, and {free} are free", size(needs));
        return vec![remark(
            place.to_owned(),
            what,
            "make room, or lower log_max_size, log_retain or [recovery] max_bytes",
        )];
    }
    Vec::new()
}

fn sockets(config: &Config, _: &Facts) -> Vec<Finding> {
    let name = config.enabled().map(|app| app.name.len()).max().unwrap_or(0);
    let length = config.state_dir.as_os_str().len() + SOCKET_NAME + name;
    if length <= SOCKET_PATH {
        return Vec::new();
    }
    let what = format!("its sockets have paths of up to {length} bytes, and the kernel takes {SOCKET_PATH}");
    vec![problem(config.place("state_dir"), what, "choose a shorter state_dir, or shorter names of apps")]
}

fn page(config: &Config, facts: &Facts) -> Vec<Finding> {
    let (Some(missing), Some(dir)) = (&facts.page, &config.server.page.dir) else { return Vec::new() };
    let place = config.place("page.dir");
    let dir = dir.display();
    match missing.as_slice() {
        [] => Vec::new(),
        [one] => {
            vec![remark(place, format!("{dir} has no {one}"), "put it there, unless nobody is to ask for it")]
        }
        _ => vec![problem(
            place,
            format!("{dir} has neither index.html nor room.html, or is not there"),
            "name the folder with the pages, or leave dir out: there is a built-in page",
        )],
    }
}

fn clock(_: &Config, facts: &Facts) -> Vec<Finding> {
    let wrong = match () {
        () if facts.now < facts.built => "before the day this program was built",
        () if facts.now > facts.built + YEARS => "twenty years after this program was built",
        () => return Vec::new(),
    };
    let what = format!("it is {wrong}: times of messages and logs are wrong, certificates seem invalid");
    vec![problem("the clock".to_owned(), what, "set it: `timedatectl set-ntp true`")]
}

fn memory(config: &Config, facts: &Facts) -> Vec<Finding> {
    let ceilings = || config.enabled().filter_map(|app| app.max_memory_restart);
    let (sum, largest, there) = (ceilings().sum::<u64>(), ceilings().max().unwrap_or(0), facts.memory);
    if there == 0 {
        return Vec::new();
    }
    let place = "max_memory_restart of the enabled apps".to_owned();
    let mend = "lower them, enable fewer apps, or give the machine more";
    if sum > there {
        let what = format!("together {}, and there are {} of memory", size(sum), size(there));
        return vec![problem(place, what, mend)];
    }
    if sum + largest > there {
        let what = format!(
            "together {}, of {} of memory: a reload runs two of one app for a moment",
            size(sum),
            size(there)
        );
        return vec![remark(place, what, mend)];
    }
    Vec::new()
}

fn programs(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (app, program) in &facts.programs {
        let at = |key: &str| config.place(&format!("app.{app}.{key}"));
        let named =
            config.app(app).and_then(|app| app.command.as_ref()?.argv.first()).map_or("", String::as_str);
        match &program.path {
            None if named.contains('/') => {
                found.push(problem(at("command"), format!("{named} is not there"), "paths start at `cwd`"));
            }
            None => found.push(problem(
                at("command"),
                format!("{named} is nowhere in PATH"),
                "install it, or write its whole path; a supervisor under systemd has a PATH of its own",
            )),
            Some(path) if !program.executable => {
                let path = path.display();
                found.push(problem(
                    at("command"),
                    format!("{path} is not executable"),
                    format!("chmod +x {path}"),
                ));
            }
            Some(_) => {}
        }
        if !program.cwd_is_there {
            found.push(problem(at("cwd"), "there is no such folder", "make it, or correct the path"));
        }
    }
    found
}

fn owners(config: &Config, facts: &Facts) -> Vec<Finding> {
    let finding = |(app, owner): &(String, RunsAs)| {
        let place = config.place(&format!("app.{app}.user"));
        match owner {
            RunsAs::Nobody(why) => Some(problem(place, why.clone(), "useradd --system makes one")),
            RunsAs::Another if !facts.is_root => Some(problem(
                place,
                "only root may run an app as somebody else",
                "run the supervisor as root, or leave it out",
            )),
            RunsAs::Another | RunsAs::Us => None,
        }
    };
    facts.owners.iter().filter_map(finding).collect()
}

fn certificates(config: &Config, facts: &Facts) -> Vec<Finding> {
    let finding = |(app, certificate): &(String, Result<Expiry, String>)| {
        let place = config.place(&format!("app.{app}.tls"));
        let Expiry { at, day } = match certificate {
            Ok(expiry) => expiry,
            Err(why) => {
                let mend = "cert is the certificate with its chain, key its private key: both PEM, and readable for who runs chatctl";
                return Some(problem(place, why.clone(), mend));
            }
        };
        match at.checked_sub(facts.now).filter(|left| *left > 0) {
            None => Some(problem(
                place,
                format!("the certificate has expired on {day}: browsers refuse to connect"),
                "renew it (`certbot renew`): a running server takes the new files up by itself",
            )),
            Some(left) if left < SOON => Some(remark(
                place,
                format!("the certificate expires on {day}, in {}", many((left / DAY) as usize, "day")),
                "see that its renewal works: `certbot renew --dry-run`, `systemctl list-timers`",
            )),
            Some(_) => None,
        }
    };
    facts.certificates.iter().filter_map(finding).collect()
}

fn keys(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mend =
        "keys names a JWKS, a public key in PEM, or a secret of at least 32 characters: openssl rand -hex 32";
    facts.keys.iter().map(|why| problem(config.place("auth.keys"), why.clone(), mend)).collect()
}

fn secrets(config: &Config, facts: &Facts) -> Vec<Finding> {
    let finding = |(key, file): &(String, std::path::PathBuf)| {
        let what = format!("everybody on this machine may read {}", shown(config, file));
        remark(config.place(key), what, format!("chmod o= {}", file.display()))
    };
    facts.open_secrets.iter().map(finding).collect()
}

/// What users who are not root are kept from.
fn readers(config: &Config, facts: &Facts) -> Vec<Finding> {
    let place = |app: &str| config.place(&format!("app.{app}.user"));
    let unreadable = |(app, file, by): &(String, std::path::PathBuf, std::path::PathBuf)| {
        let what = format!(
            "it may not read {}, because of the modes of {}: a new one could not be taken up",
            shown(config, file),
            by.display()
        );
        let mend = "give it to a group that this user is in: chgrp, and chmod 640 (folders: 750)";
        remark(place(app), what, mend)
    };
    let impassable = |(app, folder): &(String, std::path::PathBuf)| {
        let what = format!("it cannot pass through {} to the state_dir", folder.display());
        problem(place(app), what, format!("choose another state_dir, or chmod o+x {}", folder.display()))
    };
    let unreadable = facts.unreadable.iter().map(unreadable);
    unreadable.chain(facts.impassable.iter().map(impassable)).collect()
}

fn watching(config: &Config, facts: &Facts) -> Vec<Finding> {
    let missing = |(app, path): &(String, std::path::PathBuf)| {
        let what = format!("{} is not there", shown(config, path));
        remark(
            config.place(&format!("app.{app}.watch")),
            what,
            "it is watched from when it comes; correct the path if it never will",
        )
    };
    let mut found: Vec<Finding> = facts.unwatchable.iter().map(missing).collect();
    if let Some(limit) = facts.inotify_watches.filter(|limit| facts.watched_folders > *limit) {
        let what =
            format!("{} folders are to be watched, and this user may watch {limit}", facts.watched_folders);
        let mend =
            "watch less, or raise it: sysctl fs.inotify.max_user_watches=524288 (and in /etc/sysctl.d)";
        found.push(problem("fs.inotify.max_user_watches".to_owned(), what, mend));
    }
    found
}

fn shown(config: &Config, path: &Path) -> String {
    let base = config.path.as_deref().and_then(Path::parent);
    base.and_then(|base| path.strip_prefix(base).ok()).unwrap_or(path).display().to_string()
}

fn queue(config: &Config, facts: &Facts) -> Vec<Finding> {
    let Some(length) = facts.somaxconn.filter(|length| *length < BACKLOG) else { return Vec::new() };
    if config.enabled().all(|app| app.listen.is_none()) {
        return Vec::new();
    }
    let what = format!("{length} connections may wait during a restart, {BACKLOG} are asked for");
    let mend = format!("sysctl net.core.somaxconn={BACKLOG} (and in /etc/sysctl.d)");
    vec![remark("net.core.somaxconn".to_owned(), what, mend)]
}

fn origins(config: &Config, _: &Facts) -> Vec<Finding> {
    if !config.server.cors.is_open() {
        return Vec::new();
    }
    let what = "pages of any origin may connect";
    let mend = "name those that should, as origins = [\"https://www.example.com\"]";
    vec![remark(config.place("cors.origins"), what, mend)]
}
