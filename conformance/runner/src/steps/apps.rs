//! Steps about the applications as processes.

use std::thread::sleep;
use std::time::Instant;

use serde_json::{json, Value};
use support::MachineSleep;

use super::options::ms;
use crate::definition::{step, Args, Definition};
use crate::driver::Driver;
use crate::outcome::{ensure, fail, Outcome};
use crate::world::{soon, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step(
            "an application {app}",
            "Starts a driver and connects it. Each row of a table below is a member of `connect` and its value; \
             `user` is `name:password`.",
            starts,
        ),
        step("applications {apps}", "Starts several, with the same table.", start_several),
        step("{app} names the scope {who}", "Asks for the owner of a scope, before any acquisition.", names_scope),
        step("{app} closes", "Closes the client as an application does at its end, and waits for that.", closes),
        step("{app} starts to close", "The same, without waiting.", starts_to_close),
        step("{app} has closed within {duration}", "Waits for the end of closing.", has_closed),
        step("{app} ends", "Ends the driver's input. Its process must end in order.", ends),
        step("{app} is killed", "SIGKILL of the driver.", is_killed),
        step("{app} is suspended", "SIGSTOP of the driver.", is_suspended),
        step("{app} is suspended for {duration}", "SIGSTOP; SIGCONT after this time.", is_suspended_for),
        step("{app} goes on", "SIGCONT of the driver.", goes_on),
        step("{app} forks", "A child leaves the body of every hold, and ends.", forks),
        step("the machine of {app} sleeps for {duration}", "Sets its clocks as after a suspension.", machine_sleeps),
        step(
            "{app} blocks for {duration} and is then asked about {hold}",
            "Blocks the event loop, or holds the interpreter's lock. The question `held` stands right behind, and must \
             be answered with no.",
            blocks,
        ),
        step(
            "the owner of {hold} leads to {app}",
            "The owner that the server shows names the label, the host and the process id.",
            leads,
        ),
        step(
            "the connection that waits for {string} has a name",
            "CLIENT LIST shows the name of every connection in the queue of LOCK.INFO.",
            waiting_has_name,
        ),
    ]
}

fn starts(world: &mut World, args: &Args) -> Outcome<()> {
    start(world, args.text(0), args.table)
}

fn start_several(world: &mut World, args: &Args) -> Outcome<()> {
    args.list(0).iter().try_for_each(|name| start(world, name, args.table))
}

fn start(world: &mut World, name: &str, table: &[Vec<String>]) -> Outcome<()> {
    ensure(!world.apps.contains_key(name), || format!("there is an application {name} already"))?;
    let subject = world.subject.clone();
    let mut command = subject.client.driver(&subject.root)?;
    if let Some(fault) = &subject.fault {
        command.env("PLANTED_FAULT", fault);
    }
    if world.needs.iter().any(|need| need == "clock") {
        let machine = MachineSleep::new();
        machine.host(&mut command);
        world.machines.insert(name.to_owned(), machine);
    }
    let log = world.logs.path().join(format!("{name}.log"));
    let driver = Driver::start(name, command, log, world.transcript.clone())?;
    world.library = driver.library().to_owned();
    let lacks = world.needs.iter().find(|need| match need.as_str() {
        "clock" => !subject.client.clock_can_be_set,
        need => !driver.features().contains(need),
    });
    if let Some(need) = lacks.cloned() {
        world.lacks = Some(need.clone());
        return fail(format!("the client lacks '{need}'"));
    }
    let cell = |row: &[String], n: usize| row.get(n).cloned().unwrap_or_default();
    let user = table.iter().find(|row| cell(row, 0) == "user").map(|row| cell(row, 1));
    let mut request = world.deployment()?.address(user.as_deref());
    request["do"] = "connect".into();
    for row in table.iter().filter(|row| cell(row, 0) != "user") {
        let value = cell(row, 1);
        request[cell(row, 0)] = serde_json::from_str(&value).unwrap_or(Value::String(value));
    }
    driver.ask(request, soon())?;
    world.apps.insert(name.to_owned(), driver);
    Ok(())
}

fn names_scope(world: &mut World, args: &Args) -> Outcome<()> {
    let answer = world.app(args.text(0))?.ask(json!({"do": "owner", "scope": args.text(1)}), soon())?;
    ensure(answer["owner"].is_string(), || format!("the driver did not name the owner: {answer}"))
}

fn closes(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.ask(json!({"do": "close"}), soon())?;
    Ok(())
}

fn starts_to_close(world: &mut World, args: &Args) -> Outcome<()> {
    let name = args.text(0).to_owned();
    let id = world.app(&name)?.send(json!({"do": "close"}))?;
    world.requests.insert(format!("close of {name}"), (name, id));
    Ok(())
}

fn has_closed(world: &mut World, args: &Args) -> Outcome<()> {
    let (name, id) = world.requests.get(&format!("close of {}", args.text(0))).ok_or("nobody closes")?;
    let answer = world.app(name)?.wait(*id, args.duration(1)?)?;
    answer.result.map(drop).map_err(|it| format!("close: {}: {}", it.kind, it.message))
}

fn ends(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.end()?;
    world.apps.remove(args.text(0));
    Ok(())
}

fn is_killed(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.kill();
    world.apps.remove(args.text(0));
    Ok(())
}

fn is_suspended(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.suspend()
}

fn is_suspended_for(world: &mut World, args: &Args) -> Outcome<()> {
    let time = args.duration(1)?;
    let app = world.app(args.text(0))?;
    app.suspend()?;
    sleep(time);
    app.resume()
}

fn goes_on(world: &mut World, args: &Args) -> Outcome<()> {
    world.acted = Some(Instant::now());
    world.app(args.text(0))?.resume()
}

fn forks(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.ask(json!({"do": "fork"}), soon())?;
    Ok(())
}

fn machine_sleeps(world: &mut World, args: &Args) -> Outcome<()> {
    let seconds = args.duration(1)?.as_secs().try_into().map_err(|_| "too long")?;
    world.acted = Some(Instant::now());
    let machine = world.machines.get_mut(args.text(0)).ok_or("the scenario lacks the tag @needs:clock")?;
    machine.sleep(seconds);
    Ok(())
}

fn blocks(world: &mut World, args: &Args) -> Outcome<()> {
    let time = args.duration(1)?;
    let app = world.app(args.text(0))?;
    let held = json!({"do": "held", "hold": args.text(2)});
    let requests = vec![json!({"do": "block", "for_ms": ms(time)}), held];
    let ids = app.send_all(requests)?;
    let [block, held] = ids.as_slice() else { return fail("two requests have two ids") };
    let blocked = app.wait(*block, soon() + time)?;
    let held = app.wait(*held, soon())?;
    blocked.result.map_err(|it| format!("block: {}: {}", it.kind, it.message))?;
    let answer = held.result.map_err(|it| format!("held: {}: {}", it.kind, it.message))?;
    // A driver with several threads may answer the first question while it is blocked: so there is a second one.
    let again = app.ask(json!({"do": "held", "hold": args.text(2)}), soon())?;
    ensure((answer["held"] == false || held.at < blocked.at) && again["held"] == false, || {
        format!("after {time:?} the client believes that it holds {}: {answer}, then {again}", args.text(2))
    })
}

fn leads(world: &mut World, args: &Args) -> Outcome<()> {
    let key = world.hold(args.text(0))?.keys.first().cloned().unwrap_or_default();
    let app = world.app(args.text(1))?;
    let lock = world.deployment()?.info(&key)?.ok_or_else(|| format!("nobody holds {key}"))?;
    let owner = lock.holders.first().map(|hold| hold.owner.clone()).unwrap_or_default();
    let parts: Vec<&str> = owner.split('/').collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = |part: &str| parts.contains(&part);
    ensure(names(host.trim()), || format!("the owner '{owner}' does not name the host {}", host.trim()))?;
    let pid = app.pid().to_string();
    ensure(names(&pid), || format!("the owner '{owner}' does not name the process {pid}"))?;
    let label = args.table.first().and_then(|row| row.get(1));
    ensure(label.is_none_or(|label| parts.first() == Some(&label.as_str())), || {
        format!("the owner '{owner}' does not begin with the label {label:?}")
    })
}

fn waiting_has_name(world: &mut World, args: &Args) -> Outcome<()> {
    let deployment = world.deployment()?;
    let queue = deployment.info(args.text(0))?.map(|lock| lock.queue).unwrap_or_default();
    ensure(!queue.is_empty(), || format!("nobody waits for {}", args.text(0)))?;
    let clients = deployment.clients();
    for id in queue {
        let line = clients.iter().find(|line| line.starts_with(&format!("id={id} ")));
        let line = line.ok_or_else(|| format!("CLIENT LIST does not show client {id}"))?;
        ensure(!line.contains(" name= "), || format!("the connection that waits has no name: {line}"))?;
    }
    Ok(())
}

/// Closes all applications, and lets their processes end.
pub fn end_all(world: &mut World) -> Outcome<()> {
    let closing: Vec<(&Driver, u64)> = {
        let send = |app| -> Outcome<(&Driver, u64)> { Ok((app, Driver::send(app, json!({"do": "close"}))?)) };
        world.apps.values().map(send).collect::<Outcome<_>>()?
    };
    for (app, id) in closing {
        let answer = app.wait(id, soon())?;
        // A scenario may have closed it already.
        if let Err(it) = answer.result {
            ensure(it.kind == "closed" || it.kind == "usage", || format!("close: {}: {}", it.kind, it.message))?;
        }
    }
    world.apps.values().try_for_each(Driver::end)
}
