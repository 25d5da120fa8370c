//! Bytes to types and back: what commands say, what they answer, what is saved and what is replicated.
//!
//! Decoding is total: any bytes give a value or an error, never a panic, and nothing is allocated in proportion to a
//! number that merely stands in the bytes.

#![forbid(unsafe_code)]

pub mod errors;
mod format;
mod glob;
mod key_slot;
mod listing;
mod multi_key;
mod options;
mod request;
mod slot_set;
mod varint;

pub use format::{decode_effect, decode_lock, encode_lock, Change, ChangeKind, EffectWriter, Trust};
pub use key_slot::key_slot;
pub use listing::{ListRequest, Order, TopRequest};
pub use multi_key::{parse_macquire, parse_mextend, parse_mrelease, KeysFirst, WORDS_MAX};
pub use options::{
    OptionGroup, OptionRow, Takes, ACQUIRE_OPTIONS, CHECK_OPTIONS, EXTEND_OPTIONS, LIST_OPTIONS, MACQUIRE_OPTIONS,
    MEXTEND_OPTIONS, RELEASE_OPTIONS, TOP_OPTIONS,
};
pub use request::{AcquireRequest, CheckRequest, ExtendRequest, Leases, Patience, ReleaseRequest, ARGS_MAX};
pub use slot_set::{OwnSlots, SlotSet};

/// The longest lease there can be, in milliseconds: 365 days.
pub const LEASE_MAX_MS: u64 = 365 * 24 * 60 * 60 * 1000;
