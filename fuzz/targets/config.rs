//! A chat.toml: it is taken, or every problem has a line in it. Only that there is no app at all is in no line.
#![no_main]

use chatctl::workbench::hostile::configuration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Err(problems) = configuration(text) else { return };
    assert!(!problems.is_empty());
    let lines = text.split('\n').count();
    for (line, key, message) in problems {
        assert!(
            (1..=lines).contains(&line) || (line, &*key) == (0, "app"),
            "line {line} of {lines}: {key}: {message}"
        );
        assert!(!message.trim().is_empty());
    }
});
