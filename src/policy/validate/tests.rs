//! The contract as a table: one change of a good result a row, and what is said of it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000); // 2026-11-23T10:00:00Z

const GOOD: &str = r#"{
    "activity_id": "7e57d004-2b97-0e7a-b45f-5387367791cd", "commerce_external_id": "c-1", "occurred_at": "2026-11-23T09:00:00Z",
    "status": "EFFECTIVE", "task_result": {"result": "SALE_COMPLETED"}
}"#;

fn settings(mode: ValidationMode) -> ValidationSettings {
    ValidationSettings {
        mode,
        result_types: true,
        refresh: Duration::from_hours(1),
        statuses: ["EFFECTIVE", "NOT_EFFECTIVE", "PENDING"].map(str::to_owned).to_vec(),
    }
}

fn criteria(mode: ValidationMode, types: Option<&[ResultType]>, now: Timestamp) -> Criteria {
    Criteria::new(&settings(mode), types.map(Arc::from), now)
}

fn types() -> Vec<ResultType> {
    let of = |code: &str, requires_future_scheduled_at| ResultType {
        code: code.to_owned(),
        label: String::new(),
        requires_future_scheduled_at,
    };
    vec![
        of("SALE_COMPLETED", false),
        of("NO_CONTACT", false),
        of("RESCHEDULE", true),
    ]
}

fn said_of(text: &str, types: Option<&[ResultType]>) -> Vec<String> {
    let object = Object::parse(text).unwrap();
    validate(&object, &criteria(ValidationMode::Strict, types, NOW))
        .iter()
        .map(Violation::to_string)
        .collect()
}

/// What is said of the good result with one piece of its text replaced.
fn said_with(piece: &str, replacement: &str) -> Vec<String> {
    assert!(GOOD.contains(piece), "{piece}");
    said_of(&GOOD.replace(piece, replacement), Some(&types()))
}

const ID: &str = r#""activity_id": "7e57d004-2b97-0e7a-b45f-5387367791cd""#;
const STATUS: &str = r#""status": "EFFECTIVE""#;
const OCCURRED: &str = r#""2026-11-23T09:00:00Z""#;
const RESULT: &str = r#""result": "SALE_COMPLETED""#;

#[test]
fn a_good_result_breaks_nothing() {
    assert_eq!(said_of(GOOD, Some(&types())), [""; 0]);
    assert_eq!(said_of(GOOD, None), [""; 0]);
    let everything = r#"{"activity_id":null,"provider_activity_id":"p-1","commerce_external_id":"c","occurred_at":"2026-11-23","status":"PENDING",
        "external_status":"x","hard_override":false,"raw_payload":{"a":[1]},"unknown":7,"task_result":{"result":"RESCHEDULE","comment":"","contact_type":"INBOUND",
        "operator_external_id":"o","future_scheduled_at":"2026-12-01T09:00:00-05:00","payload":{},"unknown":null}}"#;
    assert_eq!(said_of(everything, Some(&types())), [""; 0]);
    let nulls = r#""status": "EFFECTIVE", "external_status": null, "hard_override": null, "raw_payload": null"#;
    assert_eq!(said_with(STATUS, nulls), [""; 0]);
}

#[test]
fn the_activity_is_named_by_a_uuid_or_by_the_callers_id() {
    let none = "activity_id: is missing, and so is provider_activity_id; one of them is required";
    for replacement in [
        r#""a":1"#,
        r#""activity_id":"""#,
        r#""activity_id":null,"provider_activity_id":"""#,
    ] {
        assert_eq!(said_with(ID, replacement), [none], "{replacement}");
    }
    assert_eq!(said_with(ID, r#""activity_id":"","provider_activity_id":"p""#), [""; 0]);
    assert_eq!(
        said_with(ID, r#""activity_id":"7E57D004-2B97-0E7A-B45F-5387367791CD""#),
        [""; 0]
    );
    assert_eq!(
        said_with(ID, r#""activity_id":"crm-1","provider_activity_id":"p""#),
        ["activity_id: \"crm-1\" is not a UUID; an id of your own system goes into provider_activity_id"]
    );
    for wrong in [
        "7e57d0042b970e7ab45f5387367791cd",
        "{7e57d004-2b97-0e7a-b45f-5387367791cd}",
        "7e57d004-2b97-0e7a-b45f-5387367791cg",
    ] {
        assert_eq!(
            said_with(ID, &format!("\"activity_id\":\"{wrong}\"")).len(),
            1,
            "{wrong}"
        );
    }
    assert_eq!(said_with(ID, r#""activity_id":7"#), ["activity_id: 7 is not a string"]);
    assert_eq!(
        said_with(ID, r#""provider_activity_id":7"#),
        ["provider_activity_id: 7 is not a string"]
    );
}

#[test]
fn what_is_required_is_there_and_of_its_kind() {
    let cases = [
        (
            r#""commerce_external_id": "c-1""#,
            r#""x":1"#,
            "commerce_external_id: is missing or empty; it is required",
        ),
        (
            r#""c-1""#,
            r#""""#,
            "commerce_external_id: is missing or empty; it is required",
        ),
        (r#""c-1""#, "7", "commerce_external_id: 7 is not a string"),
        (OCCURRED, "null", "occurred_at: is missing or empty; it is required"),
        (OCCURRED, "1795428000", "occurred_at: 1795428000 is not a string"),
        (STATUS, r#""x":1"#, "status: is missing or empty; it is required"),
        (
            STATUS,
            r#""status":"DONE""#,
            "status: \"DONE\" is not one of EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        (
            STATUS,
            r#""status":"effective""#,
            "status: \"effective\" is not one of EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        (
            r#"{"result": "SALE_COMPLETED"}"#,
            "null",
            "task_result: is missing or empty; it is required",
        ),
        (
            r#"{"result": "SALE_COMPLETED"}"#,
            r#"["SALE_COMPLETED"]"#,
            "task_result: an array is not an object",
        ),
        (
            RESULT,
            r#""x":1"#,
            "task_result.result: is missing or empty; it is required",
        ),
        (
            RESULT,
            r#""result":{"code":"A"}"#,
            "task_result.result: an object is not a string",
        ),
    ];
    for (piece, replacement, expected) in cases {
        assert_eq!(said_with(piece, replacement), [expected], "{replacement}");
    }
}

#[test]
fn what_is_optional_is_of_its_kind_where_it_is_there() {
    let top = [
        (r#""external_status":7"#, "external_status: 7 is not a string"),
        (
            r#""hard_override":"true""#,
            "hard_override: \"true\" is not true or false",
        ),
        (r#""hard_override":1"#, "hard_override: 1 is not true or false"),
        (r#""raw_payload":"{}""#, "raw_payload: \"{}\" is not an object"),
        (r#""raw_payload":[]"#, "raw_payload: an array is not an object"),
    ];
    for (member, expected) in top {
        assert_eq!(
            said_with(STATUS, &format!("{STATUS}, {member}")),
            [expected],
            "{member}"
        );
    }
    let inner = [
        (r#""comment":7"#, "task_result.comment: 7 is not a string"),
        (
            r#""contact_type":"PHONE""#,
            "task_result.contact_type: \"PHONE\" is not one of INBOUND, OUTBOUND",
        ),
        (
            r#""operator_external_id":false"#,
            "task_result.operator_external_id: false is not a string",
        ),
        (r#""payload":"x""#, "task_result.payload: \"x\" is not an object"),
        (
            r#""future_scheduled_at":"soon""#,
            "task_result.future_scheduled_at: \"soon\" is not an ISO 8601 date; write it as 2026-11-23T10:00:00Z",
        ),
    ];
    for (member, expected) in inner {
        assert_eq!(
            said_with(RESULT, &format!("{RESULT}, {member}")),
            [expected],
            "{member}"
        );
    }
}

#[test]
fn the_result_is_one_of_the_tenants_where_its_list_is_known() {
    let unknown = r#""result": "SOLD""#;
    assert_eq!(
        said_with(RESULT, unknown),
        [
            "task_result.result: \"SOLD\" is no result type of this tenant; known: SALE_COMPLETED, NO_CONTACT, RESCHEDULE"
        ]
    );
    let text = GOOD.replace(RESULT, unknown);
    assert_eq!(said_of(&text, None), [""; 0]);
    assert_eq!(said_of(&text, Some(&[])), [""; 0]);
    let many: Vec<ResultType> = (0..25)
        .map(|number| ResultType {
            code: format!("T{number}"),
            label: String::new(),
            requires_future_scheduled_at: false,
        })
        .collect();
    assert!(said_of(&text, Some(&many))[0].ends_with("T19, and 5 more"));
}

#[test]
fn dates_are_iso_8601() {
    for right in [
        "2026-11-23T09:00:00Z",
        "2026-11-23T09:00:00.123-05:00",
        "2026-11-23T09:00:00",
        "2026-11-23T09:00Z",
        "2026-11-23",
        "20261123T090000Z",
    ] {
        assert_eq!(said_with(OCCURRED, &format!("\"{right}\"")), [""; 0], "{right}");
    }
    let wrong = [
        "23/11/2026",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-11-23 09:00:00",
        "2026-11-23t09:00:00z",
        "2026-11-23T09:00:00[America/Bogota]",
        "yesterday",
        "1795428000",
        " 2026-11-23",
        "2026-11-23T25:00:00Z",
    ];
    for wrong in wrong {
        let expected = format!("occurred_at: \"{wrong}\" is not an ISO 8601 date; write it as 2026-11-23T10:00:00Z");
        assert_eq!(said_with(OCCURRED, &format!("\"{wrong}\"")), [expected]);
    }
}

#[test]
fn a_result_type_may_require_a_date_in_the_future() {
    let with_date =
        |code: &str, date: &str| said_with(RESULT, &format!("\"result\":\"{code}\",\"future_scheduled_at\":{date}"));
    for right in [
        "\"2026-11-23T10:00:01Z\"",
        "\"2026-11-23T05:00:01-05:00\"",
        "\"2026-11-24\"",
        "\"2026-11-23T09:00:00\"",
    ] {
        assert_eq!(with_date("RESCHEDULE", right), [""; 0], "{right}");
    }
    for past in [
        "\"2026-11-23T10:00:00Z\"",
        "\"2026-11-23T12:00:00+03:00\"",
        "\"2026-11-22T21:59:00\"",
        "\"2026-11-22\"",
    ] {
        let expected = format!("task_result.future_scheduled_at: {past} is not in the future, as RESCHEDULE requires");
        assert_eq!(with_date("RESCHEDULE", past), [expected]);
    }
    let missing = "task_result.future_scheduled_at: is missing; RESCHEDULE requires a date in the future";
    assert_eq!(with_date("RESCHEDULE", "null"), [missing]);
    assert_eq!(said_with("SALE_COMPLETED", "RESCHEDULE"), [missing]);
    assert_eq!(
        with_date("RESCHEDULE", "7"),
        ["task_result.future_scheduled_at: 7 is not a string"]
    );
    assert_eq!(with_date("NO_CONTACT", "\"2020-01-01\""), [""; 0]);
}

#[test]
fn a_member_that_stands_twice_is_named_where_it_stands() {
    assert_eq!(
        said_with(STATUS, &format!("{STATUS}, {STATUS}")),
        ["status: stands more than once; keep one of them"]
    );
    assert_eq!(
        said_with(RESULT, &format!("{RESULT}, \"a\\nb\":1, \"a\\nb\":2")),
        ["task_result.a\\nb: stands more than once; keep one of them"]
    );
    assert_eq!(
        said_with(STATUS, &format!("{STATUS}, \"raw_payload\":{{\"a\":1,\"a\":2}}")),
        [""; 0]
    );
}

#[test]
fn everything_wrong_is_said_at_once_and_the_mode_decides_what_comes_of_it() {
    let object = Object::parse(r#"{"status":"DONE","status":"X","task_result":{}}"#).unwrap();
    let violations = |mode| validate(&object, &criteria(mode, None, NOW));
    let strict = violations(ValidationMode::Strict);
    assert_eq!(strict.len(), 6, "{strict:?}");
    let why = refusal(&strict, ValidationMode::Strict).unwrap();
    assert!(
        why.starts_with("status: stands more than once; keep one of them; activity_id: is missing"),
        "{why}"
    );
    assert_eq!(violations(ValidationMode::Warn), strict);
    assert_eq!(
        refusal(&strict, ValidationMode::Warn).as_deref(),
        Some("status: stands more than once; keep one of them")
    );
    assert_eq!(refusal(&strict[1..], ValidationMode::Warn), None);
    assert_eq!(violations(ValidationMode::Off), []);
}

#[test]
fn what_is_found_is_shown_in_one_short_line() {
    let said = said_with(STATUS, &format!("\"status\":\"{}\\u202e\u{202e}\"", "x".repeat(80)));
    assert!(
        said[0].starts_with(&format!("status: \"{}… is not one of", "x".repeat(59))),
        "{said:?}"
    );
    let said = said_with(STATUS, "\"status\":\"a\u{202e}b\"");
    assert!(said[0].starts_with("status: \"a\\u{202e}b\" is not"), "{said:?}");
}

/// Any JSON value of a small size.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "\\PC{0,8}|2026-11-23T10:00:00Z|EFFECTIVE|RESCHEDULE".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = "activity_id|status|task_result|result|future_scheduled_at|occurred_at|\\PC{0,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(name, inner, 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_judged_without_a_panic(task_result in json(), date in json(), now: i64) {
        let text = serde_json::json!({"occurred_at": date, "task_result": task_result}).to_string();
        let object = Object::parse(&text).unwrap();
        let violations = validate(&object, &criteria(ValidationMode::Strict, Some(&types()), Timestamp::from_millis(now)));
        prop_assert!(!violations.is_empty());
        prop_assert!(!refusal(&violations, ValidationMode::Strict).unwrap().contains('\n'));
    }
}
