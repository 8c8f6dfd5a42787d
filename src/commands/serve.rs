//! `chatctl serve`: one chat server in the foreground.

use crate::{
    cli::Serve,
    config::{App, Config},
    error::Failure,
    listen::Inherited,
    server::{self, Settings},
};
use std::process::ExitCode;

pub(crate) fn run(args: &Serve, inherited: Inherited) -> Result<ExitCode, Failure> {
    let config = load(args)?;
    super::log::start(&config.server.log, inherited.control.is_none());
    let app = find(&config, args.app.as_deref())?;
    let Some(listen) = args.listen.or(app.listen) else {
        let problem = format!("{} is a program of its own: `chatctl supervise` runs it", app.name);
        return Err(Failure::usage(problem));
    };
    let mut settings = Settings::of(&config, app, listen);
    settings.profile = args.profile.unwrap_or(app.profile);
    server::run(settings, inherited)?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: &Serve) -> Result<Config, Failure> {
    let file = args.config.config.as_deref();
    if !args.config_on_stdin {
        return Ok(Config::load(file)?);
    }
    let text = std::io::read_to_string(std::io::stdin())
        .map_err(|error| Failure::usage(format_args!("no configuration on standard input: {error}")))?;
    Ok(Config::from_text(&text, file)?)
}

fn find<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a App, Failure> {
    let known = || config.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => config.app(name).ok_or_else(|| {
            Failure::usage(format_args!("no app named {name}"))
                .hint(format_args!("the configuration has: {}", known()))
        }),
        None => config
            .enabled()
            .find(|app| app.command.is_none())
            .ok_or_else(|| Failure::usage("the configuration has no enabled chat server")),
    }
}
