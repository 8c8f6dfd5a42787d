//! A pm2 file, for `init --from`, taken for one of each kind. What is made of it is a chat.toml without a problem.
#![no_main]

use chatctl::workbench::hostile::{configuration, migrated};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] = ["ecosystem.config.js", "ecosystem.json", "ecosystem.yaml"];

fuzz_target!(|text: &str| {
    for name in NAMES {
        if let Ok(made) = migrated(name, text) {
            assert_eq!(configuration(&made), Ok(()), "{name}: {made}");
        }
    }
});
