//! `install.sh`, with a cargo that has built already.

use crate::program::stderr;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs install.sh into this folder. Its cargo hands out the program under test.
fn install(home: &Path, arguments: &[&str]) -> Output {
    let bin = home.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let built = home.join("target/release");
    fs::create_dir_all(&built).unwrap();
    let cargo = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo cargo 1.95.0 && exit\ncp {:?} {:?}\n",
        env!("CARGO_BIN_EXE_chatctl"),
        built.join("chatctl")
    );
    fs::write(bin.join("cargo"), cargo).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh"));
    command
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env("DESTDIR", home.join("dest"))
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
        .env("CARGO_TARGET_DIR", home.join("target"));
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn everything_is_put_into_place_and_twice_does_no_harm() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = install(home.path(), &["--prefix", "/opt/chatctl"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    for file in [
        "bin/chatctl",
        "share/bash-completion/completions/chatctl",
        "share/zsh/site-functions/_chatctl",
        "share/fish/vendor_completions.d/chatctl.fish",
        "share/man/man1/chatctl.1",
        "share/man/man1/chatctl-supervise.1",
        "share/chatctl/chat.schema.json",
    ] {
        let path = home.path().join("dest/opt/chatctl").join(file);
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 100), "{}", path.display());
    }
    // The installed one tells editors where the schema is.
    let init = Command::new(home.path().join("dest/opt/chatctl/bin/chatctl"))
        .arg("init")
        .current_dir(home.path())
        .output();
    assert!(init.unwrap().status.success());
    let toml = fs::read_to_string(home.path().join("chat.toml")).unwrap();
    let schema = toml.lines().next().unwrap().strip_prefix("#:schema file://").unwrap();
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    assert_eq!(schema["title"], "chat.toml");
}

#[test]
fn the_unit_is_installed_where_the_program_will_be() {
    let home = tempfile::tempdir().unwrap();
    let output = install(home.path(), &["--systemd"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let unit = said
        .lines()
        .find_map(|line| line.strip_prefix("Installed ")?.ends_with("chatctl.service").then_some(line));
    let unit = fs::read_to_string(unit.unwrap().strip_prefix("Installed ").unwrap()).unwrap();
    let dest = home.path().join("dest");
    assert!(!unit.contains(dest.to_str().unwrap()), "{unit}");
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(
        start.contains("/bin/chatctl supervise --config /") && start.ends_with("/chatctl/chat.toml"),
        "{start}"
    );
    assert!(said.contains("enable --now chatctl"), "{said}");
}
