//! Units for systemd, made for a configuration: pure texts. What they allow is what this configuration needs.
//!
//! `Type=notify` with an `ExecReload=` that waits for the outcome, rather than `Type=notify-reload`: that could tell
//! systemd only that a reload is over, not that it was refused. The supervisor speaks both.

use crate::config::Config;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Descriptors of a server with all the clients it lets in, and some.
const FILES: u64 = 65_536;
/// What a stop takes besides the longest kill_timeout.
const MARGIN: Duration = Duration::from_secs(15);
/// The user, and the folder below /var/lib.
const NAME: &str = "chatctl";

/// For whom the unit is.
pub(crate) struct Service<'a> {
    /// chatctl, by its whole path.
    pub(crate) program: &'a Path,
    /// A unit of a user's own systemd, not of the machine's.
    pub(crate) of_user: bool,
    /// Who it runs as, of the machine's; `None`: a user that systemd makes, unless there is one of this name.
    pub(crate) run_as: Option<&'a str>,
}

/// The service.
pub(crate) fn service(config: &Config, service: &Service<'_>) -> String {
    let program = service.program.display();
    let named = config.path.as_ref().map_or_else(String::new, |path| format!(" --config {}", escaped(path)));
    let mut unit = format!(
        "# Made by `chatctl systemd` for {}; make it anew when ports, users or paths change there.\n\
         [Unit]\nDescription=Chat servers and their supervisor (chatctl)\n# However often it ends, it is started again.\nStartLimitIntervalSec=0\n",
        config
            .path
            .as_ref()
            .map_or_else(|| "the built-in chat.toml".into(), |path| path.display().to_string()),
    );
    if !service.of_user {
        unit.push_str("Wants=network-online.target\nAfter=network-online.target\n");
    }
    let stop = config.enabled().map(|app| app.kill_timeout).max().unwrap_or_default() + MARGIN;
    let files = config.enabled().filter_map(|app| app.nofile).max().unwrap_or(0).max(FILES);
    let _ = write!(
        unit,
        "\n[Service]\nType=notify\nNotifyAccess=main\nExecStart={program} supervise{named}\n\
         # Waits for the outcome, and fails when the last good version had to come back.\n\
         ExecReload={program} reload{named}\n\
         Restart=always\nRestartSec=1\n# chat.toml is wrong: again and again would not mend it.\nRestartPreventExitStatus=2\n\
         # The chat outlives its supervisor; the next one takes it over as it is.\nKillMode=process\n\
         # One app that does not come up must not cost the others: the supervisor goes on trying, and says so.\n\
         TimeoutStartSec=infinity\nTimeoutStopSec={}\nWatchdogSec=10\n\
         # When memory runs out the supervisor replaces what the kernel took.\nOOMPolicy=continue\n\
         LimitNOFILE={files}\nUMask=0077\n",
        stop.as_secs(),
    );
    unit.push_str(if service.of_user { "" } else { "\n" });
    let lines = if service.of_user { every_sandbox(config) } else { machine_sandbox(config, service.run_as) };
    lines.iter().for_each(|line| {
        unit.push_str(line);
        unit.push('\n');
    });
    let target = if service.of_user { "default.target" } else { "multi-user.target" };
    let _ = write!(unit, "\n[Install]\nWantedBy={target}\n");
    unit
}

/// The sockets of all chat servers, for systemd to hold: the service of the same name finds each by its address. One
/// that is on any port has none that could be found, and systemd takes no port 0.
pub(crate) fn socket(config: &Config) -> String {
    let mut unit =
        "# Made by `chatctl systemd --socket`; goes beside the service, with the same name.\n[Unit]\n\
                    Description=Sockets of the chat servers (chatctl)\n\n[Socket]\n"
            .to_owned();
    for listen in config.enabled().filter_map(|app| app.listen).filter(|at| at.port() != 0) {
        let _ = writeln!(unit, "ListenStream={listen}");
    }
    unit.push_str("Backlog=4096\n\n[Install]\nWantedBy=sockets.target\n");
    unit
}

/// What also a user's own systemd can do: it takes no rights.
fn every_sandbox(config: &Config) -> Vec<String> {
    let commands = config.enabled().any(|app| app.command.is_some());
    let mut lines = vec![
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RestrictNamespaces=yes",
        "SystemCallArchitectures=native",
        // The servers' own sandbox is in no set of systemd's.
        "SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        "SystemCallErrorNumber=EPERM",
    ];
    // A program of its own may make code while it runs, as Node does, and ask the kernel for addresses.
    if commands {
        lines.push("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    } else {
        lines.extend(["MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]);
    }
    lines.into_iter().map(str::to_owned).collect()
}

fn machine_sandbox(config: &Config, run_as: Option<&str>) -> Vec<String> {
    let changes_users = config.enabled().any(|app| app.user.is_some() || app.group.is_some());
    let privileged_port =
        config.enabled().any(|app| app.listen.is_some_and(|at| (1..1024).contains(&at.port())));
    let favoured = config.enabled().any(|app| app.nice.is_some_and(|nice| nice < 0));
    let mut lines = Vec::new();
    let mut line = |text: String| lines.push(text);
    if changes_users && run_as.is_none() {
        line(
            "# Some apps run as users of their own: that takes root, with no more rights than this."
                .to_owned(),
        );
        line("User=root".to_owned());
        line(
            "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SYS_NICE \
             CAP_SYS_RESOURCE CAP_SYS_PTRACE CAP_NET_BIND_SERVICE"
                .to_owned(),
        );
    } else {
        match run_as {
            Some(user) => line(format!("User={user}")),
            None => {
                line(format!("# systemd makes this user, unless there is one: useradd --system {NAME}"));
                line(format!("User={NAME}\nDynamicUser=yes"));
            }
        }
        let rights = [(privileged_port, "CAP_NET_BIND_SERVICE"), (favoured, "CAP_SYS_NICE")];
        let rights: Vec<&str> =
            rights.into_iter().filter(|(needed, _)| *needed).map(|(_, right)| right).collect();
        line(format!("CapabilityBoundingSet={}", rights.join(" ")));
        if !rights.is_empty() {
            line(format!("AmbientCapabilities={}", rights.join(" ")));
        }
        line("SystemCallFilter=~@privileged".to_owned());
        line("ProtectProc=invisible".to_owned());
    }
    line(format!("StateDirectory={NAME}\nStateDirectoryMode=0700"));
    line("ProtectSystem=strict".to_owned());
    let writes = writes(config);
    if !writes.is_empty() {
        let paths: Vec<String> = writes.iter().map(|path| format!("-{}", escaped(path))).collect();
        line(format!("ReadWritePaths={}", paths.join(" ")));
    }
    let paths = || reads(config).into_iter().chain(writes.iter().cloned());
    let at_home = |path: PathBuf| ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home));
    let home_is_written = writes.iter().cloned().any(at_home);
    line(format!(
        "ProtectHome={}",
        if home_is_written {
            "no"
        } else if paths().any(at_home) {
            "read-only"
        } else {
            "yes"
        }
    ));
    let in_tmp = paths().any(|path| path.starts_with("/tmp") || path.starts_with("/var/tmp"));
    line(format!("PrivateTmp={}", if in_tmp { "no" } else { "yes" }));
    for protection in [
        "PrivateDevices",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
    ] {
        line(format!("{protection}=yes"));
    }
    lines.extend(every_sandbox(config));
    // The list of what is allowed comes before what is taken from it (systemd.exec(5)).
    lines.sort_by_key(|line| line.starts_with("SystemCallFilter=~"));
    lines
}

/// Folders that are written besides /var/lib/chatctl: those that chat.toml names, and where programs run.
fn writes(config: &Config) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if config.sets("state_dir") {
        paths.push(config.state_dir.clone());
    }
    if config.sets("recovery.path") {
        paths.push(config.server.recovery.path.clone());
    }
    paths.extend(config.enabled().filter_map(|app| Some(app.command.as_ref()?.cwd.clone())));
    paths.sort();
    paths.dedup();
    paths
}

/// Files and folders that are read.
fn reads(config: &Config) -> Vec<PathBuf> {
    let commands = config.enabled().filter_map(|app| app.command.as_ref());
    let programs = commands.filter_map(|command| command.argv.first()).map(PathBuf::from);
    config.path.iter().chain(&config.server.page.dir).cloned().chain(programs).collect()
}

/// systemd.syntax(7): a path with spaces or `%` in a list.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('%', "%%").replace(' ', "\\x20")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(toml: &str, of_user: bool) -> String {
        let config = Config::from_text(toml, Some(Path::new("/etc/chatctl/chat.toml"))).unwrap();
        service(&config, &Service { program: Path::new("/usr/local/bin/chatctl"), of_user, run_as: None })
    }

    fn has(unit: &str, line: &str) -> bool {
        unit.lines().any(|is| is == line)
    }

    #[test]
    fn a_unit_allows_what_its_configuration_needs() {
        const CHAT: &str = "[[app]]\nname = \"a\"\nlisten = 3000\n";
        let plain = unit(CHAT, false);
        assert!(
            has(&plain, "ExecStart=/usr/local/bin/chatctl supervise --config /etc/chatctl/chat.toml"),
            "{plain}"
        );
        for line in [
            "CapabilityBoundingSet=",
            "DynamicUser=yes",
            "ProtectHome=yes",
            "MemoryDenyWriteExecute=yes",
            "KillMode=process",
            "TimeoutStopSec=20",
        ] {
            assert!(has(&plain, line), "{line}: {plain}");
        }
        let port = unit(&CHAT.replace("3000", "443"), false);
        assert!(has(&port, "AmbientCapabilities=CAP_NET_BIND_SERVICE"), "{port}");
        let moved =
            unit(&format!("state_dir = \"/srv/a b\"\n{CHAT}kill_timeout = \"1m\"\nnofile = 100000\n"), false);
        for line in ["ReadWritePaths=-/srv/a\\x20b", "TimeoutStopSec=75", "LimitNOFILE=100000"] {
            assert!(has(&moved, line), "{line}: {moved}");
        }
        let program = unit("[[app]]\nname = \"a\"\ncommand = \"node\"\ncwd = \"/home/kim/a\"\n", false);
        assert!(has(&program, "ProtectHome=no") && !program.contains("MemoryDenyWriteExecute"), "{program}");
        let users = unit("[[app]]\nname = \"a\"\ncommand = \"node\"\nuser = \"www-data\"\n", false);
        assert!(has(&users, "User=root") && !users.contains("DynamicUser"), "{users}");
        let own = unit(CHAT, true);
        assert!(
            has(&own, "WantedBy=default.target") && !own.contains("User=") && !own.contains("StateDirectory"),
            "{own}"
        );
    }

    #[test]
    fn sockets_are_those_that_have_a_port() {
        let apps = [("a", "0.0.0.0:3000"), ("b", "127.0.0.1:0")];
        let app = |(name, at)| format!("[[app]]\nname = \"{name}\"\nlisten = \"{at}\"\n");
        let unit = socket(&Config::from_text(&apps.map(app).concat(), None).unwrap());
        let listens: Vec<_> = unit.lines().filter(|line| line.starts_with("Listen")).collect();
        assert_eq!(listens, ["ListenStream=0.0.0.0:3000"]);
    }
}
