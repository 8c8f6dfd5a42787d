//! What people learn chatctl from: completions in real shells, manual pages, help, the schema.

use crate::program::{chatctl, stderr};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Whether the program is here; says so when it is not, so that nobody takes a skipped test for a passed one.
fn is_installed(program: &str) -> bool {
    let there =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed; tests/run.sh installs it");
    }
    there
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with a chat.toml of three apps, and what a shell prints there that has chatctl on its path.
fn in_shell(shell: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[[app]]\nname = \"lobby\"\nlisten = 3000\n[[app]]\nname = \"lounge\"\nlisten = 3001\n[[app]]\nname = \"mailer\"\ncommand = \"true\"\n";
    fs::write(folder.path().join("chat.toml"), toml).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_chatctl")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(folder.path()).env("PATH", path).env("HOME", folder.path());
    let output =
        command.env_remove("XDG_CONFIG_HOME").env("TERM", "dumb").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{shell}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn the_words_of_pm2_are_answered_with_those_of_here() {
    for (word, here) in [("ls", "chatctl status"), ("kill", "chatctl shutdown"), ("save", "chatctl systemd")]
    {
        let output = chatctl(Path::new("/"), &[word]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains(&format!("hint: pm2 {word} is here: {here}")),
            "{}",
            stderr(&output)
        );
    }
    let output = chatctl(Path::new("/"), &["nonsense"]);
    assert_eq!((output.status.code(), stderr(&output).contains("hint")), (Some(2), false));
}

#[test]
fn bash_completes_commands_apps_and_options() {
    let script = r#"
        source <(chatctl completions bash)
        ask() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMPREPLY=()
            _clap_complete_chatctl chatctl "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[*]}"
        }
        complete -p chatctl >/dev/null || exit 1
        ask chatctl sta; ask chatctl restart lo; ask chatctl logs --fo; ask chatctl serve --profile re"#;
    let said = in_shell("bash", &["--norc", "-c", script]);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["status", "start"], vec!["lobby", "lounge"], vec!["--follow"], vec!["react"]]);
}

#[test]
fn fish_completes_commands_and_apps() {
    if !is_installed("fish") {
        return;
    }
    let script = "chatctl completions fish | source; complete -C 'chatctl sta'; echo ==; complete -C 'chatctl restart l'";
    let said = in_shell("fish", &["--no-config", "-c", script]);
    let (commands, apps) = said.split_once("==\n").unwrap();
    assert!(commands.contains("status\t") && commands.contains("start\t"), "{said}");
    assert_eq!(
        apps.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(),
        ["lobby", "lounge"]
    );
    assert!(apps.contains("profile local"), "{said}");
}

/// In a real terminal, loaded from `$fpath` as install.sh puts it there: the first Tab already completes.
#[test]
fn zsh_completes_commands_and_apps() {
    if !is_installed("zsh") {
        return;
    }
    let script = r#"
        zmodload zsh/zpty
        mkdir functions; chatctl completions zsh > functions/_chatctl
        zpty -b shell zsh -f
        say() { zpty -w shell "$1" }
        # Reads what the terminal shows until it shows this, for a minute at most.
        seen() {
            local all= part; local -i begun=$SECONDS
            while (( SECONDS - begun < 60 )); do
                if zpty -rt shell part; then all+=$part; [[ $all == *$1* ]] && { print -r -- "saw $1"; return 0 }
                else sleep 0.02; fi
            done
            print -r -- "waited in vain for $1, saw: ${(q)all}"; return 1
        }
        say 'PS1=ready; fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u; unsetopt list_beep; echo load""ed'
        seen loaded || exit 1
        zpty -wn shell $'chatctl shutd\t'; seen 'shutdown ' || exit 1
        zpty -wn shell $'\C-uchatctl restart mai\t'; seen 'mailer ' || exit 1
        zpty -d shell"#;
    let said = in_shell("zsh", &["-f", "-c", script]);
    assert!(said.contains("saw shutdown") && said.contains("saw mailer"), "{said}");
}

#[test]
fn every_command_has_a_page_and_a_help_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    assert!(chatctl(folder.path(), &["man", "pages/man1"]).status.success());
    let main = fs::read_to_string(folder.path().join("pages/man1/chatctl.1")).unwrap();
    let help = stdout(&chatctl(folder.path(), &["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let page = fs::read_to_string(folder.path().join(format!("pages/man1/chatctl-{command}.1"))).unwrap();
        assert!(
            page.starts_with(".ie") && page.contains(&format!("chatctl\\-{command}")),
            "{command}: {page}"
        );
        assert!(main.contains(&format!("chatctl\\-{command}")), "{command} is not in chatctl(1)");
        let help = stdout(&chatctl(folder.path(), &[command, "--help"]));
        let examples = help.matches(&format!("chatctl {command}")).count();
        assert!(examples >= 2, "{command}: no example in\n{help}");
    }
}

#[test]
fn init_writes_what_works_and_replaces_nothing_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let output = chatctl(folder.path(), &["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let written = fs::read_to_string(folder.path().join("chat.toml")).unwrap();
    assert!(written.ends_with(include_str!("../../chat.toml")));
    fs::write(folder.path().join("chat.toml"), "mine").unwrap();
    let output = chatctl(folder.path(), &["init"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("chat.toml is there already") && stderr(&output).contains("--force"));
    assert_eq!(fs::read_to_string(folder.path().join("chat.toml")).unwrap(), "mine");
    assert!(chatctl(folder.path(), &["init", "--force"]).status.success());
    assert_eq!(fs::read_to_string(folder.path().join("chat.toml")).unwrap(), written);
    let output = chatctl(folder.path(), &["init", "no/such/chat.toml"]);
    assert!(stderr(&output).contains("cannot write no/such/chat.toml"), "{}", stderr(&output));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["chat.toml"], "nothing half is left");
}
