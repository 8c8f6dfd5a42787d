//! The JSON that the control API speaks; fields are only ever added.

use serde::{Deserialize, Serialize};

/// What a chat server says of itself: `GET /stats` on its control socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Socket.IO sockets connected now.
    pub(crate) connections: u64,
    /// Rooms with at least one member.
    pub(crate) rooms: u64,
    /// Events accepted since the start.
    pub(crate) accepted: u64,
    /// Events refused since the start.
    pub(crate) refused: u64,
    /// Packets sent to clients since the start.
    pub(crate) delivered: u64,
    /// Clients closed because they did not keep up.
    pub(crate) slow_closed: u64,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
}
