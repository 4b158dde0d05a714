//! The server that a shared outbox needs, as the tests bring it.

use serde_json::json;

use crate::harness::{World, both, result};
use crate::postgres::{Server, Stop};

/// Every test of a shared outbox stands on this.
#[test]
fn a_server_of_the_tests_own_stops_starts_again_and_leaves_nothing() {
    let Some(mut server) = Server::own() else { return };
    let directory = server.socket_dir().to_owned();
    let socket = directory.join(".s.PGSQL.5432");
    assert!(socket.exists());
    for how in [Stop::Fast, Stop::Immediate] {
        server.stop(how);
        assert!(!socket.exists() || std::os::unix::net::UnixStream::connect(&socket).is_err());
        server.start();
        assert!(
            std::os::unix::net::UnixStream::connect(&socket).is_ok(),
            "{}",
            server.log()
        );
    }
    assert_ne!(server.fresh_schema(), server.fresh_schema());
    drop(server);
    assert!(!directory.exists());
}

#[test]
fn what_one_host_takes_in_is_seen_from_another_where_no_daemon_runs() {
    let Some(server) = Server::get() else { return };
    let mut first = World::on_server(server, &server.fresh_schema(), "alpha");
    let second = first.beside("beta");
    first.start();
    first.drop_results("a.json", &[result("A-1", &json!({}))]);
    second.wait_for("delivered", 1);
    let output = second.run_with_input(&["enqueue"], &result("B-1", &json!({})).to_string());
    assert!(output.status.success(), "{}", both(&output));
    first.wait_for("delivered", 2);
    first.stop();
}

#[test]
fn a_status_lists_the_nodes_also_where_no_daemon_runs() {
    let Some(server) = Server::get() else { return };
    let mut first = World::on_server(server, &server.fresh_schema(), "alpha");
    let second = first.beside("beta");
    first.start();
    let status = second.status();
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1, "{status}");
    for (member, value) in [("name", "alpha"), ("state", "live"), ("gate", "open")] {
        assert_eq!(nodes[0][member], value, "{status}");
    }
    let text = second.ok(&["status"]);
    assert!(text.contains("nodes") && text.contains("alpha "), "{text}");
    first.stop();
    assert_eq!(second.status()["nodes"], json!([]), "it left in order");
}
