//! Steps about many locks.

use std::time::{Duration, Instant};

use serde_json::json;

use super::options::request;
use crate::definition::{step, Args, Definition};
use crate::outcome::{ensure, fail, until, Outcome};
use crate::world::{soon, World};

/// How long thousands of requests may take on a busy machine.
const MANY: Duration = Duration::from_secs(90);

pub fn steps() -> Vec<Definition> {
    vec![
        step(
            "{app} acquires {int} locks {string}{options}",
            "Requests `<name>0`, `<name>1`, ... at the same time, and waits for all grants.",
            acquires,
        ),
        step(
            "{app} starts to acquire {int} locks {string}, one every {duration}",
            "Requests `<name>0`, `<name>1`, ... without waiting, with this time between two requests.",
            starts_to_acquire,
        ),
        step("all {int} locks {string} are granted within {duration}", "Waits for these grants.", all_granted),
        step(
            "all {int} locks {string} are held as they were granted",
            "LOCK.LIST shows each with its fence.",
            all_held,
        ),
        step("{app} believes that it holds all {int} locks {string}", "The answers to `held` are yes.", believes),
        step("{app} releases all {int} locks {string}", "At the same time.", releases),
        step(
            "{app} acquires and releases {int} locks {string}, one after the other",
            "Each is released before the next is requested.",
            one_after_the_other,
        ),
        step("{app} acquires and releases {string} {int} times", "The same lock again and again.", again),
    ]
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> + '_ {
    (0..count).map(move |n| format!("{prefix}{n}"))
}

fn acquires(world: &mut World, args: &Args) -> Outcome<()> {
    let app = world.app(args.text(0))?;
    let keys: Vec<String> = names(args.text(2), args.number(1)?).collect();
    let make = |key: &String| request(std::slice::from_ref(key), key, args.text(3));
    let ids = app.send_all(keys.iter().map(make).collect::<Outcome<_>>()?)?;
    let mut granted = Vec::with_capacity(keys.len());
    for (key, id) in keys.into_iter().zip(ids) {
        let ok = app.wait(id, MANY)?.result.map_err(|it| format!("{key}: {}: {}", it.kind, it.message))?;
        let fence = ok["fence"].as_i64().ok_or_else(|| format!("{key}: the driver did not name the fence"))?;
        granted.push((key, fence));
    }
    world.bulk.extend(granted);
    Ok(())
}

fn starts_to_acquire(world: &mut World, args: &Args) -> Outcome<()> {
    let pause = args.duration(3)?;
    for key in names(args.text(2), args.number(1)?) {
        let id = world.app(args.text(0))?.send(request(std::slice::from_ref(&key), &key, "")?)?;
        world.requests.insert(key, (args.text(0).to_owned(), id));
        std::thread::sleep(pause);
    }
    Ok(())
}

fn all_granted(world: &mut World, args: &Args) -> Outcome<()> {
    let (begun, within) = (Instant::now(), args.duration(2)?);
    for key in names(args.text(1), args.number(0)?) {
        let (app, id) = world.requests.get(&key).ok_or_else(|| format!("nobody has asked for {key}"))?;
        let answer = world.app(app)?.wait(*id, within.saturating_sub(begun.elapsed()))?;
        let ok = answer.result.map_err(|it| format!("{key}: {}: {}", it.kind, it.message))?;
        let fence = ok["fence"].as_i64().ok_or_else(|| format!("{key}: the driver did not name the fence"))?;
        world.bulk.insert(key, fence);
    }
    Ok(())
}

fn all_held(world: &mut World, args: &Args) -> Outcome<()> {
    let locks = world.deployment()?.locks();
    let mut lost = Vec::new();
    for key in names(args.text(1), args.number(0)?) {
        let fence = world.bulk.get(&key).ok_or_else(|| format!("nobody has acquired {key}"))?;
        if locks.get(&key).map(|row| row.fence) != Some(*fence) {
            lost.push(key);
        }
    }
    ensure(lost.is_empty(), || format!("{} holds were lost, such as {:?}", lost.len(), lost.first()))
}

fn each(world: &World, args: &Args, what: &str) -> Outcome<Vec<serde_json::Value>> {
    let app = world.app(args.text(0))?;
    let requests = names(args.text(2), args.number(1)?).map(|name| json!({"do": what, "hold": name})).collect();
    let mut answers = Vec::new();
    for id in app.send_all(requests)? {
        let answer = app.wait(id, MANY)?;
        answers.push(answer.result.map_err(|it| format!("{what}: {}: {}", it.kind, it.message))?);
    }
    Ok(answers)
}

fn believes(world: &mut World, args: &Args) -> Outcome<()> {
    let lost = each(world, args, "held")?.iter().filter(|answer| answer["held"] != true).count();
    ensure(lost == 0, || format!("the client does not believe in {lost} of its holds"))
}

fn releases(world: &mut World, args: &Args) -> Outcome<()> {
    each(world, args, "release")?;
    until(soon(), || {
        let locks = world.deployment()?.locks();
        let left = names(args.text(2), args.number(1)?).filter(|key| locks.contains_key(key)).count();
        ensure(left == 0, || format!("{left} locks are still held"))
    })
}

fn use_once(world: &World, app: &str, key: &str) -> Outcome<i64> {
    let app = world.app(app)?;
    let ok = app.ask(request(&[key.to_owned()], "one", ", timeout 10 s")?, soon())?;
    app.ask(json!({"do": "release", "hold": "one"}), soon())?;
    ok["fence"].as_i64().ok_or_else(|| format!("{key}: the driver did not name the fence"))
}

fn one_after_the_other(world: &mut World, args: &Args) -> Outcome<()> {
    names(args.text(2), args.number(1)?).try_for_each(|key| use_once(world, args.text(0), &key).map(drop))
}

fn again(world: &mut World, args: &Args) -> Outcome<()> {
    let mut last = 0;
    for _ in 0..args.number(2)? {
        let fence = use_once(world, args.text(0), args.text(1))?;
        if fence <= last {
            return fail(format!("the fence {fence} is not above {last}"));
        }
        last = fence;
    }
    Ok(())
}
