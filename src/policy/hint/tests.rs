use bytes::Bytes;
use proptest::prelude::*;
use strum::VariantArray as _;

use super::*;
use crate::clock::Timestamp;
use crate::model::{AttemptNumber, Fault};

const ID: Option<SubmissionId> = Some(SubmissionId(12));

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        body_length: body.len() as u64,
    }
}

fn documented(status: u16, error: &str, message: &str) -> Answer {
    answer(
        status,
        &serde_json::json!({"statusCode": status, "error": error, "message": message}).to_string(),
    )
}

fn attempt(outcome: EndingName, answer: Option<Answer>, fault: Option<FaultKind>) -> Attempt {
    Attempt {
        number: AttemptNumber(1),
        node: None,
        started_at: Timestamp::default(),
        elapsed_ms: 1,
        hard_override: false,
        outcome,
        lost_response: false,
        answer,
        fault: fault.map(|kind| Fault {
            kind,
            message: String::new(),
            status: None,
        }),
    }
}

#[test]
fn every_documented_error_has_its_remedy() {
    let bad = |message| documented(400, "Bad Request", message);
    let cases = [
        (
            bad("commerce_external_id should not be empty"),
            &["commerce_external_id is required", "`reten-outbox edit 12`"][..],
        ),
        (
            bad("occurred_at must be a valid ISO 8601 date string"),
            &["occurred_at is required, as ISO 8601"],
        ),
        (
            bad("status must be one of the following values"),
            &["status is one of EFFECTIVE"],
        ),
        (
            bad("task_result.result should not be empty"),
            &["one of the tenant's result types"],
        ),
        (bad("Invalid result code: SOLD"), &["one of the tenant's result types"]),
        (
            bad("future_scheduled_at is required for RESCHEDULE"),
            &["requires task_result.future_scheduled_at"],
        ),
        (bad("not an ISO8601 date"), &["dates are ISO 8601"]),
        (
            bad("no"),
            &["the API refuses the body: correct it with `reten-outbox edit 12`"],
        ),
        (bad("external_status is too long"), &["the API refuses the body"]),
        (
            documented(401, "Unauthorized", "API key missing or invalid"),
            &["api.key_file", "revoked, expired"],
        ),
        (
            documented(403, "Forbidden", "no"),
            &["SUBMIT_ACTIVITY_RESULT", "administrator"],
        ),
        (
            documented(404, "Not Found", "Activity not found"),
            &["activity_id (or provider_activity_id) is not in the key's tenant"],
        ),
        (
            documented(404, "Not Found", "Commerce x not found"),
            &["commerce_external_id is not", "edit 12", "requeue 12"],
        ),
        (documented(404, "Not Found", "Nope"), &["one of activity_id"]),
        (
            documented(409, "Conflict", "Activity already has a result"),
            &["override 12", "accept 12", "dismiss 12"],
        ),
        (documented(500, "Internal Server Error", "x"), &["tried again"]),
    ];
    for (answer, expected) in cases {
        let hint = of_answer(&answer, ID);
        for words in expected {
            assert!(hint.contains(words), "{answer:?}: {hint}");
        }
    }
}

#[test]
fn an_answer_that_is_not_the_apis_puts_the_address_in_doubt() {
    for (status, expected) in [
        (200, "captive portal"),
        (302, "correct api.base_url"),
        (404, "check api.base_url and api.submit_path"),
        (405, "not an answer of the API's own"),
        (407, "api.proxy"),
        (999, "check what answers"),
    ] {
        let hint = of_answer(&answer(status, "<html>"), ID);
        assert!(hint.contains(expected), "{status}: {hint}");
    }
}

#[test]
fn without_a_number_the_command_is_shown_with_a_placeholder() {
    assert!(of_answer(&answer(409, ""), None).contains("`reten-outbox override ID`"));
}

#[test]
fn several_complaints_have_several_remedies() {
    let body = r#"{"statusCode":400,"error":"Bad Request","message":["status must be a string","commerce_external_id must be a string"]}"#;
    let hint = of_answer(&answer(400, body), ID);
    assert!(
        hint.contains("commerce_external_id is required; status is one of"),
        "{hint}"
    );
}

#[test]
fn the_state_says_more_than_the_answer_where_a_person_has_to_decide() {
    let conflict = attempt(EndingName::Parked, Some(documented(409, "Conflict", "x")), None);
    let of = |state| of_submission(&state, Some(&conflict), SubmissionId(12));
    assert_eq!(of(State::Delivered), None);
    assert_eq!(of(State::Dismissed), None);
    assert!(of(State::Parked(ParkReason::Conflict)).unwrap().contains("override 12"));
    assert!(
        of(State::Parked(ParkReason::ConflictAfterLostResponse))
            .unwrap()
            .contains("if the registered result is this one, `reten-outbox accept 12`")
    );
    assert!(of(State::Dead(DeadReason::Conflict)).unwrap().contains("hard_override"));
    assert!(of(State::Dead(DeadReason::Invalid)).unwrap().contains("edit 12"));
    let timeout = attempt(EndingName::Dead, None, Some(FaultKind::Timeout));
    let exhausted = State::Dead(DeadReason::RetriesExhausted);
    let hint = of_submission(&exhausted, Some(&timeout), SubmissionId(12)).unwrap();
    assert!(hint.contains("api.timeout") && hint.contains("requeue 12"), "{hint}");
    assert!(
        of_submission(&exhausted, None, SubmissionId(12))
            .unwrap()
            .starts_with("when the fault is mended")
    );
}

#[test]
fn an_attempt_that_went_well_needs_nothing() {
    for outcome in EndingName::VARIANTS {
        let hint = of_attempt(&attempt(*outcome, Some(answer(200, "{}")), None), ID);
        let went_well = matches!(
            outcome,
            EndingName::Delivered | EndingName::Accepted | EndingName::Override
        );
        assert_eq!(hint.is_none(), went_well, "{outcome:?}");
    }
    assert_eq!(of_attempt(&attempt(EndingName::Interrupted, None, None), ID), None);
}

#[test]
fn the_list_of_result_types_needs_its_own_permission() {
    assert!(of_query(403).unwrap().contains("VIEW_ACTIVITIES"));
    assert!(of_query(401).unwrap().contains("api.key_file"));
    assert_eq!(of_query(500), None);
}

#[test]
fn the_documented_error_is_read_and_nothing_else_is_taken_for_it() {
    let parse = |body: &str| ApiError::parse(body.as_bytes());
    let error = |status_code, error: &str, message: &str| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Some(ApiError {
            status_code,
            error: text(error),
            message: text(message),
        })
    };
    let cases = [
        (
            r#"{"statusCode":401,"error":"Unauthorized","message":"API key missing or invalid"}"#,
            error(Some(401), "Unauthorized", "API key missing or invalid"),
        ),
        (
            r#"{"message":["a","b"],"error":"Bad Request","statusCode":400}"#,
            error(Some(400), "Bad Request", "a; b"),
        ),
        (
            r#"{"statusCode":401,"message":"Unauthorized"}"#,
            error(Some(401), "", "Unauthorized"),
        ),
        (
            r#"{"error":"Conflict","message":"x","more":[1]}"#,
            error(None, "Conflict", "x"),
        ),
        (r#"{"statusCode":"400","error":"Bad","message":{"a":1}}"#, None),
        (r#"{"statusCode":400}"#, None),
        (r#"{"message":"hello"}"#, None),
        (r#"{"statusCode":400,"message":"#, None),
        (r#"[{"statusCode":400,"message":"x"}]"#, None),
        (r#"{"statusCode":400,"message":""}"#, None),
        (
            r#"{"statusCode":99999,"error":"a","message":"b"}"#,
            error(None, "a", "b"),
        ),
        ("<html>", None),
        ("", None),
        ("null", None),
    ];
    for (body, expected) in cases {
        assert_eq!(parse(body), expected, "{body}");
    }
    assert_eq!(parse(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))), None);
    assert_eq!(ApiError::parse(b"\xff"), None);
}

proptest! {
    #[test]
    fn any_answer_has_a_hint_in_one_line(status: u16, body in "\\PC{0,40}|\\{\"statusCode\":4[0-9]{2},\"error\":\"x\",\"message\":\"\\PC{0,20}\"\\}") {
        let hint = of_answer(&answer(status, &body), ID);
        prop_assert!(!hint.is_empty() && !hint.contains('\n'));
    }
}

#[test]
fn what_was_put_back_is_not_told_the_remedies_of_where_it_was() {
    let conflict = attempt(
        EndingName::Parked,
        Some(documented(409, "Conflict", "Activity already has a result")),
        None,
    );
    let pending = State::Pending {
        due: Timestamp::default(),
    };
    assert_eq!(of_submission(&pending, Some(&conflict), SubmissionId(12)), None);
    let retried = attempt(
        EndingName::Retry,
        Some(documented(503, "Service Unavailable", "")),
        None,
    );
    assert!(of_submission(&pending, Some(&retried), SubmissionId(12)).is_some());
}

#[test]
fn a_fault_does_not_point_at_a_configuration_that_has_worked() {
    let kinds = [
        FaultKind::Dns,
        FaultKind::Connect,
        FaultKind::Tls,
        FaultKind::Timeout,
        FaultKind::Reset,
        FaultKind::CutOff,
    ];
    for kind in kinds {
        let told = of_passing_fault(kind);
        assert!(told.contains("nothing is lost for retry.max_age"), "{told}");
        assert!(!told.contains("api.") && !told.contains("check "), "{told}");
    }
}
