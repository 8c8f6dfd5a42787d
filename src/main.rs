//! The program; all of it is in the library, where fuzzers and benchmarks reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatctl::run()
}
