//! The guard: each hot part may take so many instructions, as `benches/budgets.toml` says.
//!
//! Figures of another toolchain than the one that counted the budgets mean nothing beside them: then they are shown,
//! with what differs, and nothing is held. So a new compiler never keeps a change from landing; whoever brings it
//! renews the budgets.

use crate::count::{Figures, Result, Toolchain, count};
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    process::ExitCode,
};

const BUDGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.toml");
const RENEW: &str = "cargo bench --locked --features workbench --bench hot -- renew";
/// How far a figure may be from its budget. Two runs of one program differ by 0.2 % at most; the rest is for
/// what a change elsewhere does to how the compiler inlines. A slowdown of 10 % is well beyond it.
const TOLERANCE: f64 = 0.05;

/// What stands in the file.
#[derive(Deserialize, Serialize)]
struct Budgets {
    counted_with: Toolchain,
    instructions: Figures,
}

/// Compares what is with what may be.
pub(crate) fn hold() -> ExitCode {
    match read().and_then(|budgets| Ok((budgets, count()?))) {
        Ok((budgets, (figures, toolchain))) => {
            let (text, good) = compare(&budgets, &figures, &toolchain);
            match writeln!(io::stdout(), "{text}") {
                Ok(()) if good => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => failed(&*error),
    }
}

/// Makes what is what may be.
pub(crate) fn renew() -> ExitCode {
    match count().and_then(write) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("the instructions cannot be counted: {error}");
    ExitCode::FAILURE
}

fn read() -> Result<Budgets> {
    let text = fs::read_to_string(BUDGETS).map_err(|error| format!("{BUDGETS}: {error}"))?;
    Ok(toml::from_str(&text).map_err(|error| format!("{BUDGETS}: {error}"))?)
}

fn write((instructions, counted_with): (Figures, Toolchain)) -> Result<()> {
    let head = format!(
        "# Instructions that each hot part may take, once: see benches/hot/parts.rs. CI counts them, and fails where one \
         takes\n# over {:.0} % more. Where that is meant, renew them, and say why in the commit:\n#\n#     {RENEW}\n\n",
        TOLERANCE * 100.0
    );
    Ok(fs::write(BUDGETS, head + &toml::to_string(&Budgets { counted_with, instructions })?)?)
}

/// What there is to say, and whether all is well.
fn compare(budgets: &Budgets, figures: &Figures, toolchain: &Toolchain) -> (String, bool) {
    let table = table(&budgets.instructions, figures);
    let differs = differences(&budgets.counted_with, toolchain);
    if !differs.is_empty() {
        let text = format!(
            "{table}\nNothing is held: the budgets are of another toolchain.\n{}\nWhere this is the one to stay, renew \
             them on a commit that passes with the old one:\n    {RENEW}",
            differs.join("\n")
        );
        return (text, true);
    }
    let trouble = trouble(&budgets.instructions, figures);
    if !trouble.is_empty() {
        let text = format!(
            "{table}\n{}\nUp to {:.0} % is let pass. Make it cheaper (benches/hot/parts.rs says what it does); or, where \
             that is what the\nchange costs, renew benches/budgets.toml, and say why in the commit:\n    {RENEW}",
            trouble.join("\n"),
            TOLERANCE * 100.0
        );
        return (text, false);
    }
    let cheaper = |(name, figure): (&String, &u64)| change(&budgets.instructions, name, *figure) < -TOLERANCE;
    if figures.iter().any(cheaper) {
        let hides = "A budget that has become too wide hides the next slowdown. Renew them";
        return (format!("{table}\n{hides}:\n    {RENEW}"), true);
    }
    (table, true)
}

/// By how much a figure is above its budget, of 1; without one there is no end to it.
fn change(budgets: &Figures, name: &str, figure: u64) -> f64 {
    budgets.get(name).map_or(f64::INFINITY, |budget| figure as f64 / *budget as f64 - 1.0)
}

fn table(budgets: &Figures, figures: &Figures) -> String {
    let mut text = format!("{:12} {:>12} {:>12} {:>8}\n", "part", "instructions", "budget", "change");
    for (name, figure) in figures {
        let budget = budgets.get(name).copied().unwrap_or(0);
        let change = change(budgets, name, *figure);
        let verdict = match change {
            change if change > TOLERANCE => "  OVER ITS BUDGET",
            change if change < -TOLERANCE => "  has become cheaper",
            _ => "",
        };
        // Writing into memory has no way to fail.
        let _ = writeln!(text, "{name:12} {figure:>12} {budget:>12} {:>+6.1} %{verdict}", change * 100.0);
    }
    text
}

fn trouble(budgets: &Figures, figures: &Figures) -> Vec<String> {
    let over = figures.iter().filter_map(|(name, figure)| {
        let change = change(budgets, name, *figure);
        let percent = change * 100.0;
        match budgets.get(name) {
            None => Some(format!("{name} has no budget.")),
            Some(budget) if change > TOLERANCE => Some(format!(
                "{name} takes {figure} instructions, {percent:.1} % over its budget of {budget}."
            )),
            Some(_) => None,
        }
    });
    let gone = budgets.keys().filter(|name| !figures.contains_key(*name));
    over.chain(gone.map(|name| format!("{name} has a budget, and is nothing that is counted."))).collect()
}

fn differences(then: &Toolchain, now: &Toolchain) -> Vec<String> {
    let none = "none".to_owned();
    let all = then.keys().chain(now.keys().filter(|name| !then.contains_key(*name)));
    all.map(|name| (name, then.get(name).unwrap_or(&none), now.get(name).unwrap_or(&none)))
        .filter(|(_, then, now)| then != now)
        .map(|(name, then, now)| format!("  {name}: then {then}, now {now}"))
        .collect()
}
