//! What each request does.

use std::sync::Arc;
use std::time::Duration;

use redis_lock_client::{Guard, Locks};
use serde_json::{json, Value};
use tokio::task::AbortHandle;

use crate::failure::Failure;
use crate::protocol::{self, Request};
use crate::state::{Held, State};

/// What this client can do, in the words of the protocol.
const FEATURES: [&str; 6] = ["shared", "counted", "tracking", "sentinel", "cluster", "quorum"];

/// Does what the request asks for, and answers it.
pub async fn answer(state: Arc<State>, request: Request) {
    let outcome = act(&state, &request).await;
    state.write(protocol::answer(request.id, outcome));
}

async fn act(state: &Arc<State>, request: &Request) -> Result<Value, Failure> {
    match request.action.as_str() {
        "hello" => Ok(json!({"client": "rust", "library": "redis-rs 1 (tokio)", "features": FEATURES})),
        "connect" => connect(state, request),
        "acquire" => acquire(state, request).await,
        "cancel" => {
            let id = request.request.ok_or_else(|| Failure::usage("cancel needs `request`"))?;
            Ok(state.cancel(id))
        }
        "extend" => {
            state.hold(name_of_hold(request)?)?.guard.extend().await?;
            Ok(json!({}))
        }
        "release" => {
            let held = state.take_hold(name_of_hold(request)?)?;
            held.watch.abort();
            held.guard.release().await?;
            Ok(json!({}))
        }
        "held" => {
            let held = state.hold(name_of_hold(request)?)?.guard.held_until().is_some();
            Ok(json!({"held": held}))
        }
        "block" => {
            // The client has several threads; one that is blocked must not stop the others.
            std::thread::sleep(Duration::from_millis(request.for_ms.unwrap_or(0)));
            Ok(json!({}))
        }
        "close" => state.close(request.locks()).await,
        other => Err(Failure::unsupported(other)),
    }
}

fn name_of_hold(request: &Request) -> Result<&str, Failure> {
    request.need("hold", request.hold.as_ref())
}

fn connect(state: &State, request: &Request) -> Result<Value, Failure> {
    let urls = || request.urls.iter().map(String::as_str);
    let locks = match request.deployment.as_deref() {
        Some("single") => Locks::server(request.need("urls", request.urls.first())?)?,
        Some("sentinel") => Locks::sentinel(urls(), request.need("service", request.service.as_ref())?)?,
        Some("cluster") => Locks::cluster(urls())?,
        Some("quorum") => Locks::quorum(urls())?,
        other => return Err(Failure::usage(format!("not a deployment: {other:?}"))),
    };
    state.add_client(request.locks(), locks);
    Ok(json!({}))
}

async fn acquire(state: &Arc<State>, request: &Request) -> Result<Value, Failure> {
    let name = name_of_hold(request)?;
    let lock = request_of(state, request)?;
    let guard = {
        // The cancellation can come as soon as the runner has sent the request.
        let cancelled = state.begin(request.id);
        let outcome = tokio::select! {
            outcome = lock.acquire(request.timeout()) => outcome.map_err(Failure::from),
            Ok(()) = cancelled => Err(Failure::cancelled()),
        };
        state.end(request.id);
        outcome?
    };
    let answer = json!({"fence": guard.fence(), "owner": guard.owner()});
    let watch = tell_of_loss(state, name, &guard);
    state.add_hold(name, Held { guard, locks: request.locks().to_owned(), watch });
    Ok(answer)
}

/// The client's own request for what the runner's request describes.
fn request_of(state: &State, request: &Request) -> Result<redis_lock_client::Request, Failure> {
    let missing = [
        ("keys", request.keys.is_some()),
        ("weight", request.weight.is_some()),
        ("max", request.max_ms.is_some()),
        ("delay", request.delay_ms.is_some()),
        ("session", request.session == Some(true)),
        ("renew: false", request.renew == Some(false)),
        ("scope", request.scope.is_some()),
        ("durable", request.durable.is_some()),
        ("reentrant", request.reentrant == Some(true)),
    ];
    if let Some((what, _)) = missing.iter().find(|(_, is_asked)| *is_asked) {
        return Err(Failure::unsupported(what));
    }
    let mut lock = state.client(request.locks())?.key(request.need("key", request.key.as_ref())?);
    if let Some(ms) = request.lease_ms {
        lock = lock.lease(Duration::from_millis(ms));
    }
    match (request.mode.as_deref(), request.limit) {
        (None | Some("exclusive"), None) => Ok(lock),
        (Some("shared"), None) => Ok(lock.shared()),
        (Some("counted"), Some(limit)) => Ok(lock.counted(limit)),
        (mode, limit) => Err(Failure::usage(format!("mode {mode:?} with limit {limit:?}"))),
    }
}

/// Writes an event when the client tells of the loss.
fn tell_of_loss(state: &Arc<State>, name: &str, guard: &Guard) -> AbortHandle {
    let (state, name, lost) = (Arc::clone(state), name.to_owned(), guard.lost());
    let watch = tokio::spawn(async move {
        lost.await;
        state.write(json!({"event": "lost", "hold": name, "reason": "lost"}));
    });
    watch.abort_handle()
}
