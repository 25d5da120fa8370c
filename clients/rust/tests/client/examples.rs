//! The examples run without errors and leave nothing behind.

#[path = "../../examples/lock.rs"]
mod lock;
#[path = "../../examples/quorum.rs"]
mod quorum;

use support::{until, Server};

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn example_of_locks_leaves_nothing_behind() {
    let server = Server::start();
    lock::run(&url(&server)).await.unwrap();
    until("all is released", || server.info("keyspace").is_empty());
    server.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn example_of_a_quorum_leaves_nothing_behind() {
    let servers = [(); 3].map(|()| Server::start());
    let urls = servers.each_ref().map(url);
    quorum::run(&urls.each_ref().map(String::as_str)).await.unwrap();
    until("all is released", || servers.iter().all(|server| server.info("keyspace").is_empty()));
}
