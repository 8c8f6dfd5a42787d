//! `chatctl hooks`: who is told when something happens, and whether that works.

use crate::{
    cli,
    config::{Config, Occasion},
    error::{Exit, Failure},
    supervisor::hooks,
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn run(args: &cli::Hooks) -> Result<ExitCode, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    if config.hooks.is_empty() {
        let names = Occasion::ALL.map(Occasion::as_str).join(", ");
        let hint = format!("write a [[hook]] with `on` and `command` or `url`; what can happen: {names}");
        return Err(Failure::failed("chat.toml has no hooks").hint(hint));
    }
    let mut failed = false;
    for hook in &config.hooks {
        let on = hook.on.iter().map(|occasion| occasion.as_str()).collect::<Vec<_>>().join(", ");
        let apps = if hook.apps.is_empty() { "every app".to_owned() } else { hook.apps.join(", ") };
        let mut line = format!("{}: on {on}, of {apps}", hooks::name(hook));
        if args.test {
            let tried = super::block_on(async { Ok(hooks::try_out(hook).await) })?;
            failed |= tried.is_err();
            line.push_str(&tried.map_or_else(|why| format!(": failed: {why:#}"), |()| ": works".to_owned()));
        }
        let _ = writeln!(io::stdout(), "{line}");
    }
    Ok(if failed { ExitCode::from(Exit::Failed as u8) } else { ExitCode::SUCCESS })
}
