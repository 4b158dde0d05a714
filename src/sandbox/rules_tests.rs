use serde_json::{Value, json};

use super::*;

/// 2026-06-01T00:00:00Z.
const NOW_MS: i64 = 1_780_272_000_000;
const UUID: &str = "3f0f9a52-5c2e-4d2f-9d54-3f1f5b0b1a11";

fn types() -> Vec<TenantResultType> {
    [("SALE_COMPLETED", false), ("RESCHEDULE", true)]
        .map(|(code, requires_future_scheduled_at)| TenantResultType {
            code: code.into(),
            label: code.into(),
            requires_future_scheduled_at,
        })
        .to_vec()
}

fn good() -> Value {
    json!({
        "activity_id": UUID, "commerce_external_id": "shop-1", "occurred_at": "2026-05-01T10:00:00Z", "status": "EFFECTIVE",
        "task_result": {"result": "SALE_COMPLETED"},
    })
}

fn judge(body: &str) -> Vec<String> {
    match BodyMembers::parse(body.as_bytes()) {
        Ok(members) => check(&members, &types(), NOW_MS).err().unwrap_or_default(),
        Err(message) => vec![message],
    }
}

/// `good()` with the value at the pointer replaced; `None` takes the member away.
fn with(pointer: &str, value: Option<Value>) -> String {
    let mut body = good();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("an object");
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    body.to_string()
}

#[test]
fn good_bodies_pass() {
    for (pointer, value) in [
        ("/status", Some(json!("PENDING"))),
        ("/activity_id", Some(json!(UUID.to_uppercase()))),
        ("/provider_activity_id", Some(json!("crm-1"))),
        ("/provider_activity_id", Some(Value::Null)),
        ("/occurred_at", Some(json!("2026-05-01"))),
        ("/occurred_at", Some(json!("2026-05-01T10:00:00.123-03:00"))),
        ("/occurred_at", Some(json!("2026-05-01T10:00:00"))),
        ("/external_status", Some(json!("visited"))),
        ("/hard_override", Some(json!(true))),
        ("/raw_payload", Some(json!({"a": [1, {"b": null}]}))),
        ("/unknown", Some(json!([1]))),
        ("/task_result/comment", Some(json!(""))),
        ("/task_result/contact_type", Some(json!("OUTBOUND"))),
        ("/task_result/future_scheduled_at", Some(json!("2020-01-01T00:00:00Z"))),
        (
            "/task_result",
            Some(json!({"result": "RESCHEDULE", "future_scheduled_at": "2026-06-01T00:00:01Z"})),
        ),
    ] {
        assert_eq!(
            judge(&with(pointer, value.clone())),
            Vec::<String>::new(),
            "{pointer} {value:?}"
        );
    }
}

#[test]
fn each_violation_is_named() {
    for (pointer, value, expected) in [
        ("/activity_id", None, "activity_id or provider_activity_id is required"),
        (
            "/activity_id",
            Some(json!("")),
            "activity_id or provider_activity_id is required",
        ),
        ("/activity_id", Some(json!("crm-1")), "activity_id must be a UUID"),
        (
            "/commerce_external_id",
            None,
            "commerce_external_id should not be empty",
        ),
        (
            "/commerce_external_id",
            Some(json!("")),
            "commerce_external_id should not be empty",
        ),
        (
            "/commerce_external_id",
            Some(json!(7)),
            "commerce_external_id must be a string",
        ),
        ("/occurred_at", Some(Value::Null), "occurred_at should not be empty"),
        (
            "/occurred_at",
            Some(json!("01/05/2026")),
            "occurred_at must be a valid ISO 8601 date string",
        ),
        (
            "/occurred_at",
            Some(json!("2026-02-30T10:00:00Z")),
            "occurred_at must be a valid ISO 8601 date string",
        ),
        (
            "/occurred_at",
            Some(json!("2026-05-01 10:00:00")),
            "occurred_at must be a valid ISO 8601 date string",
        ),
        (
            "/occurred_at",
            Some(json!("2026-05-01T25:00:00Z")),
            "occurred_at must be a valid ISO 8601 date string",
        ),
        ("/status", None, "status should not be empty"),
        (
            "/status",
            Some(json!("DONE")),
            "status must be one of the following values: EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        ("/external_status", Some(json!(1)), "external_status must be a string"),
        (
            "/hard_override",
            Some(json!("true")),
            "hard_override must be a boolean value",
        ),
        ("/raw_payload", Some(json!([])), "raw_payload must be an object"),
        ("/task_result", None, "task_result should not be empty"),
        ("/task_result/result", None, "task_result.result should not be empty"),
        (
            "/task_result/contact_type",
            Some(json!("MAIL")),
            "task_result.contact_type must be one of the following values: INBOUND, OUTBOUND",
        ),
        (
            "/task_result/payload",
            Some(json!("x")),
            "task_result.payload must be an object",
        ),
        (
            "/task_result/future_scheduled_at",
            Some(json!("soon")),
            "task_result.future_scheduled_at must be a valid ISO 8601 date string",
        ),
        (
            "/task_result/result",
            Some(json!("RESCHEDULE")),
            "task_result.future_scheduled_at should not be empty",
        ),
    ] {
        assert_eq!(judge(&with(pointer, value.clone())), [expected], "{pointer} {value:?}");
    }
    let past = judge(&with(
        "/task_result",
        Some(json!({"result": "RESCHEDULE", "future_scheduled_at": "2026-06-01T00:00:00Z"})),
    ));
    assert_eq!(past, ["task_result.future_scheduled_at must be in the future"]);
    let code = judge(&with("/task_result/result", Some(json!("SOLD"))));
    assert_eq!(
        code,
        ["task_result.result: invalid result code SOLD; valid are SALE_COMPLETED, RESCHEDULE"]
    );
    assert_eq!(judge("{}").len(), 5, "all at once");
}

#[test]
fn what_is_not_one_clean_object_is_refused() {
    for (body, part) in [
        ("", "not a JSON object"),
        ("[]", "expected an object"),
        ("{\"a\":1", "not a JSON object"),
        ("{} {}", "trailing characters"),
        (
            "{\"status\":\"EFFECTIVE\",\"status\":\"PENDING\"}",
            "duplicate member status",
        ),
        ("{\"a\":1,\"\\u0061\":1}", "duplicate member a"),
    ] {
        let violations = judge(body);
        assert!(
            violations.iter().any(|message| message.contains(part)),
            "{body}: {violations:?}"
        );
    }
    let twice = good()
        .to_string()
        .replace("\"result\":", "\"result\":\"SALE_COMPLETED\",\"result\":");
    assert!(judge(&twice)[0].contains("duplicate member result"));
    let inside = with("/raw_payload", Some(json!({"marker": 1}))).replace("\"marker\":1", "\"a\":1,\"a\":2");
    assert_eq!(
        judge(&inside),
        Vec::<String>::new(),
        "what is stored as it is, is not read"
    );
}

#[test]
fn the_uuid_wins_and_its_case_does_not_matter() {
    let glance = |activity_id: &str, provider: &str| BodyFacts {
        activity_id: Some(activity_id.into()),
        provider_activity_id: Some(provider.into()),
        ..BodyFacts::default()
    };
    assert_eq!(
        glance(&UUID.to_uppercase(), "crm-1").activity(),
        Some(Activity::Id(UUID.into()))
    );
    assert_eq!(
        glance("", "CRM-1").activity(),
        Some(Activity::ProviderId("CRM-1".into()))
    );
    assert_eq!(glance("", "").activity(), None);
}
