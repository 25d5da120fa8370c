//! Steps about leader election.

use serde_json::{json, Value};

use super::options::request;
use crate::definition::{step, Args, Definition};
use crate::outcome::{ensure, fail, Outcome};
use crate::world::{soon, Acquisition, World};

pub fn steps() -> Vec<Definition> {
    vec![
        step("{app} stands for {string} as {hold}{options}", "Starts to `elect`, without waiting.", stands),
        step("{hold} is elected within {duration}", "Waits until it leads, and the server must show it.", is_elected),
        step("{app} resigns {hold}", "Gives up the lead.", resigns),
        step("{app} observes {string} as {hold}", "Starts to `observe`.", observes),
        step("{app} is told by {hold} that {hold} leads within {duration}", "By the event `leader`.", told_leads),
        step("{app} is told by {hold} that there is no leader within {duration}", "The same.", told_nobody),
    ]
}

fn stands(world: &mut World, args: &Args) -> Outcome<()> {
    let (app, key, leader) = (args.text(0).to_owned(), args.text(1).to_owned(), args.text(2).to_owned());
    let mut body = request(std::slice::from_ref(&key), &leader, args.text(3))?;
    body["do"] = "elect".into();
    body["leader"] = leader.as_str().into();
    if let Some(members) = body.as_object_mut() {
        members.remove("hold");
        if members.contains_key("session") {
            members.remove("lease_ms");
        }
    }
    let id = world.app(&app)?.send(body)?;
    world.holds.insert(leader, Acquisition { app, keys: vec![key], request: id, answer: None });
    Ok(())
}

fn is_elected(world: &mut World, args: &Args) -> Outcome<()> {
    let answer = world.answer_of(args.text(0), args.duration(1)?)?;
    answer.result.map_err(|it| format!("it was not elected: {}: {}", it.kind, it.message))?;
    super::judging::is_held(world, args.text(0))
}

fn resigns(world: &mut World, args: &Args) -> Outcome<()> {
    world.app(args.text(0))?.ask(json!({"do": "resign", "leader": args.text(1)}), soon())?;
    Ok(())
}

fn observes(world: &mut World, args: &Args) -> Outcome<()> {
    let request = json!({"do": "observe", "observer": args.text(2), "key": args.text(1)});
    let answer = world.app(args.text(0))?.ask(request, soon())?;
    ensure(answer.get("owner").is_some(), || format!("observe: the driver did not say who leads: {answer}"))
}

fn told_leads(world: &mut World, args: &Args) -> Outcome<()> {
    let owner = Value::from(world.hold(args.text(2))?.owner()?);
    told(world, args, &owner, args.duration(3)?)
}

fn told_nobody(world: &mut World, args: &Args) -> Outcome<()> {
    told(world, args, &Value::Null, args.duration(2)?)
}

fn told(world: &World, args: &Args, owner: &Value, within: std::time::Duration) -> Outcome<()> {
    let app = world.app(args.text(0))?;
    let of = |body: &Value| body["event"] == "leader" && body["observer"] == args.text(1);
    let is = |event: &crate::driver::Event| of(&event.body) && event.body["owner"] == *owner;
    match app.until_event(within, is) {
        Some(_) => Ok(()),
        None => {
            let told: Vec<_> = app.events().into_iter().map(|event| event.body).filter(|body| of(body)).collect();
            fail(format!("{} was not told that {owner} leads, but: {told:?}", args.text(1)))
        }
    }
}
