//! Where settings come from, how the sources lie over one another, and how the sum is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{load_text, problems};
use crate::config::default_paths::DefaultPaths;
use crate::config::load::{Home, load_with};
use crate::config::problem::SetBy;
use crate::config::{Config, Environment};

#[test]
fn broken_toml_is_named_by_line() {
    let found = problems("[api]\ntimeout = \"5s\"\ntimeout = \"6s\"\n");
    assert!(
        found[0].starts_with("config.toml:3: ") && found[0].contains("duplicate"),
        "{found:?}"
    );
    let found = problems("[api\n");
    assert!(found[0].starts_with("config.toml:1: "), "{found:?}");
}

#[test]
fn the_environment_lies_over_the_files_and_is_typed_by_the_key() {
    let env = [
        ("RETEN_OUTBOX__RETRY__MAX_INTERVAL", "5m"),
        ("reten_outbox__delivery__MAX_in_flight", "3"),
        ("RETEN_OUTBOX__RETRY__MULTIPLIER", "3"),
        ("RETEN_OUTBOX__AUTH__REQUEUE", "false"),
        ("RETEN_OUTBOX__VALIDATION__STATUSES", "A, B"),
        (
            "RETEN_OUTBOX__CONFLICT__RULES",
            "[{source = \"crm\", policy = \"override\"}]",
        ),
        ("RETEN_OUTBOX_CONFIG", ""),
        ("RETEN_API_KEY", "rtn_sk_1"),
    ];
    let loaded = load_text("[retry]\nmax_interval = \"1m\"\nmax_age = \"1d\"\n", &env).unwrap();
    let config = &loaded.config;
    assert_eq!(config.retry.max_interval, Duration::from_mins(5));
    assert_eq!(config.retry.max_age, Some(Duration::from_hours(24)));
    assert_eq!((config.delivery.max_in_flight, config.auth.requeue), (3, false));
    assert!((config.retry.multiplier - 3.0).abs() < f64::EPSILON);
    assert_eq!(config.validation.statuses, ["A", "B"]);
    assert_eq!(config.conflict.rules[0].source.as_deref(), Some("crm"));
    let origin = |key| loaded.set_by(key).unwrap().clone();
    assert_eq!(
        origin("retry.max_interval"),
        SetBy::Environment("RETEN_OUTBOX__RETRY__MAX_INTERVAL".to_owned())
    );
    assert!(matches!(origin("retry.max_age"), SetBy::File { line: 3, .. }));
    assert_eq!(origin("api.timeout"), SetBy::Default);
    assert_eq!(
        load_text("", &[("RETEN_OUTBOX__VALIDATION__STATUSES", "[\"A,B\"]")])
            .unwrap()
            .config
            .validation
            .statuses,
        ["A,B"]
    );
}

#[test]
fn a_wrong_variable_is_an_error_by_its_name() {
    let cases = [
        (
            "RETEN_OUTBOX__RETRY__MAX_INTERVALL",
            "1s",
            "no key is set by this variable; did you mean retry.max_interval?",
        ),
        ("RETEN_OUTBOX__RETRY", "1s", "no key is set by this variable"),
        ("RETEN_OUTBOX__RETRI__MAX_AGE", "1s", "did you mean [retry]?"),
        (
            "RETEN_OUTBOX__DELIVERY__MAX_IN_FLIGHT",
            "seven",
            "delivery.max_in_flight = \"seven\" is not a whole number",
        ),
        (
            "RETEN_OUTBOX__DELIVERY__MAX_IN_FLIGHT",
            "1.7",
            "delivery.max_in_flight = \"1.7\" is not a whole number",
        ),
        (
            "RETEN_OUTBOX__DELIVERY__MAX_IN_FLIGHT",
            "",
            "delivery.max_in_flight = \"\" is not a whole number",
        ),
        (
            "RETEN_OUTBOX__RETRY__MAX_AGE",
            "7",
            "retry.max_age = \"7\" is not a duration",
        ),
        ("RETEN_OUTBOX__VALIDATION__STATUSES", " , ", "is no list of texts"),
        ("RETEN_OUTBOX__CONFLICT__RULES", "crm", "is no list of tables"),
        (
            "RETEN_OUTBOX__API__KEY",
            "rtn_sk_1",
            "a key does not belong in the configuration",
        ),
        (
            "RETEN_OUTBOX__API__KEY_FILE",
            "rtn_sk_1",
            "api.key_file = \"[api key]\" is a key, not a path",
        ),
    ];
    for (name, value, expected) in cases {
        let found = load_text("", &[(name, value)]).unwrap_err();
        let place = format!("{name}: ");
        assert!(
            found.len() == 1 && found[0].starts_with(&place) && found[0].contains(expected),
            "{found:?}"
        );
        assert!(!found[0].contains("rtn_sk"), "{found:?}");
    }
    let twice = load_text(
        "",
        &[
            ("RETEN_OUTBOX__LOG__LEVEL", "warn"),
            ("RETEN_OUTBOX__LOG__Level", "info"),
        ],
    )
    .unwrap_err();
    assert!(twice[0].contains("log.level is set twice"), "{twice:?}");
}

#[test]
fn the_file_is_found_in_the_contracts_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, in_flight: u32| {
        let path = dir.path().join(name);
        fs::write(&path, format!("[delivery]\nmax_in_flight = {in_flight}\n")).unwrap();
        path
    };
    let (by_argument, by_variable, by_default) = (file("1.toml", 1), file("2.toml", 2), file("3.toml", 3));
    let named: Environment = [("RETEN_OUTBOX_CONFIG", by_variable.as_os_str())].into_iter().collect();
    let none = Environment::default();
    let load = |explicit: Option<&Path>, env, default: &Path| {
        let loaded = load_with(explicit, env, DefaultPaths::of(env, default, true, false)).unwrap();
        (loaded.config.delivery.max_in_flight, loaded.path)
    };
    assert_eq!(
        load(Some(&by_argument), &named, &by_default),
        (1, Some(by_argument.clone()))
    );
    assert_eq!(load(None, &named, &by_default), (2, Some(by_variable.clone())));
    assert_eq!(load(None, &none, &by_default), (3, Some(by_default.clone())));
    assert_eq!(load(None, &none, &dir.path().join("absent.toml")), (16, None));
}

#[test]
fn what_lies_at_home_by_default_is_made_and_what_somebody_chose_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let env: Environment = [
        ("HOME", dir.path().as_os_str()),
        ("RETEN_OUTBOX__INBOX__DIR", dir.path().join("chosen").as_os_str()),
    ]
    .into_iter()
    .collect();
    let paths = DefaultPaths::of(&env, &dir.path().join("absent.toml"), false, false);
    let home = load_with(None, &env, paths).unwrap().home();
    let state = dir.path().join(".local/state/reten-outbox");
    home.make().unwrap();
    home.make().unwrap();
    for directory in [state.clone(), state.join("db")] {
        assert!(home.has(&directory), "{home:?}");
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    }
    assert!(!dir.path().join("chosen").exists() && !state.join("inbox").exists());
    // In the system's paths nothing is made: a disk that is not mounted would be written beside.
    let paths = DefaultPaths::of(&env, &dir.path().join("absent.toml"), true, false);
    assert_eq!(load_with(None, &env, paths).unwrap().home(), Home::default());
    fs::write(dir.path().join("file"), "").unwrap();
    let env: Environment = [("HOME", dir.path().into()), ("XDG_STATE_HOME", dir.path().join("file"))]
        .into_iter()
        .collect();
    let paths = DefaultPaths::of(&env, &dir.path().join("absent.toml"), false, false);
    let error = load_with(None, &env, paths).unwrap().home().make().unwrap_err();
    assert!(error.to_string().contains("cannot be created"), "{error}");
}

#[test]
fn a_named_file_has_to_exist_and_be_text() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.toml");
    let error = Config::load(Some(&absent), &Environment::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&absent.display().to_string()) && error.contains("(named by --config): "),
        "{error}"
    );
    let env = [("RETEN_OUTBOX_CONFIG", &absent)].into_iter().collect();
    let error = Config::load(None, &env).unwrap_err().to_string();
    assert!(error.contains("(named by $RETEN_OUTBOX_CONFIG): "), "{error}");
    let binary = dir.path().join("binary.toml");
    fs::write(&binary, b"[api]\n# \xff\n").unwrap();
    let error = Config::load(Some(&binary), &Environment::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2 is not UTF-8"), "{error}");
    assert!(Config::load(Some(dir.path()), &Environment::default()).is_err());
}

#[test]
fn drop_ins_lie_over_the_file_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("config.toml");
    fs::write(&main, "[retry]\nmax_age = \"1d\"\nmax_attempts = 1\nmultiplier = 1.5\n").unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    let drop_in = |name: &str, text: &str| fs::write(dir.path().join("conf.d").join(name), text).unwrap();
    drop_in("20-b.toml", "[retry]\nmax_attempts = 3\n");
    drop_in("10-a.toml", "[retry]\nmax_attempts = 2\nmax_age = \"2d\"\n");
    drop_in(".hidden.toml", "broken");
    drop_in("old.toml.bak", "broken");
    let loaded = Config::load(Some(&main), &Environment::default()).unwrap();
    assert_eq!(loaded.config.retry.max_attempts, Some(3));
    assert_eq!(loaded.config.retry.max_age, Some(Duration::from_hours(48)));
    assert!((loaded.config.retry.multiplier - 1.5).abs() < f64::EPSILON);
}

#[test]
fn what_is_rendered_loads_as_the_same_configuration() {
    let text = "[[conflict.rules]]\nsource = \"c\\\"r\\\\m \\u007f é\"\nresult = [\"A\", \"B\"]\npolicy = \"override\"\n\
                [[conflict.rules]]\nregistered_by_us = false\npolicy = \"park\"\n[retry]\nmultiplier = 2\nmax_age = \"90m\"\n[inbox]\ndir = \"drop\"\n";
    let env = [
        ("RETEN_OUTBOX__LOG__LEVEL", "debug"),
        ("RETEN_OUTBOX__RETRY__MAX_INTERVAL", "1h"),
    ];
    for (text, env) in [("", [].as_slice()), (text, &env)] {
        let loaded = load_text(text, env).unwrap();
        let rendered = loaded.to_toml();
        let again = load_text(&rendered, &[]).unwrap_or_else(|problems| panic!("{problems:#?}\n{rendered}"));
        assert_eq!(again.config, loaded.config, "{rendered}");
        assert!(again.to_toml().matches("# from ").count() > 40, "{rendered}");
    }
}

#[test]
fn what_is_rendered_names_the_origin_and_hides_secrets() {
    let env = [
        ("RETEN_OUTBOX__RETRY__MAX_INTERVAL", "1h"),
        ("RETEN_OUTBOX__API__PROXY", "http://user:secret@proxy:3128"),
    ];
    let rendered = load_text("[log]\nlevel = \"warn\"\n", &env).unwrap().to_toml();
    assert!(
        rendered.contains("max_interval = \"1h\"  # from RETEN_OUTBOX__RETRY__MAX_INTERVAL\n"),
        "{rendered}"
    );
    assert!(
        rendered.contains("config.toml:2\n") && rendered.contains("level = \"warn\"  # from "),
        "{rendered}"
    );
    assert!(
        rendered.contains("proxy = \"http://user:[hidden]@proxy:3128\""),
        "{rendered}"
    );
    assert!(rendered.contains("timeout = \"30s\"\n"), "{rendered}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(
        text in "(\\[{0,2}(api|retry|conflict\\.rules|x)\\]{0,2}\n|(timeout|rules|policy|\"é\") ?= ?(\"[^\n]{0,5}\"|[0-9.]{1,3}|\\[\\{a=1\\}\\]|\"\"\"\n)\n|\\PC{0,9}\n){0,8}",
    ) {
        let _ = crate::config::reader::read_file(Path::new("x"), &text);
    }
}
