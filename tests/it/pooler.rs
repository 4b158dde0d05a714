//! A pooler before the server of a shared outbox: in session mode it may be there, in transaction mode it is named.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::harness::{World, both, eventually, result, stderr};
use crate::postgres::{Server, USER};

/// `pgbouncer`, before a server of ours.
struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// `None`, and said, where it is not installed.
    fn before(server: &Server, mode: &str) -> Option<Self> {
        let Some(program) = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .iter()
            .find(|path| fs::exists(path).unwrap())
        else {
            eprintln!("not tried: there is no pgbouncer here");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        server.put(&format!("{mode}.users"), format!("\"{USER}\" \"\"\n").as_bytes());
        let users = server.socket_dir().join(format!("data/{mode}.users"));
        let settings = format!(
            "[databases]\npostgres = host={} port=5432 dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            server.socket_dir().display(),
            users.display()
        );
        server.put(&format!("{mode}.ini"), settings.as_bytes());
        let mut command = server.command(program);
        command.arg(server.socket_dir().join(format!("data/{mode}.ini")));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self { child, port };
        eventually("the pooler", || {
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
        });
        Some(pooler)
    }

    fn leads(&self, world: &mut World) {
        world.set(
            "outbox.database",
            &format!("\"postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable\"", self.port),
        );
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_pooler_in_transaction_mode_is_named_whether_others_use_it_or_not() {
    let Some(server) = Server::own() else { return };
    for mode in ["transaction", "statement"] {
        let Some(pooler) = Pooler::before(&server, mode) else {
            return;
        };
        let mut world = World::on_server(&server, &server.fresh_schema(), "alpha");
        pooler.leads(&mut world);
        // Alone, then once more (what the first one left in the pooler's sessions is there), then beside others.
        for others in [0, 0, 3] {
            let busy: Vec<_> = (0..others)
                .map(|_| world.command(&["list"]).stderr(Stdio::null()).spawn().unwrap())
                .collect();
            for verb in [&["run"][..], &["pause"]] {
                let output = world.run(verb);
                assert_eq!(output.status.code(), Some(78), "{mode} {verb:?}: {}", both(&output));
                for words in ["pool", "in session mode"] {
                    assert!(stderr(&output).contains(words), "{mode} {verb:?}: {}", both(&output));
                }
            }
            for mut one in busy {
                one.wait().unwrap();
            }
        }
        // What is refused has changed nothing for whoever else gets the session.
        server.sql("DO $$ BEGIN ASSERT NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname LIKE 'outbox%'); END $$");
    }
}

#[test]
fn a_pooler_in_session_mode_is_as_good_as_none() {
    let Some(server) = Server::own() else { return };
    let Some(pooler) = Pooler::before(&server, "session") else {
        return;
    };
    let mut world = World::on_server(&server, &server.fresh_schema(), "alpha");
    pooler.leads(&mut world);
    world.start();
    world.drop_results("x.ndjson", &[result("a", &json!({})), result("b", &json!({}))]);
    world.wait_for("delivered", 2);
    world.stop();
    world.start();
    world.stop();
}
