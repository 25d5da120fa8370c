//! SESSION: a hold that ends with its connection, and what becomes of it when the server changes its state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod binding;
mod closing;
mod mass;
mod roles;
mod unwritable_server;

use support::{bound, until, Client, Server};

/// Closes the connection and returns when the server has noticed.
#[track_caller]
fn close(server: &Server, client: Client) {
    let address = format!(" addr={} ", client.address());
    client.close();
    until("the server noticed", || !server.cmd(&["CLIENT", "LIST"]).text().contains(&address));
}

/// Closes the connection and returns when the server, a primary, has ended the session: a session that closed later has
/// ended.
#[track_caller]
fn close_and_settle(server: &Server, client: Client) {
    close(server, client);
    let mut later = server.client();
    bound(&mut later, "closed later", "later");
    later.close();
    until("a later session ended", || server.cmd(&["EXISTS", "closed later"]) == 0);
}
