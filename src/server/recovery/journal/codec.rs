//! How things are written in the journal: numbers, attachments, checksums.

use bytes::Bytes;

/// Of parts that cannot run into each other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// Each with its length before it.
pub(super) fn pack(attachments: &[Bytes]) -> Vec<u8> {
    let mut blob = Vec::new();
    for attachment in attachments {
        blob.extend((attachment.len() as u64).to_le_bytes());
        blob.extend(&attachment[..]);
    }
    blob
}

pub(super) fn unpack(mut blob: &[u8]) -> Vec<Bytes> {
    let mut attachments = Vec::new();
    while let Some((len, rest)) = blob.split_first_chunk::<8>() {
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let Some((attachment, rest)) = rest.split_at_checked(len) else { break };
        attachments.push(Bytes::copy_from_slice(attachment));
        blob = rest;
    }
    attachments
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
