//! Steps about many waits, many cancellations and many workers for one lock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{args, Chance};

use super::options::{ms, request};
use crate::definition::{step, Args, Definition};
use crate::driver::{Answer, Driver};
use crate::outcome::{ensure, fail, until, Outcome};
use crate::world::{soon, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step("{app} starts {int} waits for {string}{options}", "Requests it so many times without waiting.", starts),
        step(
            "the waits of {app} are granted one after the other within {duration}",
            "Each is released when it is granted. The fences rise.",
            granted_in_turn,
        ),
        step("{app} cancels all waits within {duration}", "Each must end as `cancelled` in this time.", cancels_all),
        step("the waits of {app} end with {kind} within {duration}", "All of them.", end_with),
        step(
            "{app} cancels {int} acquisitions of {string} at random moments up to {duration}",
            "Requests `<name>0`, `<name>1`, ..., 25 at the same time, half of which are taken by others for a random \
             time. Cancels each at a random moment, and releases those that were granted before.",
            cancels_at_random,
        ),
        step(
            "{int} workers of {app} use {string} for {duration}",
            "Each acquires, writes to a resource that checks fences, and releases, again and again. No two are inside \
             at once, and no write is refused.",
            workers,
        ),
        step("{int} workers got at least half the grants of {int}", "Compares two such steps.", at_least_half),
        step(
            "applications {apps} are granted {string} in the order in which they ask",
            "The operator holds it while one after the other asks, and releases it. Each releases when it is granted.",
            in_order,
        ),
    ]
}

/// The name of a hold among many.
fn wait_name(n: usize) -> String {
    format!("wait{n}")
}

fn starts(world: &mut World, args: &Args) -> Outcome<()> {
    let (app, count, key) = (args.text(0), args.number(1)?, args.text(2).to_owned());
    let make = |n| request(std::slice::from_ref(&key), &wait_name(n), args.text(3));
    let requests = (0..count).map(make).collect::<Outcome<_>>()?;
    let ids = world.app(app)?.send_all(requests)?;
    for (n, id) in ids.into_iter().enumerate() {
        world.requests.insert(wait_name(n), (app.to_owned(), id));
    }
    Ok(())
}

/// The waits of this application that have not been looked at yet: their names and ids.
fn waits(world: &World, app: &str) -> Vec<(String, u64)> {
    let is_wait = |name: &String, owner: &String| name.starts_with("wait") && owner == app;
    let all = world.requests.iter().filter(|(name, (owner, _))| is_wait(name, owner));
    let mut waits: Vec<_> = all.map(|(name, (_, id))| (name.clone(), *id)).collect();
    waits.sort_by_key(|(_, id)| *id);
    waits
}

fn granted_in_turn(world: &mut World, args: &Args) -> Outcome<()> {
    let end = Instant::now() + args.duration(1)?;
    let app = world.app(args.text(0))?;
    let mut open = waits(world, args.text(0));
    let mut last = 0;
    while !open.is_empty() {
        ensure(Instant::now() < end, || format!("{} waits have not been granted", open.len()))?;
        let Some(n) = open.iter().position(|(_, id)| app.answer(*id).is_some()) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (name, id) = open.remove(n);
        let ok = app.wait(id, Duration::ZERO)?.result;
        let ok = ok.map_err(|it| format!("{name} was not granted: {}: {}", it.kind, it.message))?;
        let fence = ok["fence"].as_i64().ok_or_else(|| format!("{name}: the driver did not name the fence"))?;
        ensure(fence > last, || format!("{name}: the fence {fence} is not above {last}"))?;
        last = fence;
        app.ask(json!({"do": "release", "hold": name}), soon())?;
    }
    world.requests.retain(|name, _| !name.starts_with("wait"));
    Ok(())
}

fn cancels_all(world: &mut World, args: &Args) -> Outcome<()> {
    let within = args.duration(1)?;
    let app = world.app(args.text(0))?;
    let open = waits(world, args.text(0));
    let begun = Instant::now();
    app.send_all(open.iter().map(|(_, id)| json!({"do": "cancel", "request": id})).collect())?;
    for (name, id) in open {
        let left = within.saturating_sub(begun.elapsed());
        match app.wait(id, left)?.result {
            Err(refusal) if refusal.kind == "cancelled" => {}
            other => return fail(format!("{name} was cancelled, and ended with {other:?}")),
        }
    }
    world.requests.retain(|name, _| !name.starts_with("wait"));
    Ok(())
}

fn end_with(world: &mut World, args: &Args) -> Outcome<()> {
    let (kind, within) = (args.text(1), args.duration(2)?);
    let app = world.app(args.text(0))?;
    let begun = Instant::now();
    for (name, id) in waits(world, args.text(0)) {
        let left = within.saturating_sub(begun.elapsed());
        match app.wait(id, left)?.result {
            Err(refusal) if refusal.kind == kind => {}
            other => return fail(format!("{name} ended with {other:?}")),
        }
    }
    world.requests.retain(|name, _| !name.starts_with("wait"));
    Ok(())
}

/// How many acquisitions are cancelled at the same time.
const AT_ONCE: usize = 25;

/// The seed of the random moments, so that a run can be repeated.
const SEED: u64 = 42;

fn cancels_at_random(world: &mut World, args: &Args) -> Outcome<()> {
    let (count, prefix, most) = (args.number(1)?, args.text(2), args.duration(3)?);
    let app = world.app(args.text(0))?;
    let mut chance = Chance::new(SEED);
    let most = usize::try_from(ms(most)).unwrap_or(usize::MAX).max(1);
    let mut cancelled = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let names: Vec<String> = (first..count.min(first + AT_ONCE)).map(|n| format!("{prefix}{n}")).collect();
        for name in names.iter().step_by(2) {
            let server = world.deployment()?.primary()?;
            server.cmd(&args!["LOCK.ACQUIRE", name, "another", "PX", 1 + chance.below(2 * most)]);
        }
        let make = |name: &String| request(std::slice::from_ref(name), name, "");
        let ids = app.send_all(names.iter().map(make).collect::<Outcome<_>>()?)?;
        let mut moments: Vec<_> = ids.iter().map(|id| (chance.below(most) as u64, *id)).collect();
        moments.sort_unstable();
        let begun = Instant::now();
        for (moment, id) in moments {
            std::thread::sleep(Duration::from_millis(moment).saturating_sub(begun.elapsed()));
            app.send(json!({"do": "cancel", "request": id}))?;
        }
        let answers = ids.iter().map(|id| app.wait(*id, soon())).collect::<Outcome<Vec<Answer>>>()?;
        for (name, answer) in names.iter().zip(answers) {
            cancelled += usize::from(end_cancelled(app, name, answer)?);
        }
    }
    world.note(format!("{cancelled} of {count} acquisitions ended as cancelled, the others were granted before"));
    ensure(cancelled * 8 >= count, || format!("only {cancelled} of {count} were cancelled, which proves little"))
}

/// Whether it was cancelled. If it was granted before, it is released.
fn end_cancelled(app: &Driver, name: &str, answer: Answer) -> Outcome<bool> {
    match answer.result {
        Ok(_) => app.ask(json!({"do": "release", "hold": name}), soon()).map(|_| false),
        Err(refusal) if refusal.kind == "cancelled" => Ok(true),
        Err(refusal) => fail(format!("{name} was cancelled and ended with {}: {}", refusal.kind, refusal.message)),
    }
}

/// What workers do to the resource: at most one is inside, and fences rise.
#[derive(Default)]
struct Resource {
    inside: Option<usize>,
    fence: i64,
    writes: i64,
}

fn workers(world: &mut World, args: &Args) -> Outcome<()> {
    let (count, key, time) = (args.number(0)?, args.text(2), args.duration(3)?);
    let app = world.app(args.text(1))?;
    let resource = Mutex::new(Resource::default());
    let end = Instant::now() + time;
    let work = |worker: usize| -> Outcome<()> {
        let name = format!("worker{worker}");
        while Instant::now() < end {
            let id = app.send(request(&[key.to_owned()], &name, ", timeout 60 s")?)?;
            let ok = app.wait(id, soon() * 6)?.result.map_err(|it| format!("{name}: {}: {}", it.kind, it.message))?;
            let fence = ok["fence"].as_i64().ok_or("the driver did not name the fence")?;
            enter(&resource, worker, fence)?;
            resource.lock().unwrap_or_else(PoisonError::into_inner).inside = None;
            app.ask(json!({"do": "release", "hold": name}), soon())?;
        }
        Ok(())
    };
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|worker| scope.spawn(move || work(worker))).collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| fail("a worker panicked")));
        ends.collect::<Outcome<()>>()
    })?;
    let writes = resource.into_inner().unwrap_or_else(PoisonError::into_inner).writes;
    world.note(format!("{count} workers got {writes} grants in {time:?}"));
    world.counted_from.insert(format!("grants of {count}"), writes);
    ensure(writes > 0, || "no worker was granted the lock".to_owned())
}

fn enter(resource: &Mutex<Resource>, worker: usize, fence: i64) -> Outcome<()> {
    let mut resource = resource.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(other) = resource.inside {
        return fail(format!("worker {worker} came in with fence {fence} while worker {other} was inside"));
    }
    if fence <= resource.fence {
        return fail(format!("the resource refused fence {fence}: it has seen {}", resource.fence));
    }
    *resource = Resource { inside: Some(worker), fence, writes: resource.writes + 1 };
    Ok(())
}

fn at_least_half(world: &mut World, args: &Args) -> Outcome<()> {
    let grants = |n: usize| -> Outcome<i64> {
        let count = args.number(n)?;
        world.counted_from.get(&format!("grants of {count}")).copied().ok_or_else(|| format!("no {count} workers"))
    };
    let (many, few) = (grants(0)?, grants(1)?);
    ensure(many * 2 >= few, || format!("{many} grants are less than half of {few}"))
}

fn in_order(world: &mut World, args: &Args) -> Outcome<()> {
    let (names, key) = (args.list(0), args.text(1));
    let server = world.deployment()?.primary()?;
    ensure(server.cmd(&["LOCK.ACQUIRE", key, "before", "PX", "600000"]).opt_int().is_some(), || {
        format!("{key} is taken")
    })?;
    let mut asked = Vec::new();
    for (n, name) in names.iter().enumerate() {
        asked.push((name, world.app(name)?.send(request(&[key.to_owned()], "turn", "")?)?));
        until(soon(), || {
            let waiting = world.deployment()?.info(key)?.map_or(0, |lock| lock.waiters);
            ensure(usize::try_from(waiting) == Ok(n + 1), || format!("{waiting} clients wait, and not {}", n + 1))
        })?;
    }
    server.cmd(&["LOCK.RELEASE", key, "before"]);
    let mut fences = Vec::new();
    for (n, (name, id)) in asked.iter().enumerate() {
        let app = world.app(name)?;
        let ok = app.wait(*id, soon())?.result.map_err(|it| format!("{name}: {}: {}", it.kind, it.message))?;
        fences.push(ok["fence"].as_i64().ok_or("the driver did not name the fence")?);
        let early =
            asked.iter().skip(n + 1).find(|(name, id)| world.app(name).is_ok_and(|it| it.answer(*id).is_some()));
        ensure(early.is_none(), || format!("{early:?} was answered before its turn"))?;
        app.ask(json!({"do": "release", "hold": "turn"}), soon())?;
    }
    ensure(fences.is_sorted(), || format!("the fences do not rise: {fences:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_refuses_old_fences_and_a_second_worker() {
        let resource = Mutex::new(Resource::default());
        enter(&resource, 1, 10).unwrap();
        assert!(enter(&resource, 2, 11).unwrap_err().contains("while worker 1 was inside"));
        resource.lock().unwrap().inside = None;
        assert!(enter(&resource, 2, 10).unwrap_err().contains("it has seen 10"));
        enter(&resource, 2, 11).unwrap();
    }
}
