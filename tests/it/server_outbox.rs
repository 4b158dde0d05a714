//! An outbox in PostgreSQL, as far as no server is needed: its configuration, and that its password is shown nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{World, both, program, stderr, stdout};

const PASSWORD: &str = "s3cret-of-the-outbox";

fn world(url: &str) -> World {
    let mut world = World::new();
    // Not the system's: what the host keeps of an outbox on a server would lie there.
    let state = world.path("state");
    fs::create_dir(&state).unwrap();
    world.env("STATE_DIRECTORY", &state.display().to_string());
    world.set("outbox.database", &format!("{url:?}"));
    world
}

fn with_password(rest: &str) -> String {
    format!("postgres://outbox:{PASSWORD}@{rest}")
}

#[test]
fn check_config_shows_the_url_without_its_password_and_warns_of_it() {
    let world = world(&with_password("db.example/reten?sslmode=verify-full"));
    let output = world.run(&["check-config"]);
    assert!(output.status.success(), "{}", both(&output));
    assert!(
        stdout(&output).contains("\"postgres://outbox:[hidden]@db.example:5432/reten?sslmode=verify-full\""),
        "{}",
        both(&output)
    );
    for line in [
        "password_file = ",
        "schema = \"reten_outbox\"",
        "node = ",
        "allow_insecure = false",
    ] {
        assert!(stdout(&output).contains(line), "{line}: {}", both(&output));
    }
    assert!(stderr(&output).contains("outbox.password_file"), "{}", both(&output));
    assert!(!both(&output).contains(PASSWORD), "{}", both(&output));
    fs::write(world.path("again.toml"), stdout(&output)).unwrap();
    let again = program()
        .arg("--config")
        .arg(world.path("again.toml"))
        .arg("check-config")
        .output()
        .unwrap();
    assert!(
        again.status.success(),
        "what it prints is a configuration: {}",
        both(&again)
    );
}

#[test]
fn no_verb_shows_the_password() {
    let world = world(&with_password("127.0.0.1:9/reten"));
    for verb in [
        &["run"][..],
        &["list"],
        &["status"],
        &["status", "--json"],
        &["backup", "copy"],
        &["restore", "config.toml"],
        &["check-config", "--sql"],
        &["--log-level", "trace", "run"],
    ] {
        let output = world.run(verb);
        assert!(!both(&output).contains(PASSWORD), "{verb:?}: {}", both(&output));
    }
}

#[test]
fn a_network_without_a_checked_certificate_is_refused_in_words_that_mend_it() {
    let mut world = world("postgres://outbox@db.example/reten?sslmode=require");
    let output = world.run(&["check-config"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    for words in [
        "config.toml:",
        "write sslmode=verify-full",
        "outbox.allow_insecure = true",
    ] {
        assert!(stderr(&output).contains(words), "{words}: {}", both(&output));
    }
    world.set("outbox.allow_insecure", "true");
    world.ok(&["check-config"]);
}

#[test]
fn a_password_file_that_others_may_read_is_refused_where_it_is_needed() {
    let mut world = world("postgres://outbox@localhost/reten");
    let path = world.path("pgpass");
    fs::write(&path, format!("*:*:*:*:{PASSWORD}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    world.env("PGPASSFILE", &path.display().to_string());
    for verb in ["check-config", "run", "list"] {
        let output = world.run(&[verb]);
        assert_eq!(output.status.code(), Some(78), "{verb}: {}", both(&output));
        assert!(stderr(&output).contains("chmod 600"), "{verb}: {}", both(&output));
        assert!(!both(&output).contains(PASSWORD), "{verb}: {}", both(&output));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    world.ok(&["check-config"]);
}

#[test]
fn the_sql_for_an_administrator_names_role_schema_and_database() {
    let mut world = world("postgres://outbox@localhost/reten");
    world.set("outbox.schema", "\"tenant_a\"");
    let sql = world.ok(&["check-config", "--sql"]);
    for statement in [
        "\\connect \"reten\"\n",
        "SELECT 'CREATE ROLE \"outbox\" LOGIN' WHERE NOT EXISTS",
        "GRANT CONNECT ON DATABASE \"reten\" TO \"outbox\";\n",
        "CREATE SCHEMA IF NOT EXISTS \"tenant_a\" AUTHORIZATION \"outbox\";\n",
        "ALTER ROLE \"outbox\" IN DATABASE \"reten\" SET search_path TO \"tenant_a\";\n",
    ] {
        assert!(sql.contains(statement), "{statement}: {sql}");
    }
    let file = World::new();
    let output = file.run(&["check-config", "--sql"]);
    assert_eq!(output.status.code(), Some(2), "{}", both(&output));
}

#[test]
fn what_copies_a_file_names_the_tool_that_copies_a_server() {
    let world = world("postgres://outbox@localhost/reten");
    for (verb, tool) in [("backup", "pg_dump "), ("restore", "pg_restore ")] {
        let output = world.run(&[verb, "copy"]);
        assert_eq!(output.status.code(), Some(2), "{verb}: {}", both(&output));
        let told = stderr(&output);
        assert!(
            told.contains(tool)
                && told.contains(" --schema=reten_outbox ")
                && told.contains("postgres://outbox@localhost:5432/reten?sslmode=prefer"),
            "{verb}: {told}"
        );
        assert!(!world.path("copy").exists());
    }
}
