//! Steps about the servers, and what an operator does there.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{args, poll, Server, Value};

use crate::definition::{step, Args, Definition};
use crate::deployment::{Deployment, Kind, Servers};
use crate::monitor::Monitor;
use crate::outcome::{ensure, fail, until, Outcome};
use crate::world::{soon, World};

/// The owner of the locks that the runner itself takes.
const OPERATOR: &str = "operator";

pub fn steps() -> Vec<Definition> {
    vec![
        step("a single server", "Starts one server. Each row of a table below is a line of its configuration.", single),
        step("a single server behind a relay", "The same, and applications reach it through a relay.", relayed),
        step("a primary with a replica", "Starts a server and a replica of it.", replicated),
        step("a primary with a replica and Sentinels", "Starts both, and three Sentinels that watch them.", sentinel),
        step("a cluster", "Starts three primaries with a replica each.", cluster),
        step("a quorum of {int} servers", "Starts independent servers.", quorum),
        step("a quorum of {int} servers behind relays", "The same, each behind a relay.", relayed_quorum),
        step("the server is monitored", "Records from now on what the server runs (MONITOR).", monitored),
        step("the operator holds {string}", "Takes the lock for ten minutes, as the owner `operator`.", operator_holds),
        step("the operator releases {string}", "Releases it.", operator_releases),
        step("the operator runs {string}", "Runs a command, with spaces between its words, on every primary.", runs),
        step("the operator runs {string} at the primary of {string}", "On one node of a cluster.", runs_at),
        step("the server stops for {duration}", "SIGSTOP; SIGCONT after this time.", stops_for),
        step("the primary stops", "SIGSTOP of the primary: it hangs, and its connections stay open.", primary_stops),
        step("the primary of {string} stops", "SIGSTOP of the cluster's node that has this key.", node_stops),
        step("the primary dies", "SIGKILL of the primary.", primary_dies),
        step("the primary of {string} dies", "SIGKILL of the cluster's node that has this key.", node_dies),
        step("the server starts again", "Starts the server that died, without its data.", starts_again),
        step("the replica stops", "SIGSTOP of the replica.", replica_stops),
        step("the stopped servers go on", "SIGCONT of all servers that are stopped.", go_on),
        step("server {int} stops", "SIGSTOP of this member of the quorum, counted from 1.", member_stops),
        step("server {int} dies", "SIGKILL of this member of the quorum.", member_dies),
        step("server {int} starts again", "Starts this member of the quorum, without its data.", member_starts),
        step("another server is the primary of {string}", "Waits until it takes writes for this key.", promoted),
        step("the slot of {string} moves to another node", "Moves it with all its keys.", slot_moves),
        step("the client's own fake", "No servers, but the in-memory fake that the client has for users' tests.", fake),
        step("{duration} pass(es)", "Lets this time pass. For what must not happen meanwhile.", passes),
    ]
}

fn start(world: &mut World, kind: Kind, args: &Args, behind_relays: bool) -> Outcome<()> {
    ensure(world.deployment.is_none(), || "the scenario has servers already".to_owned())?;
    let lines: Vec<String> = args.table.iter().map(|row| row.join(" ")).collect();
    world.deployment = Some(Deployment::start(kind, &lines, behind_relays)?);
    Ok(())
}

fn single(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Single, args, false)
}

fn relayed(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Single, args, true)
}

fn replicated(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Replicated, args, false)
}

fn sentinel(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Sentinel, args, false)
}

fn cluster(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Cluster, args, false)
}

fn quorum(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Quorum(args.number(0)?), args, false)
}

fn relayed_quorum(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Quorum(args.number(0)?), args, true)
}

fn fake(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, Kind::Fake, args, false)
}

fn monitored(world: &mut World, _: &Args) -> Outcome<()> {
    world.monitor = Some(Monitor::start(world.deployment()?.primary()?)?);
    Ok(())
}

/// Runs a command at the primary that does not refuse it: in a cluster at the one that has the key, as soon as it can.
fn at_home(world: &World, command: &[Vec<u8>]) -> Outcome<Value> {
    let mut last = fail("no primary answers");
    until(soon(), || {
        for server in world.deployment()?.primaries() {
            match server.cmd(command) {
                Value::Error(text) => last = fail(text),
                reply => {
                    last = Ok(reply);
                    return Ok(());
                }
            }
        }
        fail("every primary refuses it")
    })
    .and_then(|()| last.clone())
    .map_err(|error| format!("{error}: {last:?}"))
}

fn operator_holds(world: &mut World, args: &Args) -> Outcome<()> {
    let key = args.text(0).to_owned();
    let granted = at_home(world, &args!["LOCK.ACQUIRE", key, OPERATOR, "PX", 600_000])?;
    ensure(matches!(granted, Value::Int(_)), || format!("the operator did not get {key}: {granted:?}"))?;
    world.taken.push(key);
    Ok(())
}

fn operator_releases(world: &mut World, args: &Args) -> Outcome<()> {
    let key = args.text(0);
    let released = at_home(world, &args!["LOCK.RELEASE", key, OPERATOR])?;
    world.taken.retain(|taken| taken != key);
    ensure(released == 1, || format!("the operator did not hold {key}: {released:?}"))
}

/// Releases what the operator still holds. A key that has become something else is no lock any more.
pub fn clear(world: &mut World) -> Outcome<()> {
    for key in std::mem::take(&mut world.taken) {
        for server in world.deployment()?.primaries() {
            server.cmd(&args!["LOCK.RELEASE", key, OPERATOR]);
        }
    }
    Ok(())
}

fn runs(world: &mut World, args: &Args) -> Outcome<()> {
    let command: Vec<&str> = args.text(0).split(' ').collect();
    world.acted = Some(Instant::now());
    for server in world.deployment()?.primaries() {
        let reply = server.cmd(&command);
        world.transcript.say(format!("   operator: {} = {reply:?}", args.text(0)));
        if let Value::Error(text) = &reply {
            // A cluster has one node for the key.
            ensure(text.starts_with("MOVED "), || format!("'{}' was refused: {text}", args.text(0)))?;
        }
    }
    Ok(())
}

fn runs_at(world: &mut World, args: &Args) -> Outcome<()> {
    let command: Vec<&str> = args.text(0).split(' ').collect();
    world.acted = Some(Instant::now());
    let reply = node_of(world, args.text(1))?.cmd(&command);
    ensure(!reply.is_err(), || format!("'{}' was refused: {reply:?}", args.text(0)))
}

fn stops_for(world: &mut World, args: &Args) -> Outcome<()> {
    let time = args.duration(0)?;
    let server = world.deployment()?.primary()?;
    server.sigstop();
    sleep(time);
    server.sigcont();
    Ok(())
}

fn primary_stops(world: &mut World, _: &Args) -> Outcome<()> {
    world.deployment()?.primary()?.sigstop();
    Ok(())
}

fn primary_dies(world: &mut World, _: &Args) -> Outcome<()> {
    world.deployment()?.primary()?.kill9();
    Ok(())
}

/// The cluster's primary that has this key.
fn node_of<'a>(world: &'a World, key: &str) -> Outcome<&'a Server> {
    let has = |server: &&Server| !server.cmd(&["LOCK.INFO", key]).is_err();
    let node = world.deployment()?.primaries().into_iter().find(has);
    node.ok_or_else(|| format!("no node has {key}"))
}

fn node_stops(world: &mut World, args: &Args) -> Outcome<()> {
    node_of(world, args.text(0))?.sigstop();
    Ok(())
}

fn node_dies(world: &mut World, args: &Args) -> Outcome<()> {
    node_of(world, args.text(0))?.kill9();
    Ok(())
}

fn starts_again(world: &mut World, _: &Args) -> Outcome<()> {
    let dead = world.deployment()?.all().into_iter().find(|server| !server.is_alive());
    dead.ok_or("no server is dead")?.try_restart()
}

fn replica_stops(world: &mut World, _: &Args) -> Outcome<()> {
    match world.deployment()?.servers() {
        Servers::Replicated { replica, .. } => {
            replica.sigstop();
            Ok(())
        }
        _ => fail("the scenario has no 'primary with a replica'"),
    }
}

fn go_on(world: &mut World, _: &Args) -> Outcome<()> {
    for server in world.deployment()?.all() {
        if server.is_alive() && support::process_state(server.pid()) == Some('T') {
            server.sigcont();
        }
    }
    Ok(())
}

fn member<'a>(world: &'a World, args: &Args) -> Outcome<&'a Server> {
    let number = args.number(0)?;
    match world.deployment()?.servers() {
        Servers::Quorum(members) => {
            let member = number.checked_sub(1).and_then(|n| members.get(n));
            member.ok_or_else(|| format!("the quorum has {} servers", members.len()))
        }
        _ => fail("the scenario has no quorum"),
    }
}

fn member_stops(world: &mut World, args: &Args) -> Outcome<()> {
    member(world, args)?.sigstop();
    Ok(())
}

fn member_dies(world: &mut World, args: &Args) -> Outcome<()> {
    member(world, args)?.kill9();
    Ok(())
}

fn member_starts(world: &mut World, args: &Args) -> Outcome<()> {
    member(world, args)?.try_restart()
}

fn promoted(world: &mut World, args: &Args) -> Outcome<()> {
    let key = args.text(0);
    let takes_writes = || {
        let primaries = world.deployment().ok()?.primaries();
        let takes = |server: &&Server| {
            let reply = server.cmd(&args!["LOCK.RELEASE", key, "nobody"]);
            reply == 0
        };
        primaries.iter().any(takes).then_some(())
    };
    poll(soon() * 2, takes_writes).ok_or_else(|| format!("no server takes writes for {key}"))
}

fn slot_moves(world: &mut World, args: &Args) -> Outcome<()> {
    let key = args.text(0);
    let cluster = world.deployment()?.cluster()?;
    let from = cluster.first_home(key);
    cluster.move_slot(key, from, (from + 1) % 3);
    Ok(())
}

fn passes(_: &mut World, args: &Args) -> Outcome<()> {
    let time: Duration = args.duration(0)?;
    sleep(time);
    Ok(())
}
