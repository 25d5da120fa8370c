//! Steps about what the servers say.

use std::time::{Duration, Instant};

use support::poll;

use crate::definition::{step, Args, Definition};
use crate::judge::Lock;
use crate::outcome::{ensure, fail, until, Outcome};
use crate::world::{soon, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step(
            "the server says that {hold} is held",
            "Its owner holds every key, with the fence that it was told.",
            held,
        ),
        step("the server says that {hold} is not held", "Its owner holds none of its keys, soon.", not_held),
        step("{int} server(s) say(s) that {hold} is held", "So many members of the quorum show its owner.", members),
        step("the lock {string} is free within {duration}", "Nobody holds it and nobody waits for it.", free_within),
        step("the lock {string} is not free", "Somebody holds it.", not_free),
        step("the lock {string} is {kind} with {int} holder(s)", "Its mode and the number of its holders.", mode),
        step("{int} client(s) wait(s) for {string}", "Waits until LOCK.INFO shows so many.", waiters),
        step("at most {int} client(s) wait(s) for {string}", "LOCK.INFO shows no more.", waiters_at_most),
        step("{hold} takes {int} unit(s)", "The weight of its hold, as LOCK.INFO shows it.", weight),
        step("{hold} is bounded by {duration}", "LOCK.INFO shows a `max` up to this time.", bounded),
        step("{hold} is bound to a connection", "LOCK.INFO shows a session.", session),
        step("the lease of {hold} is up to {duration}", "LOCK.INFO shows no longer one.", lease_up_to),
        step("the lease of {hold} is above {duration}", "LOCK.INFO shows a longer one, soon.", lease_above),
        step(
            "no lock is left within {duration}",
            "No server shows a holder or a waiter, and nothing is under way.",
            nothing,
        ),
        step("{app} knows {int} holder(s) and {int} waiter(s) of {string}", "The answer to `info`, soon.", knows),
        step("locks are left on purpose", "The end of the scenario does not look for them.", left_on_purpose),
        step("connections are counted from now on", "Remembers how many the servers have accepted.", count_connections),
        step("at most {int} connection(s) was/were opened", "Since then.", connections_at_most),
        step(
            "calls of {string} are counted from now on",
            "Such as `cluster|slots`, by INFO commandstats.",
            count_calls,
        ),
        step("at most {int} call(s) of {string} was/were made", "Since then.", calls_at_most),
        step("at least {int} call(s) of {string} was/were made", "Since then, soon.", calls_at_least),
        step("each {string} that the server sees is counted from now on", "By MONITOR.", watch),
        step("the server sees {string} again", "Since then, soon.", sees_again),
        step(
            "the server saw one owner ask for {string}",
            "In MONITOR, LOCK.ACQUIRE names one owner for it.",
            one_owner,
        ),
    ]
}

fn held(world: &mut World, args: &Args) -> Outcome<()> {
    is_held(world, args.text(0))
}

/// Whether the server shows the owner of this hold, with the fences that the driver named.
pub fn is_held(world: &World, hold: &str) -> Outcome<()> {
    let acquisition = world.hold(hold)?;
    let (owner, fences) = (acquisition.owner()?, acquisition.fences()?);
    let deployment = world.deployment()?;
    if let crate::deployment::Servers::Quorum(members) = deployment.servers() {
        let most = members.len() / 2 + 1;
        let count = acquisition.keys.iter().map(|key| deployment.count_holding(key, owner)).min().unwrap_or(0);
        return ensure(count >= most, || format!("{count} servers show {owner} as a holder, and not {most}"));
    }
    if let crate::deployment::Servers::Fake = deployment.servers() {
        let shown = |key: &String| info_of(world, &acquisition.app, key).map(|info| info["holders"].clone());
        let holders = acquisition.keys.iter().map(shown).collect::<Outcome<Vec<_>>>()?;
        let holds = |holders: &serde_json::Value| holders.as_array().is_some_and(|all| all.contains(&owner.into()));
        return ensure(holders.iter().all(holds), || format!("the fake does not show {owner}: {holders:?}"));
    }
    for (key, fence) in acquisition.keys.iter().zip(fences) {
        let lock = deployment.info(key)?.ok_or_else(|| format!("nobody holds {key}"))?;
        let own = lock.holders.iter().find(|holder| holder.owner == owner);
        let own = own.ok_or_else(|| format!("{owner} does not hold {key}: {lock:?}"))?;
        ensure(own.fence == fence, || format!("{key}: the server's fence is {}, the driver's {fence}", own.fence))?;
    }
    Ok(())
}

fn not_held(world: &mut World, args: &Args) -> Outcome<()> {
    let acquisition = world.hold(args.text(0))?;
    let owner = acquisition.owner()?;
    until(soon(), || {
        let holds = |key: &&String| world.deployment().is_ok_and(|it| it.count_holding(key, owner) > 0);
        match acquisition.keys.iter().find(holds) {
            Some(key) => fail(format!("{owner} holds {key}")),
            None => Ok(()),
        }
    })
}

/// What the client of this application says of a lock.
fn info_of(world: &World, app: &str, key: &str) -> Outcome<serde_json::Value> {
    world.app(app)?.ask(serde_json::json!({"do": "info", "key": key}), soon())
}

fn knows(world: &mut World, args: &Args) -> Outcome<()> {
    let (holders, waiters) = (args.number(1)?, args.number(2)?);
    until(soon(), || {
        let info = info_of(world, args.text(0), args.text(3))?;
        let shown = info["holders"].as_array().map(Vec::len);
        let is = shown == Some(holders) && info["waiters"].as_u64() == u64::try_from(waiters).ok();
        ensure(is, || format!("the client knows {info}"))
    })
}

fn members(world: &mut World, args: &Args) -> Outcome<()> {
    let (count, acquisition) = (args.number(0)?, world.hold(args.text(1))?);
    let owner = acquisition.owner()?;
    let key = acquisition.keys.first().ok_or("it has no key")?;
    until(soon(), || {
        let shown = world.deployment()?.count_holding(key, owner);
        ensure(shown == count, || format!("{shown} servers show {owner} as a holder"))
    })
}

fn free_within(world: &mut World, args: &Args) -> Outcome<()> {
    let key = args.text(0);
    until(args.duration(1)?, || match world.deployment()?.info(key)? {
        None => Ok(()),
        Some(lock) => fail(format!("{key} is not free: {lock:?}")),
    })
}

fn not_free(world: &mut World, args: &Args) -> Outcome<()> {
    let lock = world.deployment()?.info(args.text(0))?;
    ensure(lock.is_some_and(|lock| lock.holders_count > 0), || format!("{} is free", args.text(0)))
}

fn mode(world: &mut World, args: &Args) -> Outcome<()> {
    let (key, mode, count) = (args.text(0), args.text(1), args.number(2)?);
    until(soon(), || {
        let lock = world.deployment()?.info(key)?;
        let is = |lock: &Lock| lock.mode == mode && usize::try_from(lock.holders_count) == Ok(count);
        ensure(lock.as_ref().is_some_and(is), || format!("{key}: {lock:?}"))
    })
}

fn waiting(world: &World, key: &str) -> Outcome<usize> {
    let lock = world.deployment()?.info(key)?;
    Ok(lock.and_then(|lock| usize::try_from(lock.waiters).ok()).unwrap_or(0))
}

fn waiters(world: &mut World, args: &Args) -> Outcome<()> {
    let (count, key) = (args.number(0)?, args.text(1));
    until(soon() * 2, || {
        let shown = waiting(world, key)?;
        ensure(shown == count, || format!("{shown} clients wait for {key}, and not {count}"))
    })
}

fn waiters_at_most(world: &mut World, args: &Args) -> Outcome<()> {
    let shown = waiting(world, args.text(1))?;
    ensure(shown <= args.number(0)?, || format!("{shown} clients wait for {}", args.text(1)))
}

/// The hold as LOCK.INFO shows it.
fn own(world: &World, hold: &str) -> Outcome<crate::judge::Hold> {
    let acquisition = world.hold(hold)?;
    let (owner, key) = (acquisition.owner()?, acquisition.keys.first().ok_or("it has no key")?);
    let lock = world.deployment()?.info(key)?.ok_or_else(|| format!("nobody holds {key}"))?;
    let found = lock.holders.into_iter().find(|holder| holder.owner == owner);
    found.ok_or_else(|| format!("{owner} does not hold {key}"))
}

fn weight(world: &mut World, args: &Args) -> Outcome<()> {
    let hold = own(world, args.text(0))?;
    ensure(usize::try_from(hold.weight) == Ok(args.number(1)?), || format!("it takes {} units", hold.weight))
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn bounded(world: &mut World, args: &Args) -> Outcome<()> {
    let (hold, most) = (own(world, args.text(0))?, millis(args.duration(1)?));
    ensure((1..=most).contains(&hold.max), || format!("max is {} ms", hold.max))
}

fn session(world: &mut World, args: &Args) -> Outcome<()> {
    let hold = own(world, args.text(0))?;
    ensure(hold.is_session, || format!("it is bound to none: {hold:?}"))
}

fn lease_up_to(world: &mut World, args: &Args) -> Outcome<()> {
    let (hold, most) = (own(world, args.text(0))?, millis(args.duration(1)?));
    ensure(hold.ttl <= most, || format!("the lease lasts {} ms", hold.ttl))
}

fn lease_above(world: &mut World, args: &Args) -> Outcome<()> {
    let least = millis(args.duration(1)?);
    until(soon(), || {
        let hold = own(world, args.text(0))?;
        ensure(hold.ttl > least, || format!("the lease lasts {} ms", hold.ttl))
    })
}

fn nothing(world: &mut World, args: &Args) -> Outcome<()> {
    nothing_is_left(world, args.duration(0)?)
}

/// How long nothing may come back, once nothing is left: a relay may have been slow, and a server alone is not.
const QUIET: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(700)];

/// The pause between two looks at all locks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until no server shows a holder or a waiter and no relay has anything under way, and watches that this stays so
/// for a moment: a request that was late would come then.
pub fn nothing_is_left(world: &World, within: Duration) -> Outcome<()> {
    let deployment = world.deployment()?;
    let quiet = QUIET[usize::from(deployment.relays().is_ok())];
    let mut quiet_since = None;
    let mut last = String::new();
    let done = poll(within + quiet, || {
        let held: Vec<String> =
            deployment.locks().into_iter().filter(|(_, row)| row.mode != "cooling").map(|(key, _)| key).collect();
        let waiters = deployment.waiters();
        let is_quiet = deployment.relays().map_or(true, |relays| relays.iter().all(support::Relay::is_quiet));
        std::thread::sleep(LOOK);
        last = format!("{} locks are held ({}), {waiters} clients wait", held.len(), held.join(", "));
        if !(held.is_empty() && waiters == 0 && is_quiet) {
            quiet_since = None;
            return None;
        }
        let since = *quiet_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= quiet).then_some(())
    });
    done.ok_or_else(|| format!("after {within:?} something is left: {last}"))
}

fn left_on_purpose(world: &mut World, _: &Args) -> Outcome<()> {
    world.leaves_locks = true;
    Ok(())
}

const CONNECTIONS: &str = "connections";

fn count_connections(world: &mut World, _: &Args) -> Outcome<()> {
    let count = world.deployment()?.connections_accepted();
    world.counted_from.insert(CONNECTIONS.to_owned(), count);
    Ok(())
}

fn since(world: &World, what: &str, now: i64) -> Outcome<i64> {
    let before = world.counted_from.get(what).ok_or_else(|| format!("no step counts {what}"))?;
    Ok(now - before)
}

fn connections_at_most(world: &mut World, args: &Args) -> Outcome<()> {
    let count = since(world, CONNECTIONS, world.deployment()?.connections_accepted())?;
    world.note(format!("{count} connections were opened"));
    ensure(usize::try_from(count).unwrap_or(0) <= args.number(0)?, || format!("{count} connections were opened"))
}

fn count_calls(world: &mut World, args: &Args) -> Outcome<()> {
    let count = world.deployment()?.calls(args.text(0));
    world.counted_from.insert(args.text(0).to_owned(), count);
    Ok(())
}

fn calls_at_most(world: &mut World, args: &Args) -> Outcome<()> {
    let (most, command) = (args.number(0)?, args.text(1));
    let count = since(world, command, world.deployment()?.calls(command))?;
    world.note(format!("{count} calls of {command}"));
    ensure(usize::try_from(count).unwrap_or(0) <= most, || format!("{count} calls of {command} were made"))
}

fn calls_at_least(world: &mut World, args: &Args) -> Outcome<()> {
    let (least, command) = (args.number(0)?, args.text(1));
    until(soon(), || {
        let count = since(world, command, world.deployment()?.calls(command))?;
        ensure(usize::try_from(count).unwrap_or(0) >= least, || format!("{count} calls of {command} were made"))
    })
}

const SEEN: &str = "lines of MONITOR";

fn seen(world: &World, word: &str) -> Outcome<i64> {
    let monitor = world.monitor.as_ref().ok_or("the server is not monitored")?;
    i64::try_from(monitor.seen(word).len()).map_err(|error| error.to_string())
}

fn watch(world: &mut World, args: &Args) -> Outcome<()> {
    let count = seen(world, args.text(0))?;
    world.counted_from.insert(SEEN.to_owned(), count);
    Ok(())
}

fn sees_again(world: &mut World, args: &Args) -> Outcome<()> {
    until(soon(), || {
        let count = since(world, SEEN, seen(world, args.text(0))?)?;
        ensure(count > 0, || format!("the server has not seen {} again", args.text(0)))
    })
}

fn one_owner(world: &mut World, args: &Args) -> Outcome<()> {
    let seen = world.monitor.as_ref().ok_or("the server is not monitored")?.seen("lock.acquire");
    let asks = seen.iter().filter(|seen| seen.words.get(1).is_some_and(|key| key == args.text(0)));
    let mut owners: Vec<&String> = asks.filter_map(|seen| seen.words.get(2)).collect();
    owners.sort();
    owners.dedup();
    ensure(owners.len() == 1, || format!("{} owners asked for {}: {owners:?}", owners.len(), args.text(0)))
}
