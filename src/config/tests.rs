//! The whole way: files and environment in, a checked configuration or every problem out.

mod outbox;
mod sources;

use std::fs;

use super::keys::{KEYS, RULES};
use super::layers::check_value;
use super::*;
use crate::model::ConflictPolicy;

/// Loads this text as `/tmp/…/config.toml` with these variables; the directory's name is taken out of the messages.
fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let loaded = Config::load(Some(&path), &env.iter().copied().collect());
    let dir = format!("{}/", dir.path().display());
    loaded.map_err(|error| error.to_string().lines().map(|line| line.replace(&dir, "")).collect())
}

fn problems(text: &str) -> Vec<String> {
    load_text(text, &[]).unwrap_err()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Config::defaults().unwrap();
    assert_eq!(
        config.api.submit_url.as_str(),
        "https://api.reten.ai/api/integration/activity-results/tasks"
    );
    assert_eq!(
        config.api.result_types_url.as_str(),
        "https://api.reten.ai/api/integration/task-result-type-configs"
    );
    assert_eq!((config.api.max_error_body, config.api.require_json), (65_536, true));
    assert_eq!((config.api.proxy, config.api.ca_file), (None, None));
    assert_eq!((config.inbox.max_pending, config.inbox.min_free_disk), (None, 64 << 20));
    assert_eq!(config.outbox.keep_delivered, Keep::For(Duration::from_hours(30 * 24)));
    assert_eq!(
        (
            config.delivery.max_in_flight,
            config.delivery.max_per_second,
            config.delivery.reject_fuse
        ),
        (16, None, Some(100))
    );
    assert_eq!(
        (config.retry.max_age, config.retry.max_attempts),
        (Some(Duration::from_hours(7 * 24)), None)
    );
    assert_eq!(
        (config.conflict.policy, config.conflict.override_within),
        (ConflictPolicy::Park, None)
    );
    assert_eq!(config.conflict.after_lost_response, AfterLostResponse::Policy);
    assert_eq!(config.validation.mode, ValidationMode::Strict);
    assert_eq!((config.log.level, config.log.format), (Level::Info, LogFormat::Auto));
}

#[test]
fn every_key_of_the_file_of_defaults_is_read() {
    // What no key takes: so who does not complain does not read it.
    let nonsense = config::Value::new(None, config::ValueKind::Nil);
    for key in KEYS.iter() {
        assert!(check_value(key, &nonsense).is_err(), "{} is read by nobody", key.path());
        let example = if key.path() == RULES {
            config::Value::from(Vec::<bool>::new())
        } else {
            key.example.clone()
        };
        assert_eq!(check_value(key, &example), Ok(()), "{}", key.path());
    }
    assert_eq!(KEYS.len(), 53, "48 of sections and 5 of a rule");
}

#[test]
fn the_rule_that_the_file_of_defaults_shows_can_be_used() {
    let shown: Vec<&str> = DEFAULTS
        .lines()
        .skip_while(|line| *line != "# [[conflict.rules]]")
        .map_while(|line| line.strip_prefix("# "))
        .collect();
    let rules = load_text(&shown.join("\n"), &[]).unwrap().config.conflict.rules;
    let expected = ConflictRule {
        registered_by_us: Some(true),
        source: Some("crm".to_owned()),
        result: Some(vec!["SALE_COMPLETED".to_owned()]),
        status: Some(vec!["EFFECTIVE".to_owned()]),
        policy: ConflictPolicy::Override,
    };
    assert_eq!(rules, [expected]);
}

#[test]
fn a_misspelt_value_is_named_with_file_line_key_and_remedy() {
    let text = "\n[retry]\n# a comment\nmax_interval = \"10 minutes\"\n";
    assert_eq!(
        problems(text),
        ["config.toml:4: retry.max_interval = \"10 minutes\" is not a duration; write 10m, 600s or 1h30m"]
    );
}

#[test]
fn nothing_is_coerced_in_silence() {
    let cases = [
        (
            "[delivery]\nmax_in_flight = 1.7",
            "max_in_flight = 1.7 is not a whole number",
        ),
        (
            "[delivery]\nmax_in_flight = \"7\"",
            "max_in_flight = \"7\" is not a whole number",
        ),
        (
            "[delivery]\nmax_in_flight = true",
            "max_in_flight = true is not a whole number",
        ),
        (
            "[delivery]\nmax_in_flight = 0",
            "max_in_flight = 0 is out of range; write a whole number from 1 to 1024",
        ),
        ("[delivery]\nmax_in_flight = 1025", "is out of range"),
        ("[delivery]\nmax_per_second = -1", "is out of range"),
        ("[delivery]\nmax_per_second = 99999999999999999999", "is out of range"),
        (
            "[retry]\nmax_interval = 7",
            "max_interval = 7 is not a duration; write it in quotes and with its unit, as \"30s\"",
        ),
        ("[retry]\ninitial_interval = \"0\"", "is too short; write at least 1ms"),
        ("[retry]\nmultiplier = \"2\"", "is not a number"),
        (
            "[retry]\nmultiplier = 0.5",
            "is out of range; write a number from 1.0 to 100.0",
        ),
        ("[retry]\nmultiplier = nan", "is out of range"),
        ("[retry]\nrandomization_factor = 1.01", "is out of range"),
        ("[api]\nrequire_json = \"true\"", "is neither true nor false"),
        ("[api]\nrequire_json = 1", "is neither true nor false"),
        (
            "[api]\nmax_error_body = 65536",
            "is not a size; write it in quotes and with its unit, as \"64KiB\"",
        ),
        (
            "[api]\nmax_error_body = \"64\"",
            "is not a size; write 64KiB, 1MiB or 10MB",
        ),
        (
            "[api]\nmax_error_body = \"17MiB\"",
            "is out of range; write 1KiB to 16MiB",
        ),
        ("[api]\nbase_url = 7", "is not text"),
        (
            "[log]\nlevel = \"INFO\"",
            "is not one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        ("[log]\nlevel = 2026-01-01", "is not one of"),
        ("[outbox]\nkeep_delivered = \"never\"", "\"forever\" to keep"),
        (
            "[outbox]\ndatabase = \"postgres://u:p@h/d\"",
            "database = \"postgres://u:[hidden]@h/d\" goes over a network with sslmode=prefer",
        ),
        ("[outbox]\ndatabase = \"sqlite:///x\"", "is a URL; write the path alone"),
        ("[inbox]\ndir = \"\"", "is empty; name a path"),
        ("[validation]\nstatuses = []", "is no list of texts"),
        ("[validation]\nstatuses = \"EFFECTIVE\"", "is no list of texts"),
        ("[validation]\nstatuses = [1]", "is no list of texts"),
        (
            "[api]\nbase_url = \"http://api.reten.ai\"",
            "would send the API key in the clear",
        ),
        ("[api]\nsubmit_path = \"x\"", "does not begin with /"),
        (
            "[api]\nproxy = \"http://u:secret@p/x\"",
            "proxy = \"http://u:[hidden]@p/x\" has more than a host and a port",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].starts_with("config.toml:2: ") && found[0].contains(expected),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_one_that_was_meant() {
    let cases = [
        (
            "[retry]\nmax_intervall = \"1s\"",
            "config.toml:2: unknown key retry.max_intervall; did you mean retry.max_interval?",
        ),
        (
            "[retry]\nmax_in_flight = 1",
            "config.toml:2: unknown key retry.max_in_flight; did you mean delivery.max_in_flight?",
        ),
        (
            "[log]\nxyz = 1",
            "config.toml:2: unknown key log.xyz; known in [log]: level, format, summary_interval",
        ),
        (
            "[rety]\nx = 1",
            "config.toml:1: unknown section [rety]; did you mean [retry]?",
        ),
        ("[x]", "config.toml:1: unknown section [x]; known: [api], [inbox]"),
        (
            "base_url = \"x\"",
            "config.toml:1: unknown key `base_url` outside of every section; did you mean api.base_url?",
        ),
        ("retry = 1", "config.toml:1: `retry` is a section; write [retry] once"),
        ("[[retry]]\nmax_age = \"0\"", "config.toml:1: `retry` is a section"),
        (
            "[api]\nkey = \"rtn_sk_123\"",
            "config.toml:2: unknown key api.key; a key does not belong in the configuration",
        ),
        (
            "[[conflict.rules]]\nsauce = \"crm\"\npolicy = \"park\"",
            "config.toml:2: unknown key conflict.rules.sauce; known here: registered_by_us",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
        assert!(!found[0].contains("rtn_sk"), "{found:?}");
    }
}

#[test]
fn everything_wrong_is_named_in_one_go_and_in_order() {
    let text = "[retry]\nmax_age = 7\n[log]\nlevel = \"loud\"\nlevle = \"info\"\n[api]\nbase_url = \"ftp://x\"\n";
    let found = load_text(
        text,
        &[("RETEN_OUTBOX__RETRY__MULTIPLIER", "x"), ("RETEN_OUTBOX__NO", "1")],
    )
    .unwrap_err();
    let starts = [
        "config.toml:2: retry.max_age",
        "config.toml:4: log.level",
        "config.toml:5: unknown key log.levle",
        "RETEN_OUTBOX__NO: ",
        "RETEN_OUTBOX__RETRY__MULTIPLIER: retry.multiplier = \"x\" is not a number",
        "config.toml:7: api.base_url",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn values_that_do_not_fit_one_another_are_named_where_one_was_set() {
    assert_eq!(
        problems("[retry]\ninitial_interval = \"20m\""),
        [
            "config.toml:2: retry.max_interval = \"10m\" is shorter than retry.initial_interval = \"20m\"; \
          write an initial_interval that is not longer than max_interval"
        ]
    );
    // The other half is wrong already: one message is enough.
    assert_eq!(
        problems("[retry]\ninitial_interval = \"20m\"\nmax_interval = \"long\"").len(),
        1
    );
    let found = problems("[inbox]\ndatabase = \"/v/outbox.db\"\n[outbox]\ndatabase = \"/v/outbox.db\"");
    assert!(
        found[0].contains("inbox.database = \"/v/outbox.db\" is the same file as outbox.database"),
        "{found:?}"
    );
    let found = problems("[inbox]\ndir = \"/v/in\"\ndatabase = \"/v/in/db/inbox.db\"\n");
    assert!(found[0].contains("lies inside inbox.dir"), "{found:?}");
    let found = problems("[inbox]\ndir = \"/var/lib/reten-outbox\"\n");
    assert!(
        found[0].starts_with("config.toml:2: outbox.database") && found[0].contains("lies inside inbox.dir"),
        "{found:?}"
    );
}

#[test]
fn one_directory_for_both_databases_is_a_warning() {
    let loaded = load_text(
        "[inbox]\ndatabase = \"/v/inbox.db\"\n[outbox]\ndatabase = \"/v/outbox.db\"",
        &[],
    )
    .unwrap();
    assert!(
        loaded.warnings[0]
            .message
            .contains("lies in the same directory as outbox.database"),
        "{:?}",
        loaded.warnings
    );
    assert!(load_text("", &[]).unwrap().warnings.is_empty());
}

#[test]
fn a_rule_needs_a_policy_and_a_condition() {
    let found = problems("[[conflict.rules]]\nsource = \"crm\"\n[[conflict.rules]]\npolicy = \"park\"\n");
    assert!(
        found[0].starts_with("config.toml:1: ") && found[0].contains("has no policy"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("config.toml:3: ") && found[1].contains("names no condition"),
        "{found:?}"
    );
    let found = problems("[conflict]\nrules = [1]\n");
    assert!(found[0].contains("is no list of tables"), "{found:?}");
}

#[test]
fn zero_means_none_where_the_contract_says_so() {
    let text = "[retry]\nmax_age = \"0\"\nmax_attempts = 0\n[conflict]\noverride_within = \"0\"\n[delivery]\nreject_fuse = 0\n\
                [outbox]\nkeep_delivered = \"0\"\nkeep_dismissed = \"forever\"\n";
    let config = load_text(text, &[]).unwrap().config;
    assert_eq!((config.retry.max_age, config.retry.max_attempts), (None, None));
    assert_eq!(
        (config.conflict.override_within, config.delivery.reject_fuse),
        (None, None)
    );
    assert_eq!(config.outbox.keep_delivered, Keep::For(Duration::ZERO));
    assert_eq!(config.outbox.keep_dismissed, Keep::Forever);
}

#[test]
fn relative_paths_begin_in_the_current_directory() {
    let config = load_text("[inbox]\ndir = \"drop\"\n", &[]).unwrap().config;
    assert_eq!(config.inbox.dir, std::env::current_dir().unwrap().join("drop"));
}
