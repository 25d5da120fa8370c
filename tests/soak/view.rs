//! The server's own view: which commands it ran in which order (MONITOR), and again and again, in one transaction each, who
//! holds, who waits and which clients are blocked.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use support::{args, Client, Received, Value};

use crate::history::{Heard, Holder, Lock, Sample, Seen, SeenClient};
use crate::run::Scene;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a look may take; a stopped server takes longer than a running one.
const LOOK: Duration = Duration::from_secs(60);

/// Takes down what the server of this term runs, until the connection ends. It is in place when this returns.
pub fn listen(scene: &Arc<Scene>, port: u16, term: usize) -> io::Result<thread::JoinHandle<()>> {
    let mut client = Client::connect(port)?;
    client.try_cmd(&["MONITOR"])?;
    let scene = Arc::clone(scene);
    Ok(thread::spawn(move || loop {
        match client.receive(Duration::from_millis(200)) {
            Received::Reply(Value::Simple(line)) => {
                let Some((address, words)) = monitored(&line) else { continue };
                if is_about_a_hold(&words) {
                    let at_us = scene.recorder.now_us();
                    scene.recorder.notes().heard.push(Heard { term, at_us, address, words });
                }
            }
            Received::Reply(_) => {}
            Received::Silence if scene.is_closed() => return,
            Received::Silence => {}
            Received::Closed => return,
        }
    }))
}

fn is_about_a_hold(words: &[String]) -> bool {
    let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    matches!(name.as_str(), "LOCK.ACQUIRE" | "LOCK.RELEASE" | "LOCK.EXTEND" | "LOCK.CHECK")
}

/// Address and words of a line like `1795656961.428 [0 127.0.0.1:47708] "LOCK.CHECK" "k" "b"`.
pub fn monitored(line: &str) -> Option<(String, Vec<String>)> {
    let (_, rest) = line.split_once(" [")?;
    let (origin, rest) = rest.split_once("] ")?;
    let (_, address) = origin.split_once(' ')?;
    let words = rest.trim_matches('"').split("\" \"").map(str::to_owned).collect();
    Some((address.to_owned(), words))
}

/// Looks again and again until the scene closes.
pub fn watch(scene: &Scene, locks: &[Lock]) {
    let mut connection: Option<(usize, Client)> = None;
    while !scene.is_closed() {
        let Some(place) = scene.place() else {
            thread::sleep(PAUSE);
            continue;
        };
        if connection.as_ref().is_none_or(|(term, _)| *term != place.term) {
            connection = Client::connect(place.port).ok().map(|client| (place.term, client));
            // It may be a server that came up meanwhile.
            if scene.place() != Some(place) {
                connection = None;
                continue;
            }
        }
        let Some((term, client)) = connection.as_mut() else { continue };
        client.set_deadline(LOOK);
        match look(scene, *term, client, locks) {
            Some(sample) => scene.recorder.notes().samples.push(sample),
            None => connection = None,
        }
        thread::sleep(PAUSE);
    }
}

/// One look. `None`: the server is gone.
fn look(scene: &Scene, term: usize, client: &mut Client, locks: &[Lock]) -> Option<Sample> {
    let mut commands = vec![args!["MULTI"].to_vec()];
    for lock in locks {
        commands.push(args!["SELECT", lock.db].to_vec());
        commands.push(args!["LOCK.INFO", lock.name].to_vec());
    }
    commands.push(args!["CLIENT", "LIST", "TYPE", "normal"].to_vec());
    commands.push(args!["EXEC"].to_vec());
    let call_us = scene.recorder.now_us();
    for command in &commands {
        client.try_send(command).ok()?;
    }
    // The last one counts; those before it say OK and QUEUED.
    let mut replies = Value::NullArray;
    for _ in &commands {
        replies = match client.receive(LOOK) {
            Received::Reply(reply) => reply,
            Received::Silence | Received::Closed => return None,
        };
    }
    let ret_us = scene.recorder.now_us();
    let Value::Array(replies) = replies else { return None };
    let mut seen = Vec::new();
    for (n, lock) in locks.iter().enumerate() {
        let info = replies.get(2 * n + 1)?;
        if info.is_err() {
            return None;
        }
        seen.push((lock.clone(), described(info)));
    }
    let clients = replies.last()?.text().lines().filter_map(listed).collect();
    Some(Sample { term, call_us, ret_us, locks: seen, clients })
}

/// LOCK.INFO in our words.
pub fn described(info: &Value) -> Option<Seen> {
    if info.is_nil() {
        return None;
    }
    let number = |value: Value| u64::try_from(value.int()).unwrap_or_default();
    let holder = |hold: &Value| Holder {
        owner: hold.get("owner").text(),
        fence: number(hold.get("fence")),
        ttl_ms: number(hold.get("ttl")),
        limit: number(hold.get("limit")),
        weight: number(hold.get("weight")),
        session: number(hold.get("session")),
    };
    Some(Seen {
        is_shared: info.get("mode") == "shared",
        is_cooling: info.get("mode") == "cooling",
        holders: info.get("holders").array().iter().map(holder).collect(),
        waiters: number(info.get("waiters")),
        queue: info.get("queue").array().iter().map(|waiter| waiter.get("owner").text()).collect(),
    })
}

/// A line of CLIENT LIST.
fn listed(line: &str) -> Option<SeenClient> {
    let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
    let is_blocked = field("flags=")?.contains('b');
    Some(SeenClient { id: field("id=")?.parse().ok()?, address: field("addr=")?.to_owned(), is_blocked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_monitor_are_read() {
        let line = r#"1795656961.428838 [0 127.0.0.1:47708] "LOCK.ACQUIRE" "k" "b" "BLOCK" "0""#;
        let (address, words) = monitored(line).unwrap();
        assert_eq!(address, "127.0.0.1:47708");
        assert_eq!(words, ["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
        assert_eq!(monitored("OK"), None);
    }
}
