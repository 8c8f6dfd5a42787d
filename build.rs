//! Embeds what browsers are served: the Socket.IO client, from npm, and the chat page, from `web/page`.
//!
//! Also leaves the day of the build where `chatctl check` finds it. npm is asked only when `web/package.json` or its
//! lock changed. Every file is written to `OUT_DIR` as gzip and as brotli, or as it is where that is no larger, and
//! `OUT_DIR/files.rs` is the table of them that `src/server/assets.rs` includes. The built binary needs neither Node
//! nor npm.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

/// The builds of the client that the replaced server served, all at `/socket.io/`, each with its map.
const CLIENT: [&str; 4] =
    ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"];
/// What npm reads.
const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

fn main() {
    if let Err(sentence) = run() {
        // Cargo shows this and fails the build; a panic would bury it.
        println!("cargo::error={sentence}");
    }
}

fn run() -> Result<(), String> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: build with cargo")?);
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    for watched in NPM_FILES.iter().chain(&["page"]) {
        println!("cargo::rerun-if-changed={}", web.join(watched).display());
    }

    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=CHATCTL_BUILT={}", built());
    if packs_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }

    let dist = install(&web, &out.join("npm"))?;
    let mut files = Vec::new();
    for name in CLIENT.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.map")]) {
        files.push((format!("/socket.io/{name}"), dist.join(name)));
    }
    for path in page(&web.join("page"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push((format!("/page/{name}"), path));
    }

    let folder = out.join("files");
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    let mut table = format!("{{\nstatic ALL: [File; {}] = [\n", files.len());
    for (url, source) in &files {
        table.push_str(&embed(url, source, &folder, release)?);
    }
    table.push_str("];\n&ALL\n}");
    let path = out.join("files.rs");
    fs::write(&path, table).map_err(failed("write", &path))
}

/// Seconds since 1970: a clock that is before it is wrong. Packagers set it, so that two builds are the same.
fn built() -> String {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string();
    env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| now())
}

/// Whether the program may keep the list of its own addresses as a bitmap (DT_RELR), 0.6 MB smaller: the loader knows
/// it since glibc 2.36, and a program that is built for an older one runs without.
fn packs_relocations() -> bool {
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if env::var("HOST") != env::var("TARGET") || target("OS") != "linux" || target("ENV") != "gnu" {
        return false;
    }
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").stdin(Stdio::null()).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = said.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    version
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)))
        .is_some_and(|version| version >= (2, 36))
}

/// Has npm install the client into `folder`, and gives the folder of its builds.
fn install(web: &Path, folder: &Path) -> Result<PathBuf, String> {
    let dist = folder.join("node_modules/socket.io-client/dist");
    let stamp = folder.join("installed");
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let mut wanted = Vec::new();
    for name in NPM_FILES {
        let content = read(&web.join(name))?;
        fs::write(folder.join(name), &content).map_err(failed("write", &folder.join(name)))?;
        wanted.extend(content);
    }
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) && dist.is_dir() {
        return Ok(dist);
    }

    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let npm = npm.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "npm is missing: the build takes the Socket.IO browser client from the npm \
             registry to embed it; install npm (on Debian `apt-get install npm`) and build again"
                .to_owned()
        }
        _ => format!("npm cannot be run ({error}): the build needs it for the Socket.IO browser client"),
    })?;
    if !npm.status.success() {
        let said = String::from_utf8_lossy(&npm.stderr);
        // As npm says it since 10, and before, as Debian's does.
        let reason = said
            .lines()
            .find_map(|line| ["npm error ", "npm ERR! "].iter().find_map(|mark| line.strip_prefix(mark)));
        let said = reason.unwrap_or("it gave no reason");
        return Err(format!(
            "npm could not install the Socket.IO browser client that gets embedded ({}: {said}): see what `npm ci` \
             says in {}, and build again when it works",
            npm.status,
            web.display()
        ));
    }
    fs::write(&stamp, wanted).map_err(failed("write", &stamp))?;
    Ok(dist)
}

/// The page's own files, in order.
fn page(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut files: Vec<_> = entries.map_err(failed("list", folder))?.into_iter().map(|e| e.path()).collect();
    files.sort();
    Ok(files)
}

/// Writes a file's forms into `folder`, and gives its row of the table.
fn embed(url: &str, source: &Path, folder: &Path, release: bool) -> Result<String, String> {
    let plain = read(source)?;
    let write = |name: String, bytes: &[u8]| -> Result<String, String> {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(failed("write", &path))?;
        Ok(format!("Form {{ etag: {:?}, bytes: Some(include_bytes!({path:?})) }}", etag(bytes)))
    };
    let optional = |extension: &str, bytes: Vec<u8>| -> Result<String, String> {
        if bytes.len() >= plain.len() {
            return Ok("None".to_owned());
        }
        Ok(format!("Some({})", write(file_name(url) + extension, &bytes)?))
    };
    let gzip = optional(".gz", gzip(&plain, release).map_err(failed("compress", source))?)?;
    let identity = match gzip.as_str() {
        "None" => write(file_name(url), &plain)?,
        _ => format!("Form {{ etag: {:?}, bytes: None }}", etag(&plain)),
    };
    let brotli = optional(".br", brotli(&plain, release).map_err(failed("compress", source))?)?;
    Ok(format!(
        "File {{\n    path: {url:?},\n    content_type: {:?},\n    identity: {identity},\n    gzip: {gzip},\n    \
         brotli: {brotli},\n    unpacked: OnceLock::new(),\n}},\n",
        content_type(source)?
    ))
}

fn file_name(url: &str) -> String {
    url.trim_start_matches('/').replace('/', "_")
}

fn content_type(path: &Path) -> Result<&'static str, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("json" | "map") => Ok("application/json"),
        Some("svg") => Ok("image/svg+xml"),
        _ => Err(format!("build.rs has no content type for {}: add it there", path.display())),
    }
}

/// A strong one: every form has its own. That a new compiler may hash differently costs each browser one download.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}-{:x}\"", hasher.finish(), bytes.len())
}

fn gzip(bytes: &[u8], release: bool) -> io::Result<Vec<u8>> {
    let level = if release { flate2::Compression::best() } else { flate2::Compression::fast() };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn brotli(bytes: &[u8], release: bool) -> io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: if release { 11 } else { 4 },
        lgwin: 22,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &params)?;
    Ok(compressed)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(failed("read", path))
}

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("cannot {what} {}: {error}", path.display())
}
