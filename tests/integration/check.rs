//! `chatctl check` on this machine.

use crate::program::{Supervisor, certificate, chatctl, config, free_port, stderr};
use serde_json::Value;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Exit code, and the findings whose place or text has this word.
fn check(folder: &Path, about: &str) -> (Option<i32>, Vec<Value>) {
    let output = chatctl(folder, &["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let about = |finding: &&Value| finding.to_string().contains(about);
    (output.status.code(), report["findings"].as_array().unwrap().iter().filter(about).cloned().collect())
}

#[test]
fn a_port_is_free_or_taken_or_held_by_our_own_supervisor() {
    let mut supervisor = Supervisor::prepare("");
    let folder = supervisor.dir.path().to_owned();
    assert_eq!(check(&folder, "listen"), (Some(0), vec![]));
    assert!(!folder.join("state").exists(), "it makes nothing");
    let other = TcpListener::bind(("127.0.0.1", supervisor.port)).unwrap();
    let (code, findings) = check(&folder, "listen");
    assert_eq!(code, Some(1));
    assert_eq!(findings[0]["severity"], "problem");
    assert!(findings[0]["what"].as_str().unwrap().contains("in use by another program"), "{findings:?}");
    assert!(
        findings[0]["where"].as_str().unwrap().ends_with("chat.toml:4: app.chatting.listen"),
        "{findings:?}"
    );
    assert!(findings[0]["mend"].as_str().unwrap().contains("ss -ltnp"), "{findings:?}");
    drop(other);
    supervisor = supervisor.launch();
    assert_eq!(check(&folder, "listen"), (Some(0), vec![]), "{}", supervisor.log());
}

#[test]
fn programs_users_and_folders_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "state_dir = \"/proc/nowhere\"\n[[app]]\nname = \"a\"\ncommand = \"no-such-program\"\nuser = \"nobody at all\"\ncwd = \"gone\"\n\
                [[app]]\nname = \"b\"\ncommand = \"./script\"\nwatch = [\"lib\"]\n\
                [[app]]\nname = \"c\"\nlisten = \"127.0.0.1:0\"\nuser = \"nobody either\"\n";
    fs::write(folder.path().join("chat.toml"), toml).unwrap();
    fs::write(folder.path().join("script"), "#!/bin/sh\n").unwrap();
    for (about, severity) in [
        ("no-such-program is nowhere in PATH", "problem"),
        ("there is no user nobody at all", "problem"),
        ("there is no user nobody either", "problem"),
        ("app.a.cwd", "problem"),
        ("script is not executable", "problem"),
        ("/proc/nowhere cannot be written", "problem"),
        ("lib is not there", "remark"),
    ] {
        let (code, findings) = check(folder.path(), about);
        assert_eq!((code, findings.len()), (Some(1), 1), "{about}");
        assert_eq!(findings[0]["severity"], severity, "{about}");
    }
}

#[test]
fn a_wrong_file_is_told_whole_and_people_read_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.toml"), config(free_port(), "wach = true\nkill_timeout = \"x\""))
        .unwrap();
    let (code, findings) = check(folder.path(), "chat.toml:");
    assert_eq!((code, findings.len()), (Some(2), 2));
    let output = chatctl(folder.path(), &["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("chat.toml:5: app.chatting.wach: unknown key; did you mean `watch`?"), "{said}");
    assert!(said.contains("2 problems, 0 remarks"), "{said}");
}

/// What `init` writes passes, as it says.
#[test]
fn what_init_makes_of_pm2_files_has_no_problem_of_its_own() {
    for (name, code) in [("three-workers.config.js", 0), ("cluster.config.js", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pm2").join(name);
        assert!(chatctl(folder.path(), &["init", "--from", file.to_str().unwrap()]).status.success());
        // Their ports are other tests' as well.
        let toml = fs::read_to_string(folder.path().join("chat.toml")).unwrap();
        let toml = ["3000", "4000", "4101"]
            .iter()
            .fold(toml, |toml, port| toml.replace(&format!("0.0.0.0:{port}"), "0.0.0.0:0"));
        fs::write(
            folder.path().join("chat.toml"),
            format!("state_dir = \"{}\"\n{toml}", folder.path().display()),
        )
        .unwrap();
        let (is, findings) = check(folder.path(), "");
        let problems: Vec<&Value> =
            findings.iter().filter(|finding| finding["severity"] != "remark").collect();
        // cloudflared and the scripts' folder are not here.
        assert_eq!(is, Some(code), "{problems:?}");
        assert!(problems.iter().all(|problem| problem["what"] == "cloudflared is nowhere in PATH"
            || problem["where"].as_str().unwrap().contains("cwd")));
    }
}

#[test]
fn certificates_are_looked_at() {
    let supervisor = Supervisor::prepare("tls = { cert = \"cert.pem\", key = \"key.pem\" }");
    let folder = supervisor.dir.path();
    let certificate = |days: &str, key: &str| certificate(folder, days, key);
    let told = |expected: (i32, &str, &str)| {
        let (code, findings) = check(folder, "app.chatting.tls");
        let what = findings.first().map_or("", |finding| finding["what"].as_str().unwrap());
        let severity = findings.first().map_or("", |finding| finding["severity"].as_str().unwrap());
        assert!(what.contains(expected.2), "{findings:?}");
        assert_eq!((code, severity, findings.len()), (Some(expected.0), expected.1, findings.len().min(1)));
    };
    told((1, "problem", "cert.pem: No such file"));
    certificate("30", "key.pem");
    told((0, "", ""));
    certificate("30", "another.pem");
    told((1, "problem", "key.pem is not the key of"));
    certificate("5", "key.pem");
    told((0, "remark", "days"));
    fs::set_permissions(folder.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    certificate("30", "key.pem");
    told((0, "remark", "everybody on this machine may read key.pem"));
    let encrypt = |arguments: &str| {
        let all = format!("{arguments} -in key.pem -passout pass:x -out encrypted.pem");
        let made = Command::new("openssl").args(all.split(' ')).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        fs::rename(folder.join("encrypted.pem"), folder.join("key.pem")).unwrap();
        told((1, "problem", "key.pem: the key is encrypted"));
    };
    encrypt("pkcs8 -topk8");
    fs::write(folder.join("key.pem"), "no key").unwrap();
    told((1, "problem", "there is no private key in it"));
    certificate("30", "key.pem");
    encrypt("ec -aes256");
}

#[test]
fn keys_of_tokens_are_looked_at() {
    let supervisor = Supervisor::prepare("[auth]\nkeys = \"keys\"");
    let keys = supervisor.path("keys");
    let told = |text: &str, mode, expected: (i32, &str)| {
        fs::write(&keys, text).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        let (code, findings) = check(supervisor.dir.path(), "auth.keys");
        let what = findings.first().map_or("", |finding| finding["what"].as_str().unwrap());
        assert!(what.contains(expected.1) && what.is_empty() == expected.1.is_empty(), "{findings:?}");
        assert_eq!(code, Some(expected.0), "{findings:?}");
    };
    told("short", 0o600, (1, "too short"));
    told(&"x".repeat(32), 0o600, (0, ""));
    told(&"x".repeat(32), 0o644, (0, "everybody on this machine may read keys"));
    let public =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}"#;
    told(public, 0o644, (0, ""));
    told("{}", 0o644, (1, "not one for signing"));
}
