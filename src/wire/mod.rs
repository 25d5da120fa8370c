//! Bytes to types and back: what commands say, what they answer, what is saved and what is replicated.
//!
//! Decoding is total: any bytes give a value or an error, never a panic, and nothing is allocated in proportion to a
//! number that merely stands in the bytes.

#![forbid(unsafe_code)]

mod codec;
mod errors;
mod request;
mod saved;

pub use errors::BadRequest;
pub use request::{AcquireRequest, ExtendRequest, Patience, ReleaseRequest, ARGS_MAX};
pub use saved::{decode_effect, decode_lock, encode_effect, encode_freed, encode_lock, News, Told, Trust};

/// The lease of an ACQUIRE that names none, in milliseconds.
pub const LEASE_DEFAULT_MS: u64 = 30_000;
/// The longest lease, in milliseconds: 365 days.
pub const LEASE_MAX_MS: u64 = 365 * 24 * 60 * 60 * 1000;
