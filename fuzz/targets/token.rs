//! Keys and tokens: up to a byte 0xff the file with the keys (none: a known secret), after it the token. A token is
//! trusted only if it is one that was signed.
#![no_main]

use chatctl::workbench::hostile::Keys;
use libfuzzer_sys::fuzz_target;
use std::{path::Path, sync::LazyLock};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Signed with it: `{"exp":4102444800,"name":"kim","rooms":"*"}`.
const SIGNED: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJleHAiOjQxMDI0NDQ4MDAsIm5hbWUiOiJraW0iLCJyb29tcyI6IioifQ.",
    "oGaN-sSaV9ZUFJCRZ_WD9_YIR3B_V9le9xZkBYOdK9Q"
);

fn keys(text: &[u8]) -> Result<Keys, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Keys::read(Path::new(file.path()))
}

static KNOWN: LazyLock<Keys> = LazyLock::new(|| keys(SECRET.as_bytes()).unwrap());

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0xff);
    let (file, token) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(token) = std::str::from_utf8(token) else { return };
    if !file.is_empty() {
        let _ = keys(file).map(|keys| keys.name(token));
    } else if let Ok(name) = KNOWN.name(token) {
        assert_eq!((name.as_str(), token), ("kim", SIGNED));
    }
});
