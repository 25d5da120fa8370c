//! The driver of the Rust client for the conformance suite: it reads requests as JSON lines from the standard input,
//! and writes answers and events to the standard output. `conformance/PROTOCOL.md` describes both.
//!
//! | module | owns |
//! |---|---|
//! | `protocol` | requests, answers and events as JSON |
//! | `failure` | the kinds of errors, and which kind an error of the client is |
//! | `state` | the clients and holds that the runner has named |
//! | `actions` | what each request does |

mod actions;
mod failure;
mod protocol;
mod state;

use std::sync::Arc;

use tokio::io::{stdin, stdout, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use protocol::{Line, Request};
use state::State;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (lines, mut queue) = mpsc::unbounded_channel::<Line>();
    let writer = tokio::spawn(async move {
        let mut output = stdout();
        while let Some(line) = queue.recv().await {
            let mut bytes = line.to_string().into_bytes();
            bytes.push(b'\n');
            // If nobody reads the answers any more, the end of the input follows.
            if output.write_all(&bytes).await.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    });
    let state = Arc::new(State::new(lines));
    let mut input = BufReader::new(stdin()).lines();
    while let Some(line) = input.next_line().await? {
        match serde_json::from_str::<Request>(&line) {
            // Each request has a task of its own, so that a wait delays no other request.
            Ok(request) => drop(tokio::spawn(actions::answer(Arc::clone(&state), request))),
            Err(error) => eprintln!("not a request: {error}: {line}"),
        }
    }
    state.close_all().await;
    drop(state);
    // Tasks of waits may still hold the other end of the queue.
    writer.abort();
    Ok(())
}
