//! The server that a shared outbox needs, as the tests bring it.

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
