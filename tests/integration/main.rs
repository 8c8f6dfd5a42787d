//! Drives the real binary.

mod layers;
mod supervise;

fn main() {}
