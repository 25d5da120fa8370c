//! What each request does.

use std::sync::Arc;
use std::time::Duration;

use redis_lock_client::{Election, Guard, Locks, Loss};
use serde_json::{json, Value};
use tokio::task::AbortHandle;

use crate::failure::Failure;
use crate::protocol::{self, Request};
use crate::state::{Held, State};

/// What this client can do, in the words of the protocol.
const FEATURES: [&str; 20] = [
    "shared",
    "counted",
    "session",
    "keys",
    "scope",
    "max",
    "cool",
    "delay",
    "downgrade",
    "reentrant",
    "durable",
    "elect",
    "observe",
    "tracking",
    "share-waits",
    "block",
    "sentinel",
    "cluster",
    "quorum",
    "fake",
];

/// Does what the request asks for, and answers it.
pub async fn answer(state: Arc<State>, request: Request) {
    let outcome = act(&state, &request).await;
    state.write(protocol::answer(request.id, outcome));
}

async fn act(state: &Arc<State>, request: &Request) -> Result<Value, Failure> {
    match request.action.as_str() {
        "hello" => Ok(json!({"client": "rust", "library": "redis-rs 1 (tokio)", "features": FEATURES})),
        "connect" => connect(state, request),
        "owner" => {
            let owner = state.owner(request.locks(), request.need("scope", request.scope.as_ref())?)?;
            Ok(json!({"owner": owner.name()}))
        }
        "acquire" => acquire(state, request).await,
        "cancel" => {
            let id = request.request.ok_or_else(|| Failure::usage("cancel needs `request`"))?;
            Ok(state.cancel(id))
        }
        "extend" => extend(state, request).await,
        "downgrade" => {
            state.hold(name_of_hold(request)?)?.guard.downgrade().await?;
            Ok(json!({}))
        }
        "release" => release(state, request).await,
        "held" => Ok(json!({"held": state.hold(name_of_hold(request)?)?.guard.is_held()})),
        "check" => Ok(json!({"held": state.hold(name_of_hold(request)?)?.guard.check().await?.is_some()})),
        "elect" => elect(state, request).await,
        "resign" => {
            state.take_leadership(request.need("leader", request.leader.as_ref())?)?.resign().await?;
            Ok(json!({}))
        }
        "observe" => observe(state, request).await,
        "info" => info(state, request).await,
        "block" => {
            // The client has several threads; one that is blocked must not stop the others.
            std::thread::sleep(Duration::from_millis(request.for_ms.unwrap_or(0)));
            Ok(json!({}))
        }
        "stats" => stats(state, request),
        "close" => state.close(request.locks()).await,
        other => Err(Failure::unsupported(other)),
    }
}

fn name_of_hold(request: &Request) -> Result<&str, Failure> {
    request.need("hold", request.hold.as_ref())
}

fn connect(state: &State, request: &Request) -> Result<Value, Failure> {
    let urls = || request.urls.iter().map(String::as_str);
    let mut builder = Locks::builder();
    if let Some(label) = &request.label {
        builder = builder.label(label);
    }
    if let Some(ms) = request.request_timeout_ms {
        builder = builder.request_timeout(Duration::from_millis(ms));
    }
    if let Some(most) = request.max_connections {
        // The client needs two besides those of waits: one for all, and for a moment one to look after it.
        builder = builder.max_wait_connections(most.saturating_sub(2).max(1));
    }
    let builder = builder.share_waits(request.share_waits == Some(true));
    let locks = match request.deployment.as_deref() {
        Some("single") => builder.server(request.need("urls", request.urls.first())?)?,
        Some("sentinel") => builder.sentinel(urls(), request.need("service", request.service.as_ref())?)?,
        Some("cluster") => builder.cluster(urls())?,
        Some("quorum") => builder.quorum(urls())?,
        Some("fake") => builder.memory(state.memory())?,
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
            biased;
            Ok(()) = cancelled => Err(Failure::cancelled()),
            outcome = lock.acquire(request.timeout()) => outcome.map_err(Failure::from),
        };
        state.end(request.id);
        outcome?
    };
    let answer = match request.keys {
        Some(_) => json!({"fences": guard.fences(), "owner": guard.owner()}),
        None => json!({"fence": guard.fence(), "owner": guard.owner()}),
    };
    let watch = tell_of_loss(state, name, &guard);
    state.add_hold(name, Held { guard, locks: request.locks().to_owned(), watch });
    Ok(answer)
}

/// The client's own request for what the runner's request describes.
fn request_of(state: &State, request: &Request) -> Result<redis_lock_client::Request, Failure> {
    let client = state.client(request.locks())?;
    let scope = match (&request.scope, request.reentrant) {
        (Some(scope), _) => Some(scope.as_str()),
        // In Rust it is an owner for whom locks are re-entrant. This one stands for the process.
        (None, Some(true)) => Some("reentrant"),
        (None, Some(false) | None) => None,
    };
    let owner = scope.map(|scope| state.owner(request.locks(), scope)).transpose()?;
    let mut lock = match (&request.key, &request.keys, owner) {
        (Some(key), None, None) => client.key(key.as_str()),
        (Some(key), None, Some(owner)) => owner.key(key.as_str()),
        (None, Some(keys), None) => client.keys(keys.iter().map(String::as_str)),
        (None, Some(keys), Some(owner)) => owner.keys(keys.iter().map(String::as_str)),
        (None, None, _) | (Some(_), Some(_), _) => return Err(Failure::usage("either `key` or `keys`")),
    };
    if let Some(ms) = request.lease_ms {
        lock = lock.lease(Duration::from_millis(ms));
    }
    if let Some(ms) = request.max_ms {
        lock = lock.max(Duration::from_millis(ms));
    }
    if let Some(ms) = request.delay_ms {
        lock = lock.delay(Duration::from_millis(ms));
    }
    if request.session == Some(true) {
        lock = lock.session();
    }
    if request.renew == Some(false) {
        lock = lock.without_renewal();
    }
    if let Some(replicas) = request.durable {
        lock = lock.durable(replicas);
    }
    match (request.mode.as_deref(), request.limit) {
        (None | Some("exclusive"), None) => Ok(lock),
        (Some("shared"), None) => Ok(lock.shared()),
        (Some("counted"), Some(limit)) => Ok(lock.weighted(limit, request.weight.unwrap_or(1))),
        (mode, limit) => Err(Failure::usage(format!("mode {mode:?} with limit {limit:?}"))),
    }
}

async fn extend(state: &State, request: &Request) -> Result<Value, Failure> {
    let guard = state.hold(name_of_hold(request)?)?.guard;
    match request.lease_ms {
        Some(ms) => guard.extend_to(Duration::from_millis(ms)).await?,
        None => guard.extend().await?,
    };
    Ok(json!({}))
}

async fn release(state: &State, request: &Request) -> Result<Value, Failure> {
    let held = state.take_hold(name_of_hold(request)?)?;
    held.watch.abort();
    match request.cool_ms {
        Some(ms) => held.guard.release_and_cool(Duration::from_millis(ms)).await?,
        None => held.guard.release().await?,
    }
    Ok(json!({}))
}

/// Writes an event when the client tells of the loss.
fn tell_of_loss(state: &Arc<State>, name: &str, guard: &Guard) -> AbortHandle {
    let (state, name, lost) = (Arc::clone(state), name.to_owned(), guard.lost());
    let watch = tokio::spawn(async move {
        let reason = match lost.await {
            Loss::Expired => "expired",
            Loss::Removed => "removed",
            Loss::SessionEnded => "session-ended",
            _ => "lost",
        };
        state.write(json!({"event": "lost", "hold": name, "reason": reason}));
    });
    watch.abort_handle()
}

fn election_of(state: &State, request: &Request) -> Result<Election, Failure> {
    let mut election = state.client(request.locks())?.election(request.need("key", request.key.as_ref())?);
    if let Some(ms) = request.lease_ms {
        election = election.lease(Duration::from_millis(ms));
    }
    if request.session == Some(true) {
        election = election.session();
    }
    Ok(election)
}

async fn elect(state: &Arc<State>, request: &Request) -> Result<Value, Failure> {
    let name = request.need("leader", request.leader.as_ref())?;
    let election = election_of(state, request)?;
    let cancelled = state.begin(request.id);
    let outcome = tokio::select! {
        outcome = election.elect(request.timeout()) => outcome.map_err(Failure::from),
        Ok(()) = cancelled => Err(Failure::cancelled()),
    };
    state.end(request.id);
    let leadership = outcome?;
    let answer = json!({"fence": leadership.fence(), "owner": leadership.owner()});
    state.add_leadership(name, leadership);
    Ok(answer)
}

async fn observe(state: &Arc<State>, request: &Request) -> Result<Value, Failure> {
    let name = request.need("observer", request.observer.as_ref())?.to_owned();
    let mut observer = election_of(state, request)?.observe();
    let first = observer.changed().await?;
    let state = Arc::clone(state);
    tokio::spawn(async move {
        while let Ok(leader) = observer.changed().await {
            state.write(json!({"event": "leader", "observer": name, "owner": leader}));
        }
    });
    Ok(json!({"owner": first}))
}

async fn info(state: &State, request: &Request) -> Result<Value, Failure> {
    let info = state.client(request.locks())?.info(request.need("key", request.key.as_ref())?).await?;
    let info = info.unwrap_or_default();
    let holders: Vec<&str> = info.holders.iter().map(|holder| holder.owner.as_str()).collect();
    Ok(json!({"holders": holders, "waiters": info.waiters}))
}

fn stats(state: &State, request: &Request) -> Result<Value, Failure> {
    let stats = state.client(request.locks())?.stats();
    Ok(json!({
        "connections_opened": stats.connections_opened,
        "connections_failed": stats.connections_failed,
        "acquired": stats.acquired,
        "not_acquired": stats.not_acquired,
        "failed": stats.failed,
        "cancelled": stats.cancelled,
        "waited_ms": u64::try_from(stats.waited.as_millis()).unwrap_or(u64::MAX),
        "held_ms": u64::try_from(stats.held.as_millis()).unwrap_or(u64::MAX),
        "released": stats.released,
        "lost": stats.lost,
        "renewals": stats.renewals,
        "renewals_failed": stats.renewals_failed,
        "retries": stats.retries,
        "lookups": stats.lookups,
    }))
}
