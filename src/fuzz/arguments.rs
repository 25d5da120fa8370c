//! Arguments of commands, one a line, behind the command's name: what any client may send.

use super::NOW;
use crate::lock::{Fence, FenceClock, Millis, Mode, OwnerRef};
use crate::wire::{
    AcquireRequest, BadRequest, CheckRequest, ExtendRequest, Leases, Patience, ReleaseRequest, ARGS_MAX, LEASE_MAX_MS,
};

/// The settings as they are delivered, and the narrowest there can be.
const LEASES: [Leases; 2] =
    [Leases { default: Millis(30_000), max: Millis(LEASE_MAX_MS) }, Leases { default: Millis(1), max: Millis(1) }];

/// No error text is longer: it names the argument and the range, and quotes little of what the client wrote.
const ERROR_LEN_MAX: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request<'a> {
    Acquire(AcquireRequest<'a>),
    Release(ReleaseRequest<'a>),
    Extend(ExtendRequest<'a>),
    Check(CheckRequest<'a>),
}

type Args<'a> = Vec<&'a [u8]>;

/// Reads the bytes as a request, and looks at what came of it.
pub fn parse(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let command = lines.next().and_then(|name| name.first()).copied().unwrap_or_default();
    let args: Args = lines.collect();
    for leases in LEASES {
        let read = |args: &[&[u8]]| read(command, args, leases).map(|request| spell(&request, leases));
        let told = read(&args);
        match &told {
            Ok(again) => {
                // The same request said in another way is the same request.
                let again: Args = again.iter().map(Vec::as_slice).collect();
                assert_eq!(read(&again), told, "said in the shortest way");
                let shouted: Vec<Vec<u8>> = args.iter().skip(1).map(|arg| arg.to_ascii_uppercase()).collect();
                let shouted: Args = args.iter().take(1).copied().chain(shouted.iter().map(Vec::as_slice)).collect();
                assert_eq!(read(&shouted), told, "in capital letters");
                assert!(args.len() <= ARGS_MAX, "more arguments than are kept of a request");
            }
            Err(bad) => {
                let text = bad.to_string();
                assert!(text.starts_with("ERR ") && text.len() <= ERROR_LEN_MAX, "{text}");
                assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?} could end the line");
                // Arguments that no request can have are not kept, and the error is the same without them.
                let kept = args.get(..ARGS_MAX).unwrap_or(&args);
                assert_eq!(read(kept), told, "only {ARGS_MAX} arguments are kept");
            }
        }
    }
}

fn read<'a>(command: u8, args: &[&'a [u8]], leases: Leases) -> Result<Request<'a>, BadRequest> {
    match command {
        b'A' => AcquireRequest::parse(args, leases).map(Request::Acquire),
        b'R' => ReleaseRequest::parse(args).map(Request::Release),
        b'E' => ExtendRequest::parse(args, leases, NOW.unix).map(Request::Extend),
        _ => CheckRequest::parse(args).map(Request::Check),
    }
}

/// The request in few words. Panics if it should not have been let in.
fn spell(request: &Request, leases: Leases) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    match request {
        Request::Acquire(asked) => {
            args.push(asked.owner.map_or(b"*".to_vec(), named));
            put(&mut args, "PX", Some(lease(asked.lease, leases)));
            match asked.patience {
                Patience::None => {}
                Patience::For(wait) => {
                    assert!((1..=i64::MAX as u64).contains(&wait.0));
                    put(&mut args, "BLOCK", Some(wait.0));
                }
                Patience::Endless => put(&mut args, "BLOCK", Some(0)),
            }
            match asked.mode {
                Mode::Exclusive => {}
                Mode::Shared(limit) => {
                    put_flag(&mut args, "SHARED", true);
                    put(&mut args, "LIMIT", limit.map(|limit| limit.get().into()));
                }
            }
            put_flag(&mut args, "SESSION", asked.is_session);
        }
        Request::Release(asked) => {
            args.push(named(asked.owner));
            put(&mut args, "FENCE", asked.fence.map(Fence::get));
            put_flag(&mut args, "DOWNGRADE", asked.is_downgrade);
        }
        Request::Extend(asked) => {
            args.push(named(asked.owner));
            put(&mut args, "PX", asked.lease.map(|asked| lease(asked, leases)));
            put(&mut args, "FENCE", asked.fence.map(Fence::get));
            assert!(asked.raise.is_none_or(|raise| raise.get() <= FenceClock::raise_max(NOW.unix)));
            put(&mut args, "RAISE", asked.raise.map(Fence::get));
        }
        Request::Check(asked) => args.push(named(asked.owner)),
    }
    args
}

fn lease(asked: Millis, leases: Leases) -> u64 {
    assert!((1..=leases.max.0).contains(&asked.0), "{asked:?}");
    asked.0
}

fn named(owner: OwnerRef) -> Vec<u8> {
    assert!(owner.as_bytes() != b"*" && (1..=1024).contains(&owner.as_bytes().len()));
    owner.as_bytes().to_vec()
}

fn put(args: &mut Vec<Vec<u8>>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        args.extend([name.into(), value.to_string().into()]);
    }
}

fn put_flag(args: &mut Vec<Vec<u8>>, name: &str, is_set: bool) {
    if is_set {
        args.push(name.into());
    }
}
