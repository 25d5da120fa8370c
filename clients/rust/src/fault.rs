//! Faults that the conformance suite plants, to show that it finds them. Without the feature `planted-faults` there are
//! none.

/// What the client does wrong on purpose. `conformance/PROTOCOL.md` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    ReleaseFirst,
    NoJitter,
    NoClock,
    ForgetAll,
    NoRetry,
}

/// Whether this fault is planted.
#[cfg(feature = "planted-faults")]
pub(crate) fn is_planted(fault: Fault) -> bool {
    use std::sync::OnceLock;

    static PLANTED: OnceLock<Option<Fault>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| match std::env::var("PLANTED_FAULT").ok()?.as_str() {
        "release-first" => Some(Fault::ReleaseFirst),
        "no-jitter" => Some(Fault::NoJitter),
        "no-clock" => Some(Fault::NoClock),
        "forget-all" => Some(Fault::ForgetAll),
        "no-retry" => Some(Fault::NoRetry),
        _ => None,
    });
    *planted == Some(fault)
}

/// Whether this fault is planted: never in this build.
#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn is_planted(_: Fault) -> bool {
    false
}
