//! How `status` looks to a person. Pure: text in, text out.

use super::types::{AppStatus, Certificate, Health, Recovery, Status, size};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

const HEAD: [&str; 12] = [
    "app", "state", "pid", "uptime", "restarts", "memory", "cpu", "listen", "profile", "clients", "rooms",
    "health",
];
/// Columns that hold numbers are flush right.
const RIGHT: [bool; 12] = [false, false, true, true, true, true, true, false, false, true, true, false];

/// Columns that a narrow terminal goes without, the first of them first.
const SPARED: [&str; 9] =
    ["profile", "rooms", "listen", "cpu", "pid", "uptime", "memory", "restarts", "clients"];
/// Between two columns.
const GAP: usize = 2;

/// The whole page; colours as terminals show them where `colour`. `width`: of the terminal, where it is one.
pub(crate) fn render(status: &Status, colour: bool, width: Option<usize>) -> String {
    let rows: Vec<[String; 12]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(status.apps.iter().map(row)).collect();
    let widths: [usize; 12] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let columns = columns(&widths, width.unwrap_or(usize::MAX));
    let mut page = String::new();
    for (index, row) in rows.iter().enumerate() {
        let app = index.checked_sub(1).and_then(|index| status.apps.get(index));
        page.push_str(&line(row, &columns, &widths, app.filter(|_| colour)));
        page.push('\n');
    }
    for app in &status.apps {
        notes(&mut page, app);
    }
    if !status.supervisor.config_problems.is_empty() {
        page.push_str("\nchat.toml is not in force as it is now:\n");
    }
    for problem in &status.supervisor.config_problems {
        let _ = writeln!(page, "  {problem}");
    }
    for problem in &status.supervisor.problems {
        let _ = writeln!(page, "\n{problem}");
    }
    page
}

/// Those that are shown.
fn columns(widths: &[usize; 12], room: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..HEAD.len()).collect();
    for spared in SPARED {
        let takes: usize = columns.iter().map(|column| widths[*column] + GAP).sum();
        if takes <= room.saturating_add(GAP) {
            break;
        }
        columns.retain(|column| HEAD[*column] != spared);
    }
    columns
}

fn line(row: &[String; 12], columns: &[usize], widths: &[usize; 12], coloured: Option<&AppStatus>) -> String {
    let mut line = String::new();
    for &column in columns {
        let (cell, width) = (&row[column], widths[column]);
        let padded = if RIGHT[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        match coloured.filter(|_| matches!(HEAD[column], "state" | "health")) {
            Some(app) => {
                let _ = write!(line, "\x1b[{}m{padded}\x1b[0m", hue(app.health));
            }
            None => line.push_str(&padded),
        }
        line.extend([' '; GAP]);
    }
    line.truncate(line.trim_end().len());
    line
}

fn hue(health: Health) -> &'static str {
    match health {
        Health::Ok => "32",
        Health::Starting | Health::Degraded => "33",
        Health::Unhealthy | Health::Stopped => "31",
    }
}

/// Its memory; `-`: it has no process, or none that has been looked at yet.
pub(crate) fn memory(app: &AppStatus) -> String {
    match (app.pid, app.memory_limit_bytes) {
        (None, _) => "-".to_owned(),
        _ if app.memory_bytes == 0 => "-".to_owned(),
        (_, Some(limit)) => format!("{} of {}", size(app.memory_bytes), size(limit)),
        (_, None) => size(app.memory_bytes),
    }
}

/// Its use of one core; `-`: it has no process.
pub(crate) fn cpu(app: &AppStatus) -> String {
    if app.pid.is_some() { format!("{:.1}%", app.cpu_percent) } else { "-".to_owned() }
}

/// A count of clients or rooms; `-`: it is another program, and has none.
pub(crate) fn count(app: &AppStatus, count: u64) -> String {
    if app.profile == "-" { "-".to_owned() } else { count.to_string() }
}

/// How well it is.
pub(crate) fn health(app: &AppStatus) -> String {
    match (app.health, app.health_latency_ms) {
        (Health::Ok, Some(latency)) => format!("ok {latency:.1} ms"),
        (health, _) => format!("{health:?}").to_lowercase(),
    }
}

fn row(app: &AppStatus) -> [String; 12] {
    [
        app.name.clone(),
        app.state.clone(),
        app.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        if app.pid.is_some() { uptime(app.uptime_s) } else { "-".to_owned() },
        app.restarts.to_string(),
        memory(app),
        cpu(app),
        app.listen.clone(),
        app.profile.clone(),
        count(app, app.connections),
        count(app, app.rooms),
        health(app),
    ]
}

/// Why it was started again last, or when it will be, and how often it has failed without a break.
pub(crate) fn course(app: &AppStatus) -> Option<String> {
    let reason = app.last_reason.as_deref()?;
    let most = app.max_restarts;
    let in_a_row = match app.unstable_restarts {
        0 | 1 => String::new(),
        times if times > most => format!(" (failed {times} times in a row, more than max_restarts {most})"),
        times => format!(" (failed {times} times in a row; crash-looping after {most})"),
    };
    Some(match app.next_start_in_s {
        Some(seconds) if seconds < 60.0 => format!("{reason}; starts again in {seconds:.1} s{in_a_row}"),
        Some(seconds) => {
            let after = uptime(Duration::from_secs_f64(seconds).as_secs());
            format!("{reason}; starts again in {after}{in_a_row}")
        }
        None if app.state == "stopped" && app.health == Health::Ok => {
            format!("its work is done: {reason}")
        }
        None => format!("last restart: {reason}{in_a_row}"),
    })
}

/// What is the matter with it, in one line; `None`: nothing is.
pub(crate) fn trouble(app: &AppStatus) -> Option<String> {
    let fails = app.next_start_in_s.is_some() || app.unstable_restarts > 1;
    let unhealthy = || app.health_reason.as_ref().map(|reason| format!("not healthy: {reason}"));
    let recovery = || Some(format!("recovery is off, the chat goes on: {}", app.recovery.trouble.as_ref()?));
    course(app).filter(|_| fails).or_else(unhealthy).or_else(recovery).or_else(|| trial(app))
}

/// That its new version has yet to prove itself.
fn trial(app: &AppStatus) -> Option<String> {
    Some(format!("the new version is on trial for {:.1} s more", app.on_trial_for_s?))
}

fn notes(page: &mut String, app: &AppStatus) {
    if let Some(course) = course(app) {
        let _ = writeln!(page, "{}: {course}", app.name);
    }
    if let Some(reason) = &app.refused {
        let _ = writeln!(page, "{}: the last reload was refused: the new version {reason}", app.name);
    }
    if let Some(trial) = trial(app) {
        let _ = writeln!(page, "{}: {trial}", app.name);
    }
    if let Some(trouble) = &app.recovery.trouble {
        let _ = writeln!(page, "{}: recovery is off, the chat goes on: {trouble}", app.name);
    }
    if let Some(handover) = &app.handover {
        let _ = writeln!(page, "{}: at its start: {handover}", app.name);
    }
    if app.recovery.recovered > 0 || met(&app.recovery.refused).next().is_some() {
        let _ = writeln!(page, "{}: {}", app.name, recovered(&app.recovery));
    }
    if app.slow_closed > 0 {
        let _ =
            writeln!(page, "{}: {} clients closed as too slow since its start", app.name, app.slow_closed);
    }
    if let Some(certificate) = &app.certificate {
        let _ = writeln!(page, "{}: {}", app.name, expiry(certificate));
    }
    for what in &app.not_used {
        let _ = writeln!(page, "{}: the new one is NOT USED, the old one stays: {what}", app.name);
    }
    let turned_away: Vec<_> = met(&app.turned_away).map(|(by, count)| format!("{count} by {by}")).collect();
    if !turned_away.is_empty() {
        let _ = writeln!(page, "{}: refused since its start: {}", app.name, turned_away.join(", "));
    }
    if app.memory_limit_too_low {
        let limit = app.memory_limit_bytes.map(size).unwrap_or_default();
        let _ = writeln!(
            page,
            "{}: max_memory_restart {limit} is less than it needs: no restart would help",
            app.name
        );
    }
    if let Some(reason) = &app.health_reason {
        let _ = writeln!(page, "{}: not healthy: {reason}", app.name);
    }
    for line in &app.last_lines {
        let _ = writeln!(page, "{}: | {line}", app.name);
    }
}

/// Until when people can be sure who this is.
fn expiry(certificate: &Certificate) -> String {
    const DAY: i64 = 24 * 3600;
    let (date, left) = (certificate.expires.split('T').next().unwrap_or_default(), certificate.expires_in_s);
    match left {
        ..=0 => format!("its certificate HAS EXPIRED on {date}: browsers refuse to connect"),
        _ if left < DAY => format!("its certificate expires TODAY, in {}", uptime(left.unsigned_abs())),
        _ => format!("its certificate expires on {date}, in {} days", left / DAY),
    }
}

/// Those of the counts that have begun.
fn met(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    counts.iter().filter(|(_, count)| **count > 0).map(|(of, count)| (of.as_str(), *count))
}

/// How those fared who came back since the last start.
fn recovered(recovery: &Recovery) -> String {
    let refused = met(&recovery.refused).map(|(why, count)| format!(", {count} refused ({why})"));
    let Recovery { sessions, recovered, journal_messages, journal_bytes, .. } = recovery;
    format!(
        "{recovered} sessions recovered since its start{}; {sessions} sessions, {journal_messages} messages in the journal ({})",
        refused.collect::<String>(),
        size(*journal_bytes)
    )
}

/// The two largest units: `3d 4h`, `12m 5s`.
fn uptime(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ").replace("days", "d").replace("day", "d")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::Supervisor;

    fn status(apps: Vec<AppStatus>) -> Status {
        let supervisor = Supervisor {
            pid: 1,
            uptime_s: 2,
            version: "0".into(),
            config: None,
            config_problems: vec!["chat.toml:3: app.x: unknown key".into()],
            problems: vec!["changes of files are not seen".into()],
        };
        Status { supervisor, apps }
    }

    fn app(name: &str, health: Health) -> AppStatus {
        AppStatus {
            name: name.into(),
            state: if health == Health::Ok { "online" } else { "waiting" }.into(),
            pid: (health == Health::Ok).then_some(4242),
            uptime_s: 93_784,
            restarts: 3,
            last_reason: Some("memory 312M over 300M".into()),
            last_reason_class: Some("memory".into()),
            restarts_by_class: [("memory".to_owned(), 3)].into(),
            unstable_restarts: 0,
            max_restarts: 16,
            next_start_in_s: None,
            on_trial_for_s: None,
            memory_bytes: 12 << 20,
            memory_limit_bytes: Some(300 << 20),
            cpu_percent: 1.25,
            listen: "0.0.0.0:3000".into(),
            profile: "local".into(),
            health,
            health_reason: None,
            health_latency_ms: Some(0.42),
            connections: 1234,
            rooms: 7,
            slow_closed: 0,
            turned_away: Default::default(),
            certificate: None,
            not_used: Vec::new(),
            refused: None,
            recovery: Recovery::default(),
            handover: None,
            memory_limit_too_low: false,
            last_lines: Vec::new(),
            log_file: "/x".into(),
        }
    }

    #[test]
    fn columns_are_aligned_and_reasons_follow() {
        let mut web = app("web", Health::Starting);
        web.profile = "-".to_owned();
        let page = render(&status(vec![app("chatting", Health::Ok), web]), false, None);
        let expected = "\
app       state     pid  uptime  restarts      memory   cpu  listen        profile  clients  rooms  health
chatting  online   4242   1d 2h         3  12M of 300M  1.2%  0.0.0.0:3000  local       1234      7  ok 0.4 ms
web       waiting     -       -         3           -     -  0.0.0.0:3000  -              -      -  starting
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&page.lines().take(3).collect::<Vec<_>>().join("\n")), squeeze(expected));
        let starts: Vec<_> =
            page.lines().take(3).map(|line| line.find("0.0.0.0").or(line.find("listen"))).collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{page}");
        assert!(page.contains("web: last restart: memory 312M over 300M\n"), "{page}");
        assert!(page.contains("as it is now:\n  chat.toml:3: app.x: unknown key\n"), "{page}");
        assert!(page.ends_with("\nchanges of files are not seen\n"), "{page}");
        assert!(!page.contains('\x1b'));
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let status = status(vec![app("chatting", Health::Ok), app("web", Health::Unhealthy)]);
        let coloured = render(&status, true, None);
        assert!(coloured.contains("\x1b[32monline"), "{coloured}");
        let mut plain = coloured;
        for code in ["\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&plain), trimmed(&render(&status, false, None)));
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        let status = status(vec![app("chatting", Health::Ok)]);
        for (width, spared) in
            [(200, 0), (109, 0), (108, 1), (99, 2), (80, 3), (60, 6), (50, 7), (40, 8), (10, 9)]
        {
            let spared = &SPARED[..spared];
            let page = render(&status, false, Some(width));
            let head: Vec<&str> = page.lines().next().unwrap().split_whitespace().collect();
            let expect: Vec<&str> = HEAD.into_iter().filter(|column| !spared.contains(column)).collect();
            assert_eq!(head, expect, "{width}");
        }
    }

    #[test]
    fn a_recovery_that_does_not_work_is_said() {
        let mut app = app("chatting", Health::Degraded);
        app.recovery.trouble = Some("disk full".into());
        app.recovery.recovered = 7;
        app.slow_closed = 3;
        app.certificate = Some(Certificate { expires: "2026-12-24T18:00:00Z".into(), expires_in_s: 300_000 });
        app.turned_away =
            [("auth", 0), ("max_connections", 4), ("origins", 5)].map(|(by, n)| (by.to_owned(), n)).into();
        app.recovery.refused = [("off".to_owned(), 0), ("pruned".to_owned(), 2)].into();
        app.not_used = vec!["certificate: no key in it".to_owned()];
        let page = render(&status(vec![app]), false, None);
        assert!(page.contains("degraded"), "{page}");
        assert!(page.contains("chatting: 3 clients closed as too slow since its start\n"), "{page}");
        assert!(
            page.contains("chatting: refused since its start: 4 by max_connections, 5 by origins\n"),
            "{page}"
        );
        assert!(page.contains("chatting: its certificate expires on 2026-12-24, in 3 days\n"), "{page}");
        assert!(
            page.contains(
                "chatting: the new one is NOT USED, the old one stays: certificate: no key in it\n"
            ),
            "{page}"
        );
        assert!(page.contains("chatting: recovery is off, the chat goes on: disk full\n"), "{page}");
        assert!(
            page.contains("chatting: 7 sessions recovered since its start, 2 refused (pruned);"),
            "{page}"
        );
    }

    #[test]
    fn one_that_fails_says_why_when_it_is_tried_again_and_how_often_it_has_failed() {
        let is = |unstable_restarts, next_start_in_s| AppStatus {
            unstable_restarts,
            next_start_in_s,
            last_reason: Some("exited with code 3".into()),
            ..app("web", Health::Unhealthy)
        };
        for (app, says) in [
            (is(0, None), "last restart: exited with code 3"),
            (is(0, Some(7_325.0)), "exited with code 3; starts again in 2h 2m"),
            (is(1, Some(4.0)), "exited with code 3; starts again in 4.0 s"),
            (
                is(6, Some(1.63)),
                "exited with code 3; starts again in 1.6 s (failed 6 times in a row; crash-looping after 16)",
            ),
            (
                is(2, None),
                "last restart: exited with code 3 (failed 2 times in a row; crash-looping after 16)",
            ),
            (
                is(17, Some(13.2)),
                "exited with code 3; starts again in 13.2 s (failed 17 times in a row, more than max_restarts 16)",
            ),
        ] {
            let page = render(&status(vec![app]), false, None);
            assert!(page.contains(&format!("web: {says}\n")), "{says}\n{page}");
        }
        let done = AppStatus { state: "stopped".into(), health: Health::Ok, ..is(0, None) };
        let page = render(&status(vec![done]), false, None);
        assert!(page.contains("web: its work is done: exited with code 3\n"), "{page}");
        let trial = AppStatus { on_trial_for_s: Some(4.0), ..app("web", Health::Ok) };
        let page = render(&status(vec![trial]), false, None);
        assert!(page.contains("web: the new version is on trial for 4.0 s more\n"), "{page}");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in
            [(0, "0B"), (1536, "1.5K"), (300 << 20, "300M"), (5 << 30, "5G"), (9_961_472, "9.5M")]
        {
            assert_eq!(size(bytes), shown);
        }
    }
}
