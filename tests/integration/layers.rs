//! The layers of the house, held by reading the sources: what may not be imported where.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every source file with its text, less its tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files): (Vec<PathBuf>, _) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "tests.rs" {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.push((name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    assert!(files.len() > 30, "the sources are not where they are looked for");
    files
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Files of which `home` is false and that say one of `words`.
fn strays(home: impl Fn(&str) -> bool, words: &[&str]) -> Vec<String> {
    let says = |text: &str| words.iter().any(|word| text.contains(word));
    sources().into_iter().filter(|(file, text)| !home(file) && says(text)).map(|(file, _)| file).collect()
}

#[test]
fn the_rules_know_no_runtime_no_socket_and_no_clock() {
    let pure = [
        "supervisor/machine",
        "supervisor/backoff",
        "supervisor/ceiling",
        "supervisor/quiet",
        "check/rules",
        "control/render",
        "top/model",
        "top/view",
        "server/recovery/offset",
        "server/edge/session/heartbeat",
        "server/debts",
        "server/handover/phases",
        "bench/compare",
        "bench/mark",
        "bench/report",
        "bench/tally",
        "bench/talk",
    ];
    let effectful =
        |file: &str| !(file.starts_with("chat/") || pure.iter().any(|pure| file.starts_with(pure)));
    let words =
        ["tokio", "Instant::now", "SystemTime", "std::net", "std::fs", "jiff", "socketioxide", "std::thread"];
    assert_eq!(strays(effectful, &words), [] as [String; 0]);
}

#[test]
fn server_and_supervisor_never_import_each_other() {
    assert_eq!(strays(|file| !file.starts_with("server/"), &["crate::supervisor"]), [] as [String; 0]);
    assert_eq!(strays(|file| !file.starts_with("supervisor/"), &["crate::server"]), [] as [String; 0]);
}

#[test]
fn each_foreign_crate_has_one_home() {
    for (home, words) in [
        ("cli", &["clap::", "clap_complete::", "clap_mangen::"][..]),
        ("supervisor/watch.rs", &["notify::", "globset::"]),
        ("supervisor/memory.rs", &["sysinfo::"]),
        ("server/edge/", &["socketioxide", "engineioxide", "tokio_tungstenite"]),
        ("server/", &["tower_http::"]),
        ("supervisor/cron.rs", &["croner::", "chrono::"]),
        ("config/", &["toml::"]),
        ("supervisor/metrics.rs", &["prometheus_client::"]),
        ("top/", &["ratatui::", "crossterm::"]),
        ("server/", &["ppp::", "jsonwebtoken::"]),
        ("server/sandbox.rs", &["landlock::"]),
        ("heap.rs", &["libc::", "unsafe {"]),
        ("certificate.rs", &["x509_cert::"]),
        ("http_client/", &["rustls_native_certs::"]),
        ("server/tls/", &["aws_lc_rs::"]),
        ("migrate/js", &["tree_sitter::", "tree_sitter_javascript::"]),
        ("migrate/yaml.rs", &["saphyr::"]),
        ("migrate/", &["shlex::"]),
        ("bench/tally.rs", &["hdrhistogram::"]),
        ("server/recovery/", &["rusqlite::", "crc32fast::", "getrandom::"]),
    ] {
        // The configuration checks globs and schedules when it reads them; sd_notify is another crate than notify.
        let at_home = |file: &str| file.starts_with(home) || file == "config/parse.rs";
        let words: Vec<String> = words.iter().map(|word| format!(" {word}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(strays(at_home, &words), [] as [String; 0], "{home}");
    }
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let long: Vec<_> = sources().into_iter().filter(|(_, text)| text.lines().count() > 450).collect();
    assert!(long.is_empty(), "{:?}", long.iter().map(|(file, _)| file).collect::<Vec<_>>());
}
