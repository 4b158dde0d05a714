//! An outbox in PostgreSQL: its keys, its password, and that no password is shown.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::default_paths::DefaultPaths;
use crate::config::load::{load_with, salvage_with};
use crate::model::Server;

const URL: &str = "postgres://outbox:s3cret@db.example/reten?sslmode=verify-full";

fn server(loaded: &Loaded) -> &Server {
    loaded.config.outbox.database.server().unwrap()
}

fn outbox(rest: &str) -> String {
    format!("[outbox]\ndatabase = \"{URL}\"\n{rest}")
}

#[test]
fn the_keys_beside_the_url_are_taken() {
    let loaded = load_text(
        &outbox("schema = \"tenant_a\"\nnode = \"one\"\nallow_insecure = true\n"),
        &[],
    )
    .unwrap();
    let server = server(&loaded);
    assert_eq!(
        (server.schema.as_str(), server.node.as_str(), server.allow_insecure),
        ("tenant_a", "one", true)
    );
    let loaded = load_text(&outbox(""), &[]).unwrap();
    assert_eq!(self::server(&loaded).schema, "reten_outbox");
    assert!(!self::server(&loaded).node.is_empty());
    assert_eq!(
        loaded.config.outbox.database.anchor(),
        Path::new("/var/lib/reten-outbox/outbox")
    );
}

#[test]
fn a_wrong_key_is_named_with_what_would_be_right() {
    let cases = [
        (
            "schema = \"pg_x\"",
            "outbox.schema = \"pg_x\" is a schema of PostgreSQL's own",
        ),
        ("schema = \"A\"", "outbox.schema = \"A\" is no name for a schema"),
        ("node = \"a b\"", "outbox.node = \"a b\" is no name for a node"),
        (
            "allow_insecure = 1",
            "outbox.allow_insecure = 1 is neither true nor false",
        ),
        (
            "password = \"s3cret\"",
            "put it into the file that outbox.password_file names",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(&outbox(text));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
    }
    let found = problems("[outbox]\ndatabase = \"postgres://me:s3cret@db.example/x\"\n");
    assert!(
        found[0].starts_with(
            "config.toml:2: outbox.database = \"postgres://me:[hidden]@db.example/x\" goes over a network"
        ) && found[0].contains("write sslmode=verify-full"),
        "{found:?}"
    );
}

#[test]
fn a_password_in_the_url_works_is_warned_of_and_hidden_everywhere() {
    let loaded = load_text(&outbox(""), &[]).unwrap();
    assert_eq!(server(&loaded).password.as_ref().unwrap().reveal(), "s3cret");
    let warned = loaded.warnings[0].to_string();
    assert!(
        warned.contains("config.toml:2: outbox.database") && warned.contains("outbox.password_file"),
        "{warned}"
    );
    let shown = loaded.to_toml();
    assert!(
        shown.contains("database = \"postgres://outbox:[hidden]@db.example:5432/reten?sslmode=verify-full\""),
        "{shown}"
    );
    for text in [
        warned,
        shown,
        format!("{:?}", loaded.config),
        loaded.config.outbox.database.to_string(),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let found = load_text("", &[("RETEN_OUTBOX__OUTBOX__DATABASE", "postgres://me:s3cret@/x")]).unwrap_err();
    assert!(
        found[0].contains("names no host") && !found[0].contains("s3cret"),
        "{found:?}"
    );
}

#[test]
fn the_password_is_read_from_its_file_and_a_file_that_cannot_be_used_is_told_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let text = format!(
        "[outbox]\ndatabase = \"postgres://outbox@db.example/reten?sslmode=verify-full\"\npassword_file = {file:?}\n"
    );
    let load = || load_text(&text, &[]).unwrap();
    let none = load();
    assert_eq!(
        (&server(&none).password, none.config.outbox.address().is_ok()),
        (&None, true)
    );
    fs::write(&file, "from file\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let found = load();
    assert_eq!(server(&found).password.as_ref().unwrap().reveal(), "from file");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    assert!(!format!("{found:?}").contains("from file"));
    fs::write(&file, "s3cret\nmore").unwrap();
    let error = load().config.outbox.address().unwrap_err();
    assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
}

#[test]
fn what_the_host_keeps_of_it_lies_where_a_file_would() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.toml");
    let state = dir.path().join("state");
    let home = dir.path().display().to_string();
    let anchor_of = |pairs: &[(&str, &str)], is_root| {
        let pairs = pairs.iter().copied().chain([("RETEN_OUTBOX__OUTBOX__DATABASE", URL)]);
        let env: Environment = pairs.collect();
        let places = || DefaultPaths::of(&env, &absent, is_root, false);
        let (salvaged, _) = salvage_with(None, &env, places()).unwrap();
        let loaded = load_with(None, &env, places()).unwrap();
        assert_eq!(salvaged.outbox, loaded.config.outbox);
        (loaded.config.outbox.database.anchor().to_owned(), loaded.home())
    };
    let (anchor, home_of_service) = anchor_of(&[("STATE_DIRECTORY", &state.display().to_string())], true);
    assert_eq!(anchor, state.join("outbox"));
    assert!(!home_of_service.has(&state));
    let (anchor, home_of_user) = anchor_of(&[("HOME", &home)], false);
    let at_home = dir.path().join(".local/state/reten-outbox");
    assert_eq!(anchor, at_home.join("outbox"));
    assert!(home_of_user.has(&at_home));
}
