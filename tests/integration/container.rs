//! The recipe of the container image, as far as it can be held without an engine that builds it.

use std::{collections::HashMap, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions: each with its arguments on one line.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("dist/Dockerfile")).unwrap().replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, arguments) = line.split_once(' ').unwrap();
            (name.to_owned(), arguments.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// Those of the last stage, which is what runs: by name, the last of each.
fn image() -> HashMap<String, String> {
    let all = instructions();
    let begin = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    all[begin..].iter().cloned().collect()
}

/// An exec form: JSON, so that no shell stands between a signal and the program.
fn exec(arguments: &str) -> Vec<String> {
    serde_json::from_str(arguments).unwrap_or_else(|_| panic!("{arguments} is not in the exec form"))
}

#[test]
fn its_stages_start_at_named_versions_of_official_images() {
    let instructions = instructions();
    let from: Vec<&str> =
        instructions.iter().filter(|(name, _)| name == "FROM").map(|(_, image)| image.as_str()).collect();
    assert_eq!(from.len(), 2, "one builds, one runs: {from:?}");
    for image in &from {
        let image = image.split(' ').next().unwrap();
        assert!(!image.contains('/'), "{image} names a registry or somebody's image");
        let tag = image.split_once(':').expect("an image without a tag is the latest").1;
        assert!(tag != "latest" && tag.ends_with("-trixie") || tag == "trixie-slim", "{image}");
    }
    let cargo = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let oldest = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let rust = format!("rust:{}-slim-trixie AS build", oldest.trim_matches('"'));
    assert_eq!(from[0], rust, "the Rust that Cargo.toml asks for");
}

#[test]
fn it_runs_as_nobody_of_importance_is_asked_how_it_is_and_hears_signals() {
    let image = image();
    let (user, group) = image["USER"].split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0);
    assert!(
        image["RUN"].contains(&format!("--uid {user} ")) && image["RUN"].contains(&format!("--gid {group} "))
    );
    assert_eq!(
        (exec(&image["ENTRYPOINT"]), exec(&image["CMD"])),
        (vec!["chatctl".into()], vec!["supervise".into()])
    );
    let (options, command) = image["HEALTHCHECK"].split_once("CMD ").unwrap();
    assert_eq!(exec(command), ["chatctl", "status"]);
    assert!(options.contains("--timeout=") && options.contains("--start-period="));
    assert_eq!(image["STOPSIGNAL"], "SIGTERM");
}

#[test]
fn its_state_is_a_volume_of_the_user_and_its_port_that_of_chat_toml() {
    let image = image();
    let state = image["ENV"].strip_prefix("STATE_DIRECTORY=").unwrap();
    assert_eq!(exec(&image["VOLUME"]), [state]);
    assert!(image["RUN"].contains(&format!("-m 700 {state}")), "a volume takes owner and mode of the folder");
    let toml = fs::read_to_string(root().join("chat.toml")).unwrap();
    let listen = toml.lines().find_map(|line| line.strip_prefix("listen = \"0.0.0.0:")).unwrap();
    assert_eq!(image["EXPOSE"], listen.split('"').next().unwrap());
}

/// What is copied in is there, and is let through to the engine; nothing else is.
#[test]
fn it_is_built_of_the_sources_and_of_nothing_else() {
    let mut copied: Vec<String> = Vec::new();
    for (_, arguments) in
        instructions().iter().filter(|(name, arguments)| name == "COPY" && !arguments.starts_with("--"))
    {
        let (sources, _) = arguments.rsplit_once(' ').unwrap();
        copied.extend(sources.split(' ').map(str::to_owned));
    }
    assert!(copied.iter().all(|source| root().join(source).exists()), "{copied:?}");
    let ignored = fs::read_to_string(root().join("dist/Dockerfile.dockerignore")).unwrap();
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"));
    let mut allowed: Vec<&str> = rules.filter_map(|rule| rule.strip_prefix('!')).collect();
    copied.sort();
    allowed.sort_unstable();
    assert_eq!(copied, allowed);
}
