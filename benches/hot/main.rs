//! Benchmarks of the hot parts, by time and by instructions.
//!
//! - `cargo bench --features workbench` measures the time of each ([`divan`]).
//! - `cargo bench --features workbench --bench hot -- budget` counts the instructions of each, which is the same on a busy
//!   machine, and holds them to `benches/budgets.toml`; `renew` writes that file. See [`budget`].

mod budget;
mod count;
mod parts;

use parts::PARTS;
use std::{cell::RefCell, env, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["budget", ..] => budget::hold(),
        ["renew", ..] => budget::renew(),
        [count::COUNTED, name] => count::be_counted(name),
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

// One at a time: what goes on between two is not for many.
#[divan::bench(args = PARTS.map(|(name, _)| name), sample_size = 1)]
fn hot(bencher: divan::Bencher<'_, '_>, name: &str) {
    let part = PARTS.iter().find(|(known, _)| *known == name).map(|(_, prepare)| RefCell::new(prepare()));
    let part = part.expect("one of them");
    let between = || {
        part.borrow_mut().between(Instant::now());
        Instant::now()
    };
    bencher.with_inputs(between).bench_local_values(|now| part.borrow_mut().work(now));
}
