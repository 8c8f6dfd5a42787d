//! How TLS 1.3 protects what goes over a connection (RFC 8446, section 5): records, sealed and opened with keys that
//! another process has agreed on.
//!
//! rustls says what the keys of a connection are, and cannot begin with them; hence this. The ciphers are a library's, and
//! nothing else of TLS is here: no handshake, and no new keys (section 4.6.3): a client that asks for them is let go, and
//! comes back.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use std::io;
use tokio_rustls::rustls::ConnectionTrafficSecrets;

/// The kind, the version (always that of TLS 1.2), the length of what follows.
pub(super) const HEADER: usize = 5;
/// Most that one record says.
pub(super) const LONGEST: usize = 1 << 14;
/// How much longer it may be once it is sealed.
const EXPANSION: usize = 256;
/// So many records one key of AES may seal (section 5.5: 2^24.5); of `ChaCha20` the numbers end first.
const MOST: u64 = 1 << 24;

const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
const VERSION: [u8; 2] = [3, 3];
/// `close_notify`, as a warning.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The cipher of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// The key of one direction, and the number of its next record.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    cipher: Cipher,
    key: Vec<u8>,
    iv: [u8; NONCE_LEN],
    next: u64,
}

impl Secret {
    /// As rustls has it; `None`: of a cipher that is not known here.
    pub(super) fn of((next, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (cipher, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        Some(Self { cipher, key: key.as_ref().to_vec(), iv: iv.as_ref().try_into().ok()?, next })
    }
}

/// One direction of a connection.
pub(super) struct Protection {
    secret: Secret,
    key: LessSafeKey,
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// This.
    Data(BytesMut),
    /// Nothing more will come.
    Closed,
}

impl Protection {
    /// With this secret.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn new(secret: Secret) -> io::Result<Self> {
        let key = UnboundKey::new(secret.cipher.algorithm(), &secret.key).map_err(|_| bad("no such key"))?;
        Ok(Self { secret, key: LessSafeKey::new(key) })
    }

    /// As it stands now.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// A record's own nonce (section 5.3), and no other's.
    fn next(&mut self) -> io::Result<Nonce> {
        if self.secret.cipher != Cipher::ChaCha20Poly1305 && self.secret.next >= MOST {
            return Err(bad("so much was said that it needs new keys"));
        }
        let mut nonce = self.secret.iv;
        nonce.iter_mut().rev().zip(self.secret.next.to_le_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.secret.next = self.secret.next.checked_add(1).ok_or_else(|| bad("the numbers have ended"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Appends a record that says this, at most [`LONGEST`].
    ///
    /// # Errors
    /// It was used for as much as it may be.
    pub(super) fn seal(&mut self, data: &[u8], to: &mut BytesMut) -> io::Result<()> {
        self.append(APPLICATION_DATA, data, to)
    }

    /// Appends the last one.
    ///
    /// # Errors
    /// As [`Protection::seal`].
    pub(super) fn close(&mut self, to: &mut BytesMut) -> io::Result<()> {
        self.append(ALERT, &CLOSE_NOTIFY, to)
    }

    fn append(&mut self, kind: u8, data: &[u8], to: &mut BytesMut) -> io::Result<()> {
        let nonce = self.next()?;
        let len = data.len() + 1 + self.key.algorithm().tag_len();
        let header = header(u16::try_from(len).map_err(|_| bad("too long for one record"))?);
        to.reserve(HEADER + len);
        to.put_slice(&header);
        let start = to.len();
        to.put_slice(data);
        to.put_u8(kind);
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut to[start..]);
        to.put_slice(sealed.map_err(|_| bad("cannot be sealed"))?.as_ref());
        Ok(())
    }

    /// Takes the first record out of these bytes, and opens it; `None`: it has not come whole.
    ///
    /// # Errors
    /// It is none of this connection's, or says that the client is in trouble, or wants what is not done here.
    pub(super) fn open(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Opened>> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let (header, len) = (*header, length(header));
        if header[0] != APPLICATION_DATA || len > LONGEST + EXPANSION {
            return Err(bad("not a record of a connection that is open"));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let mut record = bytes.split_to(HEADER + len).split_off(HEADER);
        let nonce = self.next()?;
        let opened = self.key.open_in_place(nonce, Aad::from(header), &mut record);
        let opened = opened.map_err(|_| bad("not a record of this connection"))?;
        // The kind is the last byte that is not 0 (section 5.4).
        let end = opened.iter().rposition(|byte| *byte != 0).ok_or_else(|| bad("a record of no kind"))?;
        let kind = opened[end];
        record.truncate(end);
        match (kind, &record[..]) {
            (APPLICATION_DATA, data) if data.len() <= LONGEST => Ok(Some(Opened::Data(record))),
            (ALERT, [_, 0]) => Ok(Some(Opened::Closed)),
            (ALERT, _) => Err(bad("the client is in trouble")),
            _ => Err(bad("something else than data: new keys, it may be")),
        }
    }
}

/// How long the bytes are that follow this header.
pub(super) fn length(header: &[u8; HEADER]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

fn header(len: u16) -> [u8; HEADER] {
    let [high, low] = len.to_be_bytes();
    [APPLICATION_DATA, VERSION[0], VERSION[1], high, low]
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
