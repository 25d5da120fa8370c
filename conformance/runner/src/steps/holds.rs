//! Steps about requests for locks, and what the client says of them.

use serde_json::{json, Value};

use super::options::{ms, request};
use crate::definition::{step, Args, Definition};
use crate::driver::Refusal;
use crate::outcome::{ensure, fail, Outcome};
use crate::world::{soon, Acquisition, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step(
            "{app} acquires {keys} as {hold}{options}",
            "Requests the lock, or several together, and waits for the grant. The fences must be those that the \
             server shows.",
            acquires,
        ),
        step("{app} starts to acquire {keys} as {hold}{options}", "Requests without waiting.", starts_to_acquire),
        step("{app} acquires {keys} as {hold}{options} and gets {kind}", "The request must end with this error.", gets),
        step("{hold} is granted within {duration}", "Waits for the grant.", is_granted),
        step("{hold} is still requested", "The request has not been answered.", is_pending),
        step("{hold} ends with {kind} within {duration}", "Waits for this error.", ends_with),
        step("{hold} ends with {kind} and {string} within {duration}", "Its text must say this.", ends_saying),
        step("{app} cancels {hold}", "Cancels the request, which must end as `cancelled` soon.", cancels),
        step(
            "{app} cancels {hold} within {duration}",
            "The request must end as `cancelled` in this time.",
            cancels_within,
        ),
        step("{app} releases {hold}", "Releases.", releases),
        step("{app} releases {hold} within {duration}", "The answer must come within this time.", releases_within),
        step("{app} releases {hold} and gets {kind}", "The release must be refused so.", release_gets),
        step("{app} releases {hold} and lets it cool for {duration}", "Releases with `cool_ms`.", cools),
        step("{app} extends {hold} to {duration}", "Gives the hold a new lease.", extends),
        step("{app} extends {hold} to {duration} and gets {kind}", "That must be refused so.", extend_gets),
        step("{app} downgrades {hold}", "Makes an exclusive hold a shared one.", downgrades),
        step("{app} believes that it holds {hold}", "The answer to `held` is yes.", believes),
        step("{app} does not believe that it holds {hold}", "The first answer to `held` is no.", does_not_believe),
        step("{app} asks the server about {hold} and gets {kind}", "`check` says `held` or `lost`.", asks),
        step("{app} is told of the loss of {hold} within {duration}", "Waits for the event.", is_told),
        step("{app} has not been told of a loss", "No event `lost` has come.", is_not_told),
        step("{hold} and {hold} have one owner", "Both acquisitions show the server the same owner.", one_owner),
        step("{hold} and {hold} have different owners", "They do not.", two_owners),
        step("the fence of {hold} is above the one of {hold}", "The server granted it later.", is_above),
        step(
            "{hold} writes to {string}",
            "A resource takes the write: the fence is not below one it has seen.",
            writes,
        ),
        step("{hold} cannot write to {string}", "The resource refuses the write of an old fence.", cannot_write),
    ]
}

fn send(world: &mut World, args: &Args) -> Outcome<()> {
    let (app, keys, hold) = (args.text(0).to_owned(), args.list(1), args.text(2).to_owned());
    let body = request(&keys, &hold, args.text(3))?;
    let id = world.app(&app)?.send(body)?;
    world.holds.insert(hold, Acquisition { app, keys, request: id, answer: None });
    Ok(())
}

fn starts_to_acquire(world: &mut World, args: &Args) -> Outcome<()> {
    send(world, args)
}

fn acquires(world: &mut World, args: &Args) -> Outcome<()> {
    send(world, args)?;
    granted(world, args.text(2), soon())?;
    super::judging::is_held(world, args.text(2))
}

fn is_granted(world: &mut World, args: &Args) -> Outcome<()> {
    granted(world, args.text(0), args.duration(1)?)
}

fn granted(world: &mut World, hold: &str, within: std::time::Duration) -> Outcome<()> {
    let answer = world.answer_of(hold, within)?;
    answer.result.map_err(|it| format!("{hold} was not granted: {}: {}", it.kind, it.message))?;
    world.hold(hold)?.fences()?;
    world.hold(hold)?.owner().map(drop)
}

fn is_pending(world: &mut World, args: &Args) -> Outcome<()> {
    let acquisition = world.hold(args.text(0))?;
    match world.app(&acquisition.app)?.answer(acquisition.request) {
        None => Ok(()),
        Some(answer) => fail(format!("{} was answered with {:?}", args.text(0), answer.result)),
    }
}

fn gets(world: &mut World, args: &Args) -> Outcome<()> {
    send(world, args)?;
    refused(world, args.text(2), args.text(4), soon()).map(drop)
}

fn ends_with(world: &mut World, args: &Args) -> Outcome<()> {
    refused(world, args.text(0), args.text(1), args.duration(2)?).map(drop)
}

fn ends_saying(world: &mut World, args: &Args) -> Outcome<()> {
    let refusal = refused(world, args.text(0), args.text(1), args.duration(3)?)?;
    let text = args.text(2);
    ensure(refusal.message.contains(text), || format!("the message does not say '{text}': {}", refusal.message))
}

/// Whether the error is of this kind, or of one of several with `or` between them.
fn is_one_of(refusal: &Refusal, kinds: &str) -> bool {
    kinds.split(" or ").any(|kind| kind == refusal.kind)
}

fn refused(world: &mut World, hold: &str, kind: &str, within: std::time::Duration) -> Outcome<Refusal> {
    match world.answer_of(hold, within)?.result {
        Err(refusal) if is_one_of(&refusal, kind) => Ok(refusal),
        Err(refusal) => fail(format!("{hold} ended with {} and not {kind}: {}", refusal.kind, refusal.message)),
        Ok(ok) => fail(format!("{hold} was granted and not refused with {kind}: {ok}")),
    }
}

fn cancels(world: &mut World, args: &Args) -> Outcome<()> {
    cancel(world, args, soon())
}

fn cancels_within(world: &mut World, args: &Args) -> Outcome<()> {
    cancel(world, args, args.duration(2)?)
}

fn cancel(world: &mut World, args: &Args, within: std::time::Duration) -> Outcome<()> {
    let request = world.hold(args.text(1))?.request;
    world.app(args.text(0))?.send(json!({"do": "cancel", "request": request}))?;
    refused(world, args.text(1), "cancelled", within).map(drop)
}

fn ask(world: &World, args: &Args, request: Value, within: std::time::Duration) -> Outcome<Result<Value, Refusal>> {
    let app = world.app(args.text(0))?;
    let id = app.send(request)?;
    Ok(app.wait(id, within)?.result)
}

fn done(what: &str, result: Result<Value, Refusal>) -> Outcome<()> {
    result.map(drop).map_err(|it| format!("{what}: {}: {}", it.kind, it.message))
}

fn refused_with(what: &str, kind: &str, result: Result<Value, Refusal>) -> Outcome<()> {
    match result {
        Err(refusal) if is_one_of(&refusal, kind) => Ok(()),
        other => fail(format!("{what} did not get {kind}, but {other:?}")),
    }
}

fn releases(world: &mut World, args: &Args) -> Outcome<()> {
    done("release", ask(world, args, json!({"do": "release", "hold": args.text(1)}), soon())?)
}

fn releases_within(world: &mut World, args: &Args) -> Outcome<()> {
    done("release", ask(world, args, json!({"do": "release", "hold": args.text(1)}), args.duration(2)?)?)
}

fn release_gets(world: &mut World, args: &Args) -> Outcome<()> {
    let result = ask(world, args, json!({"do": "release", "hold": args.text(1)}), soon())?;
    refused_with("release", args.text(2), result)
}

fn cools(world: &mut World, args: &Args) -> Outcome<()> {
    let request = json!({"do": "release", "hold": args.text(1), "cool_ms": ms(args.duration(2)?)});
    done("release", ask(world, args, request, soon())?)
}

fn extension(args: &Args) -> Outcome<Value> {
    Ok(json!({"do": "extend", "hold": args.text(1), "lease_ms": ms(args.duration(2)?)}))
}

fn extends(world: &mut World, args: &Args) -> Outcome<()> {
    done("extend", ask(world, args, extension(args)?, soon())?)
}

fn extend_gets(world: &mut World, args: &Args) -> Outcome<()> {
    refused_with("extend", args.text(3), ask(world, args, extension(args)?, soon())?)
}

fn downgrades(world: &mut World, args: &Args) -> Outcome<()> {
    done("downgrade", ask(world, args, json!({"do": "downgrade", "hold": args.text(1)}), soon())?)
}

fn belief(world: &World, app: &str, hold: &str) -> Outcome<bool> {
    let answer = world.app(app)?.ask(json!({"do": "held", "hold": hold}), soon())?;
    answer["held"].as_bool().ok_or_else(|| format!("held: {answer}"))
}

fn believes(world: &mut World, args: &Args) -> Outcome<()> {
    let held = belief(world, args.text(0), args.text(1))?;
    ensure(held, || format!("{} does not believe that it holds {}", args.text(0), args.text(1)))
}

fn does_not_believe(world: &mut World, args: &Args) -> Outcome<()> {
    let held = belief(world, args.text(0), args.text(1))?;
    ensure(!held, || format!("{} believes that it holds {}", args.text(0), args.text(1)))
}

fn asks(world: &mut World, args: &Args) -> Outcome<()> {
    let expected = match args.text(2) {
        "held" => true,
        "lost" => false,
        other => return fail(format!("check says 'held' or 'lost', not '{other}'")),
    };
    match ask(world, args, json!({"do": "check", "hold": args.text(1)}), soon())? {
        Ok(answer) => ensure(answer["held"] == expected, || format!("check answered {answer}")),
        Err(refusal) if !expected && refusal.kind == "not-held" => Ok(()),
        Err(refusal) => fail(format!("check: {}: {}", refusal.kind, refusal.message)),
    }
}

fn is_told(world: &mut World, args: &Args) -> Outcome<()> {
    let (hold, within) = (args.text(1), args.duration(2)?);
    let event = world.app(args.text(0))?.until_event(within, |event| event.is("lost", "hold", hold));
    let event = event.ok_or_else(|| format!("{} was not told of the loss within {within:?}", args.text(0)))?;
    if let Some(acted) = world.acted {
        let took = event.at.saturating_duration_since(acted);
        world.note(format!("the loss was told after {} ms", took.as_millis()));
    }
    Ok(())
}

fn is_not_told(world: &mut World, args: &Args) -> Outcome<()> {
    let events = world.app(args.text(0))?.events();
    match events.iter().find(|event| event.body["event"] == "lost") {
        None => Ok(()),
        Some(event) => fail(format!("{} was told of a loss: {}", args.text(0), event.body)),
    }
}

fn one_owner(world: &mut World, args: &Args) -> Outcome<()> {
    let owners = [world.hold(args.text(0))?.owner()?, world.hold(args.text(1))?.owner()?];
    ensure(owners[0] == owners[1], || format!("the owners differ: {owners:?}"))
}

fn two_owners(world: &mut World, args: &Args) -> Outcome<()> {
    let owners = [world.hold(args.text(0))?.owner()?, world.hold(args.text(1))?.owner()?];
    ensure(owners[0] != owners[1], || format!("the owners are the same: {owners:?}"))
}

fn fence(world: &World, hold: &str) -> Outcome<i64> {
    world.hold(hold)?.fences()?.into_iter().max().ok_or_else(|| format!("{hold} has no fence"))
}

fn is_above(world: &mut World, args: &Args) -> Outcome<()> {
    let (higher, lower) = (fence(world, args.text(0))?, fence(world, args.text(1))?);
    ensure(higher > lower, || format!("the fence {higher} is not above {lower}"))
}

/// Whether the resource takes a write with this fence.
fn write(world: &mut World, resource: &str, fence: i64) -> bool {
    let seen = world.resources.entry(resource.to_owned()).or_insert(0);
    let takes = fence >= *seen;
    *seen = fence.max(*seen);
    takes
}

fn writes(world: &mut World, args: &Args) -> Outcome<()> {
    let fence = fence(world, args.text(0))?;
    let taken = write(world, args.text(1), fence);
    ensure(taken, || format!("the resource {} refused the fence {fence}", args.text(1)))
}

fn cannot_write(world: &mut World, args: &Args) -> Outcome<()> {
    let fence = fence(world, args.text(0))?;
    let taken = write(world, args.text(1), fence);
    ensure(!taken, || format!("the resource {} took the fence {fence}", args.text(1)))
}
