//! Steps about the relays before the servers.

use std::time::Duration;

use support::{Fault, Relay, Way};

use crate::definition::{step, Args, Definition};
use crate::outcome::{ensure, fail, until, Outcome};
use crate::world::{soon, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step(
            "the relay delays each {string} by {duration} to {duration}",
            "Commands of this name reach the server later, and what follows them on the same connection too.",
            delays,
        ),
        step("the relay keeps the next {string}", "The command waits in the relay.", keeps),
        step("the relay has kept it", "Waits until it is there.", has_kept),
        step("the relay lets it go", "The server gets it now.", lets_go),
        step("the relay drops the reply to the next {string}", "And closes the connection.", drops_reply),
        step(
            "the relay closes the connection of the next {string}",
            "The server does not get the command.",
            closes_next,
        ),
        step("the relay answers the next {int} {string} with {string}", "With this error.", answers),
        step(
            "the relay answers every {string} with {string}",
            "With this error, until the relay behaves.",
            answers_all,
        ),
        step("the relay has struck", "Waits until a planned fault has met a command.", has_struck),
        step("the relay behaves", "Ends all planned faults.", behaves),
        step("the relay holds what goes {way}", "Nothing passes in this direction; connections stay open.", holds),
        step("the relay stops", "Nothing passes in either direction; connections stay open.", stops),
        step("the relay goes on", "Everything passes, what came meanwhile as well.", goes_on),
        step("the relay refuses connections", "It closes new ones at once, and all that are open.", refuses),
        step("the relay accepts connections", "It does not.", accepts),
        step("the relay closes all connections", "Both ends see the end.", closes_all),
        step(
            "the relay half-closes all connections {way}",
            "The receiver sees the end; the other way stays open.",
            half_closes,
        ),
        step("relay {int} stops", "The relay before this member of the quorum.", one_stops),
        step(
            "at most {int} connections per {duration} were tried",
            "In any span of this length since the start of the scenario.",
            rate,
        ),
        step(
            "commands were struck at most {int} times, and not all at once",
            "So many of them met planned faults, and they are spread: no tenth of a second has half of them.",
            spread,
        ),
    ]
}

fn relays(world: &World) -> Outcome<&[Relay]> {
    world.deployment()?.relays()
}

fn each(world: &World, act: impl Fn(&Relay)) -> Outcome<()> {
    relays(world)?.iter().for_each(act);
    Ok(())
}

fn plan(world: &World, word: &str, times: Option<usize>, fault: &Fault) -> Outcome<()> {
    each(world, |relay| relay.plan(word, times, fault.clone()))
}

fn delays(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(0), None, &Fault::Delay(args.duration(1)?..args.duration(2)?))
}

fn keeps(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(0), Some(1), &Fault::Keep)
}

fn has_kept(world: &mut World, _: &Args) -> Outcome<()> {
    until(soon(), || {
        let kept: usize = relays(world)?.iter().map(Relay::kept).sum();
        ensure(kept > 0, || "the relay has kept nothing".to_owned())
    })
}

fn lets_go(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, Relay::let_go)
}

fn drops_reply(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(0), Some(1), &Fault::DropReply)
}

fn closes_next(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(0), Some(1), &Fault::Close)
}

fn answers(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(1), Some(args.number(0)?), &Fault::Refuse(args.text(2).to_owned()))
}

fn answers_all(world: &mut World, args: &Args) -> Outcome<()> {
    plan(world, args.text(0), None, &Fault::Refuse(args.text(1).to_owned()))
}

fn has_struck(world: &mut World, _: &Args) -> Outcome<()> {
    until(soon(), || {
        let struck: usize = relays(world)?.iter().map(|relay| relay.struck().len()).sum();
        ensure(struck > 0, || "no command has met a planned fault".to_owned())
    })
}

fn behaves(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, Relay::forget_plans)
}

fn way(text: &str) -> Outcome<Way> {
    match text {
        "to the server" => Ok(Way::ToServer),
        "to the client" => Ok(Way::ToClient),
        _ => fail(format!("'{text}' is no direction")),
    }
}

fn holds(world: &mut World, args: &Args) -> Outcome<()> {
    let way = way(args.text(0))?;
    each(world, |relay| relay.hold(way))
}

fn stop(relay: &Relay) {
    relay.hold(Way::ToServer);
    relay.hold(Way::ToClient);
}

fn stops(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, stop)
}

fn goes_on(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, Relay::resume)
}

fn refuses(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, |relay| {
        relay.refuse(true);
        relay.close_all();
    })
}

fn accepts(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, |relay| relay.refuse(false))
}

fn closes_all(world: &mut World, _: &Args) -> Outcome<()> {
    each(world, Relay::close_all)
}

fn half_closes(world: &mut World, args: &Args) -> Outcome<()> {
    let way = way(args.text(0))?;
    each(world, |relay| relay.half_close(way))
}

fn one_stops(world: &mut World, args: &Args) -> Outcome<()> {
    let number = args.number(0)?;
    let relay = number.checked_sub(1).and_then(|n| relays(world).ok()?.get(n));
    stop(relay.ok_or_else(|| format!("there is no relay {number}"))?);
    Ok(())
}

/// The most moments, which are sorted, that lie within one span of this length.
fn most_within(span: Duration, moments: &[std::time::Instant]) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (to, last) in moments.iter().enumerate() {
        while moments.get(from).is_some_and(|first| last.duration_since(*first) > span) {
            from += 1;
        }
        most = most.max(to + 1 - from);
    }
    most
}

fn rate(world: &mut World, args: &Args) -> Outcome<()> {
    let (most, span) = (args.number(0)?, args.duration(1)?);
    let mut tried: Vec<_> = relays(world)?.iter().flat_map(Relay::opened).collect();
    tried.sort();
    let count = most_within(span, &tried);
    world.note(format!("at most {count} connections per {span:?} were tried"));
    ensure(count <= most, || format!("{count} connections within {span:?} were tried"))
}

/// A tenth of a second: what a person would call at once.
const AT_ONCE: Duration = Duration::from_millis(100);

fn spread(world: &mut World, args: &Args) -> Outcome<()> {
    let most = args.number(0)?;
    let mut struck: Vec<_> = relays(world)?.iter().flat_map(Relay::struck).collect();
    struck.sort();
    let crowd = most_within(AT_ONCE, &struck);
    world.note(format!("{} commands were refused, at most {crowd} in {AT_ONCE:?}", struck.len()));
    ensure(struck.len() <= most, || format!("{} commands met planned faults", struck.len()))?;
    ensure(crowd * 2 <= struck.len(), || format!("{crowd} of {} came within {AT_ONCE:?}", struck.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn crowds_are_counted_in_every_span() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let moments = [at(0), at(90), at(150), at(180), at(500)];
        assert_eq!(most_within(Duration::from_millis(100), &moments), 3);
        assert_eq!(most_within(Duration::from_secs(9), &moments), 5);
        assert_eq!(most_within(Duration::ZERO, &[]), 0);
    }
}
