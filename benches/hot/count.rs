//! Counting: a part is done in a process of its own under valgrind's callgrind, which counts from the entry of
//! [`measured`] to its return, on the one thread that is in it.
//!
//! The same program counts the same to two thousandths, whatever else the machine does. To that end time stands still for
//! what is counted: else it would hang on the machine's speed how often the journal has a checkpoint made. And `malloc`
//! finds what was freed in a cache without bounds ([`MALLOC`]): else it would hang on the seeds of hash maps, which are
//! of chance and decide in which order a heap has filled, how long it searches.
//!
//! The processor has no say: valgrind shows the program one of its own, the same Haswell on every machine that has AVX2,
//! of whatever make. Compiler, C library and valgrind have; [`Toolchain`] says what they are.

use crate::parts::{PARTS, Part};
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    io::{self, Write},
    process::{Command, ExitCode},
    time::Instant,
};

/// The word by which this program is told to do one part under valgrind.
pub(crate) const COUNTED: &str = "counted";
/// A part is warmed up, and then measured, so often.
const WARM_UP: u64 = 20;
const TIMES: u64 = 100;

/// Of the C library: every thread's cache takes all that is freed, up to the longest pieces that it can (glibc's
/// manual, Memory Allocation Tunables).
const MALLOC: &str = "glibc.malloc.tcache_count=65535:glibc.malloc.tcache_max=1032";

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The instructions of each part, once.
pub(crate) type Figures = BTreeMap<String, u64>;

/// What the figures hang on beside the code: of each, which.
pub(crate) type Toolchain = BTreeMap<String, String>;

/// Counts every part.
///
/// # Errors
/// There is no valgrind, or a part fails.
pub(crate) fn count() -> Result<(Figures, Toolchain)> {
    let (mut figures, mut seen) = (Figures::new(), Toolchain::new());
    for (name, _) in PARTS {
        let (figure, processor) = count_one(name)?;
        figures.insert(name.to_owned(), figure);
        seen.insert("processor".to_owned(), processor);
    }
    seen.extend(toolchain()?);
    Ok((figures, seen))
}

/// Its instructions, and the processor that it saw.
fn count_one(name: &str) -> Result<(u64, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("callgrind");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*hot*count*measured*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe()?)
        .args([COUNTED, name])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", MALLOC)
        .output()
        .map_err(|error| format!("valgrind: {error}; on Debian: apt-get install valgrind"))?;
    if !done.status.success() {
        return Err(format!("{name}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr)).into());
    }
    // "totals:", the events of all that was collected (Callgrind's profile format).
    let profile = fs::read_to_string(&file)?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    match total {
        Some(total @ 1..) => Ok((total / TIMES, String::from_utf8(done.stdout)?)),
        _ => Err(format!("{name}: nothing was counted").into()),
    }
}

/// One part, under valgrind.
pub(crate) fn be_counted(name: &str) -> ExitCode {
    let Some((_, prepare)) = PARTS.iter().find(|(known, _)| *known == name) else {
        return ExitCode::FAILURE;
    };
    let mut part = prepare();
    let now = Instant::now();
    for _ in 0..WARM_UP {
        part.work(now);
        part.between(now);
    }
    for _ in 0..TIMES {
        measured(&mut *part, now);
        part.between(now);
    }
    let told = io::stdout().write_all(processor().as_bytes());
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is counted; valgrind finds it by its name.
#[inline(never)]
fn measured(part: &mut dyn Part, now: Instant) {
    part.work(now);
}

fn toolchain() -> Result<Toolchain> {
    let sqlite = rusqlite::Connection::open_in_memory()?;
    let sqlite: String = sqlite.query_row(
        "SELECT compile_options FROM pragma_compile_options WHERE compile_options LIKE 'COMPILER=%'",
        [],
        |row| row.get(0),
    )?;
    let entries = [
        ("rustc", said("rustc", &["--version"])?),
        ("libc", said("getconf", &["GNU_LIBC_VERSION"])?),
        ("valgrind", said("valgrind", &["--version"])?),
        ("cc", sqlite.trim_start_matches("COMPILER=").to_owned()),
    ];
    Ok(entries.map(|(name, version)| (name.to_owned(), version)).into())
}

fn said(program: &str, args: &[&str]) -> Result<String> {
    let done = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// What code may ask of the processor before it decides how to do something.
fn processor() -> String {
    let mut seen = vec![env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
        ];
        seen.extend(features.into_iter().filter(|(_, has)| *has).map(|(name, _)| name));
    }
    seen.join(" ")
}
