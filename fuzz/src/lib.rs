//! What the fuzz targets share: servers that live as long as the fuzzer does, each with an honest client that must be
//! answered whatever the others send.

mod honest;
mod server;
pub mod wire;

pub use server::{Server, server};
