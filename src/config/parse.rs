//! Values as people write them: sizes, durations, addresses. Each function says what it wanted when it got
//! something else; where that was is the reader's business.

use super::{Ask, KillSignal, Profile, Watch};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use toml::de::DeValue;

type Parsed<T> = Result<T, String>;

/// No size is larger, and no duration longer: what is reckoned with them has room.
const MOST: u64 = 1 << 50;
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| wanted(value, "true or false"))
}

/// A text that is not empty.
pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    match value.as_str() {
        Some("") => Err("must not be empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => Err(wanted(value, "a text in quotes")),
    }
}

/// A list of texts; one text is a list of one.
pub(super) fn texts(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    match value.as_array() {
        Some(array) => array.iter().map(|element| text(element.get_ref())).collect(),
        None => text(value).map(|text| vec![text]).map_err(|_| wanted(value, "a list of texts")),
    }
}

/// A whole number in a range.
pub(super) fn integer(value: &DeValue<'_>, min: u64, max: u64) -> Parsed<u64> {
    let number = whole(value).ok_or_else(|| wanted(value, "a whole number"))?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not between {min} and {max}"))
    }
}

/// Exit codes: a list, or one.
pub(super) fn exit_codes(value: &DeValue<'_>) -> Parsed<Vec<i32>> {
    let code = |value: &DeValue<'_>| integer(value, 0, 255).map(|code| i32::try_from(code).unwrap_or(0));
    match value.as_array() {
        Some(array) => array.iter().map(|element| code(element.get_ref())).collect(),
        None => code(value).map(|code| vec![code]),
    }
}

/// From -20, most favourable, to 19.
pub(super) fn niceness(value: &DeValue<'_>) -> Parsed<i32> {
    let number =
        value.as_integer().and_then(|integer| i32::from_str_radix(integer.as_str(), integer.radix()).ok());
    number.filter(|nice| (-20..=19).contains(nice)).ok_or_else(|| wanted(value, "a niceness from -20 to 19"))
}

/// `true`, `false`, or a URL.
pub(super) fn probe(value: &DeValue<'_>) -> Parsed<Ask> {
    if let Some(flag) = value.as_bool() {
        return Ok(if flag { Ask::Chat } else { Ask::Nothing });
    }
    url(value, "true, false, or a URL as \"http://127.0.0.1:8080/health\"").map(Ask::Url)
}

/// One that can be spoken to by `http` or `https`; `what` is wanted, for people.
pub(super) fn url(value: &DeValue<'_>, what: &str) -> Parsed<http::Uri> {
    let url = text(value).ok().and_then(|text| text.parse::<http::Uri>().ok());
    let fits = |url: &http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    url.filter(fits).ok_or_else(|| wanted(value, what))
}

/// A schedule as in crontab(5).
pub(super) fn schedule(value: &DeValue<'_>) -> Parsed<String> {
    let schedule = text(value)?;
    croner::parser::CronParser::new()
        .parse(&schedule)
        .map_err(|error| format!("{schedule:?} is not a schedule as in crontab(5): {error}"))?;
    Ok(schedule)
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Bytes as pm2 writes them: a number, or one with K, M or G, 1024-based.
pub(super) fn size(value: &DeValue<'_>) -> Parsed<u64> {
    let bytes = match value.as_str() {
        None => whole(value),
        Some(text) => {
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let unit = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
                "" | "B" => Some(1),
                "K" | "KB" => Some(1 << 10),
                "M" | "MB" => Some(1 << 20),
                "G" | "GB" => Some(1 << 30),
                _ => None,
            };
            digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit))
        }
    };
    bytes
        .filter(|bytes| (1..=MOST).contains(bytes))
        .ok_or_else(|| wanted(value, "a size: bytes, or a number with K, M or G (1024-based), as \"300M\""))
}

/// Milliseconds as in pm2, or a text with a unit.
pub(super) fn duration(value: &DeValue<'_>) -> Parsed<Duration> {
    let duration = match value.as_str() {
        None => whole(value).map(Duration::from_millis),
        Some(text) => humantime::parse_duration(text).ok().or_else(|| decimal(text)),
    };
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| wanted(value, "a duration: milliseconds, or a text as \"500ms\", \"1.5s\" or \"2m\""))
}

/// A duration that is some time.
pub(super) fn positive(value: &DeValue<'_>) -> Parsed<Duration> {
    let duration = duration(value)?;
    if duration.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(duration) }
}

/// `1.6s`, which humantime does not read.
fn decimal(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim().parse().ok()?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

/// All IPv4 addresses.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// What an address is written as.
const ADDRESS: &str = "an address as \"0.0.0.0:3000\", \"127.0.0.1:3000\" or \"[::]:3000\", or a port";

/// `127.0.0.1:3000`, `[::1]:3000`, or a port alone for all IPv4 addresses.
pub(super) fn address(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let address = match value.as_str() {
        None => whole(value).and_then(|port| u16::try_from(port).ok()).map(|port| SocketAddr::new(ANY, port)),
        Some(text) => address_of(text).ok(),
    };
    address.ok_or_else(|| wanted(value, ADDRESS))
}

/// The same, on the command line.
///
/// # Errors
/// Says what it is written as.
pub(crate) fn address_of(text: &str) -> Result<SocketAddr, String> {
    match text.strip_prefix(':').unwrap_or(text).parse() {
        Ok(port) => Ok(SocketAddr::new(ANY, port)),
        Err(_) => text.parse().map_err(|_| format!("it is not {ADDRESS}")),
    }
}

/// The name of an app, fit for a file name.
pub(super) fn app_name(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() <= 64 && name.chars().all(fits) {
        Ok(name)
    } else {
        Err(format!("{name:?} is not a name: letters, digits, - and _, at most 64"))
    }
}

/// One of the three.
pub(super) fn kill_signal(value: &DeValue<'_>) -> Parsed<KillSignal> {
    let name = text(value)?;
    let known = KillSignal::ALL.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    let names = KillSignal::ALL.map(|(name, _)| name).join(", ");
    known.ok_or_else(|| wanted(value, &format!("one of {names}")))
}

pub(super) fn profile(value: &DeValue<'_>) -> Parsed<Profile> {
    text(value)?.parse().map_err(|_| wanted(value, "a profile: \"local\", \"web\" or \"react\""))
}

/// `true`, `false`, or paths.
pub(super) fn watch(value: &DeValue<'_>) -> Parsed<Watch> {
    match value.as_bool() {
        Some(true) => Ok(Watch::On),
        Some(false) => Ok(Watch::Off),
        None => {
            let paths = texts(value).map_err(|_| wanted(value, "true, false, or a list of paths"))?;
            Ok(Watch::Also(paths.into_iter().map(PathBuf::from).collect()))
        }
    }
}

/// Globs of paths.
pub(super) fn globs(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    let globs = texts(value)?;
    for glob in &globs {
        globset::Glob::new(glob).map_err(|error| format!("{glob:?} is not a glob: {}", error.kind()))?;
    }
    Ok(globs)
}

/// An IANA name; `system` is the server's own.
pub(super) fn timezone(value: &DeValue<'_>) -> Parsed<Option<jiff::tz::TimeZone>> {
    let name = text(value)?;
    if name == "system" {
        return Ok(None);
    }
    jiff::tz::TimeZone::get(&name)
        .map(Some)
        .map_err(|_| format!("{name:?} is not a time zone: write one as \"Asia/Seoul\", or \"system\""))
}

/// What was there, and what should be.
pub(super) fn wanted(value: &DeValue<'_>, what: &str) -> String {
    match value {
        DeValue::String(text) => format!("{text:?} is not {what}"),
        DeValue::Integer(number) => format!("{number} is not {what}"),
        DeValue::Float(number) => format!("{number} is not {what}"),
        DeValue::Boolean(flag) => format!("{flag} is not {what}"),
        other => format!("this {} is not {what}", other.type_str()),
    }
}
