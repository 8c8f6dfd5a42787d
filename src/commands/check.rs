//! `chatctl check`: whether chat.toml and this machine fit, without starting anything.

use crate::{
    check::{Facts, Report, Severity},
    cli::Check,
    config::Config,
    error::{Exit, Failure},
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn run(args: &Check) -> Result<ExitCode, Failure> {
    let report = match Config::load(args.config.config.as_deref()) {
        Ok(config) => {
            let facts = super::block_on(async { Ok(Facts::gather(&config).await) })?;
            Report::new(&config, &facts)
        }
        Err(error) => Report::wrong(&error),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report)
            .map(|json| json + "\n")
            .map_err(|error| Failure::failed(error.to_string()))?
    } else {
        report.text()
    };
    // A reader that has seen enough (`| head`) is no error.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(match report.worst() {
        None | Some(Severity::Remark) => ExitCode::SUCCESS,
        Some(Severity::Problem) => ExitCode::from(Exit::Failed as u8),
        Some(Severity::Config) => ExitCode::from(Exit::Usage as u8),
    })
}
