//! A shared outbox over a network: to whom a daemon gives its password, and what it says where it gives it to nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{World, both, result, stderr};
use crate::postgres::Server;

const PASSWORD: &str = "s3cret-over-the-wire";
const ROLE: &str = "sender";

/// An authority of the test's own, made by `openssl`.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    /// `None`, and said, where there is no `openssl`.
    fn new() -> Option<Self> {
        let authority = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let is_made = authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=an authority of the tests",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ]);
        if !is_made {
            eprintln!("not tried: there is no openssl here to make certificates");
        }
        is_made.then_some(authority)
    }

    /// A certificate for this name, and its key.
    fn sign(&self, name: &str) -> [Vec<u8>; 2] {
        fs::write(self.path("names"), format!("subjectAltName = {name}\n")).unwrap();
        assert!(self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=server",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ]));
        assert!(self.openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-set_serial",
            "7",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.crt",
        ]));
        ["server.crt", "server.key"].map(|file| fs::read(self.path(file)).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> bool {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.dir.path())
            .output();
        output.is_ok_and(|output| output.status.success())
    }
}

/// A server that asks for a password, with this certificate; at which port.
fn server(certificate: Option<[Vec<u8>; 2]>) -> Option<(Server, u16)> {
    let mut server = Server::unstarted()?;
    let port = server.listen();
    if let Some([certificate, key]) = certificate {
        server.put("server.crt", &certificate);
        server.put("server.key", &key);
        server.set("ssl = on");
    }
    server.put(
        "pg_hba.conf",
        b"local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
    );
    server.start();
    server.sql(&format!(
        "CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE postgres TO {ROLE}"
    ));
    Some((server, port))
}

/// A host that has the password in a file.
fn host(server: &Server, url: &str) -> World {
    let mut world = World::on_server(server, "over_the_wire", "alpha");
    world.set("outbox.database", &format!("{url:?}"));
    let file = world.path("outbox-password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.set("outbox.password_file", &format!("{:?}", file.display().to_string()));
    world
}

fn url(host: &str, port: u16, root: &Path) -> String {
    format!(
        "postgres://{ROLE}@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={}",
        root.display()
    )
}

/// `run` ends so, in words that mend it and without the password; so does a command.
fn is_refused(world: &World, words: &[&str]) {
    for verb in [&["--log-level", "trace", "run"][..], &["list"]] {
        let output = world.run(verb);
        assert_eq!(output.status.code(), Some(78), "{verb:?}: {}", both(&output));
        for words in words {
            assert!(stderr(&output).contains(words), "{verb:?}: {words}: {}", both(&output));
        }
        assert!(!both(&output).contains(PASSWORD), "{}", both(&output));
    }
}

#[test]
fn a_server_that_proves_who_it_is_gets_the_password_and_nothing_shows_it() {
    let Some(authority) = Authority::new() else { return };
    let Some((server, port)) = server(Some(authority.sign("DNS:localhost"))) else {
        return;
    };
    let mut world = host(&server, &url("localhost", port, &authority.path("ca.crt")));
    world.set("log.level", "\"trace\"");
    world.start();
    world.drop_results("x.ndjson", &[result("a", &json!({})), result("b", &json!({}))]);
    world.wait_for("delivered", 2);
    server.sql(
        "DO $$ BEGIN ASSERT (SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name LIKE 'reten-outbox%'); END $$",
    );
    for place in ["cmdline", "environ", "comm"] {
        let seen = fs::read(format!("/proc/{}/{place}", world.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&seen).contains(PASSWORD), "{place}");
    }
    world.stop();
    assert!(!world.log().contains(PASSWORD), "{}", world.log());
    assert!(!server.log().contains(PASSWORD));

    fs::write(world.path("outbox-password"), "another one").unwrap();
    is_refused(&world, &["SQLSTATE 28P01", "outbox.password_file"]);
    let wrong = world.run(&["run"]);
    assert!(!both(&wrong).contains("another one"), "{}", both(&wrong));
}

#[test]
fn a_server_that_proves_nothing_is_refused_in_words_that_mend_it() {
    let Some(authority) = Authority::new() else { return };
    let Some(stranger) = Authority::new() else { return };
    let Some((server_, port)) = server(Some(authority.sign("DNS:localhost"))) else {
        return;
    };
    let root = authority.path("ca.crt");
    is_refused(
        &host(&server_, &url("localhost", port, &stranger.path("ca.crt"))),
        &["certificate", "sslrootcert"],
    );
    is_refused(
        &host(&server_, &url("127.0.0.1", port, &root)),
        &["certificate", "127.0.0.1", "name"],
    );
    is_refused(
        &host(&server_, &url("localhost", port, &stranger.path("none.crt"))),
        &["none.crt"],
    );
    // Whoever listens at the wire may answer that there is no TLS.
    let Some((plain, port)) = server(None) else { return };
    is_refused(&host(&plain, &url("localhost", port, &root)), &["TLS", "ssl = on"]);
    assert!(!plain.log().contains(ROLE) || !plain.log().contains("over_the_wire"));
}
