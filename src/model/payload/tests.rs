//! What is kept letter for letter, what is found, and what counts as equal.

use super::super::activity::ActivityKey;
use super::*;

fn sent(text: &str) -> String {
    Object::parse(text).unwrap().payload().text().into_owned()
}

#[test]
fn the_directives_are_taken_out_and_nothing_else_is_touched() {
    let cases = [
        (r#"{"a":1,"$outbox":{"key":"k"},"b":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"$outbox":{"key":"k"},"b": 1.50}"#, r#"{"b": 1.50}"#),
        (
            r#"{"b":12345678901234567890123, "$outbox":{}}"#,
            r#"{"b":12345678901234567890123}"#,
        ),
        (r#"{"$outbox":{}}"#, "{}"),
        (r#"{"$outbox":1,"$outbox":2,"a":3}"#, r#"{"a":3}"#),
        (r#"{"a":3,"$outbox":1,"$outbox":2}"#, r#"{"a":3}"#),
        (r#"{"$outbox":1,"a":3,"$outbox":2,"b":4}"#, r#"{"a":3,"b":4}"#),
        (r#"{"\u0024outbox":1,"a":{"$outbox":2}}"#, r#"{"a":{"$outbox":2}}"#),
        (
            " {\"a\" : [1, {\"b\":\"}\\\"\"}] }\n",
            "{\"a\" : [1, {\"b\":\"}\\\"\"}] }",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(sent(text), expected, "{text}");
    }
}

#[test]
fn hard_override_replaces_the_producers_own_or_comes_first() {
    let cases = [
        (r#"{"a":1}"#, r#"{"hard_override":true,"a":1}"#),
        (r"{}", r#"{"hard_override":true}"#),
        (
            r#"{"a":1,"hard_override" : false ,"b":2}"#,
            r#"{"a":1,"hard_override" : true ,"b":2}"#,
        ),
        (r#"{"hard_override":null}"#, r#"{"hard_override":true}"#),
        (
            r#"{"x":{"hard_override":false}}"#,
            r#"{"hard_override":true,"x":{"hard_override":false}}"#,
        ),
        ("not json", "not json"),
    ];
    for (text, expected) in cases {
        assert_eq!(Payload::from_text(text).with_hard_override().text(), expected);
    }
    assert!(Payload::from_text(r#"{"hard_override": true}"#).has_hard_override());
    assert!(!Payload::from_text(r#"{"hard_override": "true"}"#).has_hard_override());
}

#[test]
fn one_value_has_one_digest_however_it_is_written() {
    let same = [
        (
            r#"{"a":1,"b":[1.50,"\u00e9"]}"#,
            "{ \"b\" : [15e-1, \"é\"], \"a\":1.0 }",
        ),
        (r#"{"n":100}"#, r#"{"n":1E+2}"#),
        (r#"{"n":-0.0}"#, r#"{"n":0}"#),
        (
            r#"{"n":12345678901234567890123}"#,
            r#"{"n":1.2345678901234567890123e22}"#,
        ),
    ];
    for (left, right) in same {
        assert_eq!(
            Payload::from_text(left).digest(),
            Payload::from_text(right).digest(),
            "{left} {right}"
        );
    }
    let different = [
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
        (r#"{"a":{}}"#, r#"{"a":[]}"#),
        (r#"{"a":null}"#, r"{}"),
        (r#"{"a":"x"}"#, r#"{"a":"X"}"#),
        (r#"{"n":1}"#, r#"{"n":-1}"#),
        (r#"{"n":12345678901234567890123}"#, r#"{"n":12345678901234567890124}"#),
    ];
    for (left, right) in different {
        assert_ne!(
            Payload::from_text(left).digest(),
            Payload::from_text(right).digest(),
            "{left} {right}"
        );
    }
}

#[test]
fn any_depth_of_nesting_is_looked_at_without_recursion() {
    let deep = format!(
        r#"{{"provider_activity_id":"p","raw_payload":{}1{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let object = Object::parse(&deep).unwrap();
    assert_eq!(object.facts().provider_activity_id.as_deref(), Some("p"));
    assert_eq!(object.payload().digest(), Payload::from_text(&deep).digest());
}

#[test]
fn what_is_no_object_says_what_it_is() {
    for (text, expected) in [
        ("[1]", "an array"),
        ("\"x\"", "a string"),
        ("1", "a number"),
        ("null", "null"),
        ("true", "a boolean"),
    ] {
        assert!(
            Object::parse(text).unwrap_err().to_string().contains(expected),
            "{text}"
        );
    }
    assert!(
        Object::parse(r#"{"a":"#)
            .unwrap_err()
            .to_string()
            .starts_with("not JSON")
    );
}

#[test]
fn a_member_that_stands_twice_is_found_whatever_its_escapes() {
    assert_eq!(
        Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap().duplicate(),
        Some("a")
    );
    assert_eq!(Object::parse(r#"{"a":1,"b":{"a":1}}"#).unwrap().duplicate(), None);
}

#[test]
fn empty_and_null_ids_count_as_absent() {
    let facts = Object::parse(r#"{"activity_id":"","provider_activity_id":"p"}"#)
        .unwrap()
        .facts();
    assert_eq!(facts.activity(), Some(ActivityKey::Provider("p".into())));
    let facts = Object::parse(r#"{"activity_id":null,"provider_activity_id":7}"#)
        .unwrap()
        .facts();
    assert_eq!(facts.activity(), None);
}
