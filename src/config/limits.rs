//! Reading `[limits]`, `[cors]` and `[auth]`: what strangers may do.

use super::{
    Auth, Cors, Limits, Origin, parse,
    places::Places,
    section::{File, Section},
};
use crate::chat::Rate;
use ipnet::IpNet;
use std::time::Duration;
use toml::de::DeValue;

/// `[limits]`, less `exempt`.
pub(super) fn limits(file: &mut File<'_>, section: &mut Section<'_>) -> Limits {
    let number = |value: &DeValue<'_>| {
        parse::integer(value, 0, 1_000_000).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    };
    let many = |value: &DeValue<'_>| count(value, 0, 1 << 30);
    let wide = |value: &DeValue<'_>| {
        bytes(value, 1 << 16, 1 << 32).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    let mut is = Limits::default();
    is.max_connections = section.take(file, "max_connections", is.max_connections, many);
    is.max_connections_per_address =
        section.take(file, "max_connections_per_address", is.max_connections_per_address, many);
    is.max_connections_per_name =
        section.take(file, "max_connections_per_name", is.max_connections_per_name, many);
    is.messages.per_second = section.take(file, "messages_per_second", is.messages.per_second, number);
    is.messages.burst = section.take(file, "message_burst", is.messages.burst, number);
    is.room_messages.per_second =
        section.take(file, "room_messages_per_second", is.room_messages.per_second, number);
    is.room_messages.burst = section.take(file, "room_message_burst", is.room_messages.burst, number);
    is.handshake_timeout = section.take(file, "handshake_timeout", is.handshake_timeout, parse::positive);
    is.body_timeout = section.take(file, "body_timeout", is.body_timeout, parse::positive);
    is.stall_timeout = section.take(file, "stall_timeout", is.stall_timeout, parse::positive);
    is.max_payload = section.take(file, "max_payload", is.max_payload, |value| bytes(value, 1024, 1 << 30));
    is.max_queue = section.take(file, "max_queue", is.max_queue, |value| count(value, 16, 1 << 20));
    is.max_queue_bytes = section.take(file, "max_queue_bytes", is.max_queue_bytes, wide);
    is.max_name = section.take(file, "max_name", is.max_name, |value| count(value, 1, 4096));
    is.max_room = section.take(file, "max_room", is.max_room, |value| count(value, 1, 4096));
    is.max_rooms_per_socket =
        section.take(file, "max_rooms_per_socket", is.max_rooms_per_socket, |value| count(value, 1, 1 << 20));
    is
}

impl Default for Limits {
    /// What a chat of people does not meet, nor ten thousand of them on one machine.
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            max_connections_per_address: 1000,
            max_connections_per_name: 0,
            messages: Rate { per_second: 100, burst: 1000 },
            room_messages: Rate { per_second: 5000, burst: 20_000 },
            handshake_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            max_payload: 1_000_000,
            max_queue: 8192,
            max_queue_bytes: 32 << 20,
            max_name: 256,
            max_room: 256,
            max_rooms_per_socket: 100,
        }
    }
}

/// By what of chat.toml somebody is refused something: a key of `[limits]` or `[cors]`, or `[auth]` as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedBy {
    Auth,
    Origins,
    MaxConnections,
    MaxConnectionsPerAddress,
    MaxConnectionsPerName,
    MessagesPerSecond,
    RoomMessagesPerSecond,
    HandshakeTimeout,
    BodyTimeout,
    StallTimeout,
    MaxPayload,
    MaxName,
    MaxRoom,
    MaxRoomsPerSocket,
}

impl RefusedBy {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Auth,
        Self::Origins,
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::MaxConnectionsPerName,
        Self::MessagesPerSecond,
        Self::RoomMessagesPerSecond,
        Self::HandshakeTimeout,
        Self::BodyTimeout,
        Self::StallTimeout,
        Self::MaxPayload,
        Self::MaxName,
        Self::MaxRoom,
        Self::MaxRoomsPerSocket,
    ];

    /// Its name in chat.toml, `status --json` and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Origins => "origins",
            Self::MaxConnections => "max_connections",
            Self::MaxConnectionsPerAddress => "max_connections_per_address",
            Self::MaxConnectionsPerName => "max_connections_per_name",
            Self::MessagesPerSecond => "messages_per_second",
            Self::RoomMessagesPerSecond => "room_messages_per_second",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::StallTimeout => "stall_timeout",
            Self::MaxPayload => "max_payload",
            Self::MaxName => "max_name",
            Self::MaxRoom => "max_room",
            Self::MaxRoomsPerSocket => "max_rooms_per_socket",
        }
    }
}

/// `exempt` of `[limits]`.
pub(super) fn exempt(file: &mut File<'_>, section: &mut Section<'_>) -> Vec<IpNet> {
    let loopback = ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect();
    section.take(file, "exempt", loopback, networks)
}

/// `[cors]`.
pub(super) fn cors(file: &mut File<'_>, section: &mut Section<'_>) -> Cors {
    Cors {
        origins: section.take(file, "origins", vec![Origin::Any], origins),
        credentials: section.take(file, "credentials", true, parse::boolean),
    }
}

/// `[auth]`: on when it names keys.
pub(super) fn auth(file: &mut File<'_>, section: &mut Section<'_>, places: &Places<'_>) -> Auth {
    let text = |value: &DeValue<'_>| parse::text(value).map(Some);
    Auth {
        keys: section.take(file, "keys", None, |value| Ok(Some(places.path(&parse::text(value)?)))),
        issuer: section.take(file, "issuer", None, text),
        audience: section.take(file, "audience", None, text),
        leeway: section.take(file, "leeway", Duration::from_secs(10), parse::duration),
        exit_roles: section.take(file, "exit_roles", vec!["moderator".to_owned()], parse::texts),
    }
}

/// Addresses, or networks as `10.0.0.0/8`.
pub(super) fn networks(value: &DeValue<'_>) -> Result<Vec<IpNet>, String> {
    let read = |text: String| {
        let address = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
        text.parse().ok().or_else(address).ok_or_else(|| {
            format!(
                "{text:?} is neither an address nor a network: write them as \"127.0.0.1\" or \"10.0.0.0/8\""
            )
        })
    };
    match value.as_array() {
        Some(array) if array.is_empty() => Ok(Vec::new()),
        _ => parse::texts(value)?.into_iter().map(read).collect(),
    }
}

fn origins(value: &DeValue<'_>) -> Result<Vec<Origin>, String> {
    parse::texts(value)?.iter().map(|origin| Origin::read(origin)).collect()
}

pub(super) fn bytes(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let bytes = parse::size(value)?;
    if (min..=max).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{bytes} bytes is not between {min} and {max}"))
    }
}

pub(super) fn count(value: &DeValue<'_>, min: u64, max: u64) -> Result<usize, String> {
    parse::integer(value, min, max).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_what_people_are_refused_is_found_in_chat_toml() {
        for by in RefusedBy::ALL {
            let key = by.as_str();
            let stands = |line: &str| {
                let line = line.trim_start_matches('#');
                line.starts_with(&format!("{key} = ")) || line == format!("[{key}]")
            };
            assert!(crate::config::DEFAULT.lines().any(stands), "{key}");
        }
    }
}
