//! The sandbox over real sockets, by a client that shares nothing with the daemon's.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);
const KEY: &str = DEFAULT_API_KEY;

async fn started() -> Sandbox {
    Sandbox::start(Options::default()).await.expect("a free port")
}

fn body(provider_activity_id: &str, script: &str) -> Value {
    json!({
        "provider_activity_id": provider_activity_id, "commerce_external_id": "shop-1", "occurred_at": "2026-05-01T10:00:00Z",
        "status": "EFFECTIVE", "external_status": script, "task_result": {"result": "SALE_COMPLETED"},
    })
}

fn overriding(provider_activity_id: &str) -> Value {
    let mut body = body(provider_activity_id, "");
    body["hard_override"] = json!(true);
    body
}

/// Everything the server sends until it closes, or until the deadline; and the error of the socket, if that is how it
/// ended.
async fn exchange(
    sandbox: &Sandbox,
    method: &str,
    path: &str,
    key: &str,
    body: &str,
    deadline: Duration,
) -> (String, Option<io::ErrorKind>) {
    let mut stream = TcpStream::connect(sandbox.addr()).await.expect("a listener");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("a reader");
    let mut received = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        // Bounded, for the body that never ends.
        while received.len() < 1 << 20 {
            match stream.read(&mut piece).await {
                Ok(0) => break,
                Ok(read) => received.extend_from_slice(&piece[..read]),
                Err(error) => return Some(error.kind()),
            }
        }
        None
    };
    let ended = timeout(deadline, read).await;
    (
        String::from_utf8_lossy(&received).into_owned(),
        ended.unwrap_or(Some(io::ErrorKind::TimedOut)),
    )
}

async fn submit(sandbox: &Sandbox, body: &Value) -> (String, Option<io::ErrorKind>) {
    exchange(sandbox, "POST", SUBMIT_PATH, KEY, &body.to_string(), LONG).await
}

/// The status, or 0 where there was no answer.
async fn status(sandbox: &Sandbox, body: &Value) -> u16 {
    status_of(&submit(sandbox, body).await.0)
}

fn status_of(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

async fn settings(sandbox: &Sandbox, change: Value) {
    let (answer, _) = exchange(sandbox, "POST", "/_sandbox/settings", "", &change.to_string(), LONG).await;
    assert_eq!(status_of(&answer), 200, "{answer}");
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came: {what}");
}

#[tokio::test]
async fn the_key_comes_first() {
    let sandbox = started().await;
    for key in ["", "wrong", "rtn_sk_sandbox rtn_sk_sandbox"] {
        let (answer, _) = exchange(&sandbox, "POST", SUBMIT_PATH, key, "no json", LONG).await;
        assert_eq!(status_of(&answer), 401, "{answer}");
        let (_, json) = answer.split_once("\r\n\r\n").expect("a body");
        let error: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(
            error,
            json!({"statusCode": 401, "error": "Unauthorized", "message": "API key missing or invalid"})
        );
    }
    settings(&sandbox, json!({"permissions": ["VIEW_ACTIVITIES"]})).await;
    assert_eq!(status(&sandbox, &body("a", "")).await, 403);
    let (types, _) = exchange(&sandbox, "GET", RESULT_TYPES_PATH, KEY, "", LONG).await;
    assert!(types.contains(r#""requiresFutureScheduledAt":true"#), "{types}");
    let (other, _) = exchange(&sandbox, "GET", "/api/other", KEY, "", LONG).await;
    assert!(other.contains(r#""statusCode":404"#), "{other}");
    let keys_ok: Vec<_> = sandbox.requests().iter().map(|request| request.key_ok).collect();
    assert_eq!(keys_ok, [false, false, false, true, true, true]);
}

#[tokio::test]
async fn a_second_result_is_a_conflict_unless_it_overrides() {
    let sandbox = Sandbox::start(Options {
        existing: vec!["old".to_owned()],
        unknown: vec!["none".to_owned()],
        ..Options::default()
    })
    .await
    .expect("a port");
    assert_eq!(status(&sandbox, &body("a", "")).await, 201);
    assert_eq!(status(&sandbox, &body("a", "")).await, 409);
    assert_eq!(status(&sandbox, &overriding("a")).await, 201);
    assert_eq!(status(&sandbox, &body("old", "")).await, 409);
    assert_eq!(status(&sandbox, &overriding("old")).await, 201);
    assert_eq!(status(&sandbox, &body("none", "")).await, 404);
    assert_eq!(status(&sandbox, &json!({"provider_activity_id": "b"})).await, 400);
    let accepted: Vec<_> = sandbox
        .results()
        .into_iter()
        .map(|result| (result.activity, result.accepted))
        .collect();
    assert_eq!(accepted, [("a".to_owned(), 2), ("old".to_owned(), 1)]);
    assert_eq!(sandbox.results()[0].body, overriding("a").to_string());
}

#[tokio::test]
async fn a_script_is_followed_and_then_the_contract() {
    let sandbox = started().await;
    let scripted = body("a", "sim:503x2,429@3");
    let mut later = scripted.clone();
    later["occurred_at"] = json!("2026-05-02");
    assert_eq!(status(&sandbox, &scripted).await, 503);
    assert_eq!(status(&sandbox, &later).await, 503);
    assert_eq!(status(&sandbox, &scripted).await, 503);
    let (throttled, _) = submit(&sandbox, &scripted).await;
    assert!(
        status_of(&throttled) == 429 && throttled.contains("retry-after: 3\r\n"),
        "{throttled}"
    );
    assert_eq!(status(&sandbox, &scripted).await, 201);
    assert_eq!(status(&sandbox, &later).await, 503);
    let (unknown, _) = submit(&sandbox, &body("b", "sim:explode")).await;
    assert!(
        status_of(&unknown) == 400 && unknown.contains("`explode`") && unknown.contains("drop-after-accept"),
        "{unknown}"
    );
    let steps: Vec<_> = sandbox
        .requests()
        .into_iter()
        .map(|request| request.step.unwrap_or_default())
        .collect();
    assert_eq!(steps, ["503", "503", "503", "429@3", "", "503", ""]);
}

#[tokio::test]
async fn statuses_and_shapes_come_as_ordered() {
    let sandbox = started().await;
    for (step, expected, part, registers) in [
        ("999", 999, "", false),
        ("700", 700, "", false),
        ("200", 200, "REGISTERED", true),
        ("302", 302, "location: /elsewhere/api/", false),
        ("503@date+3", 503, "retry-after: Thu, 01 Jan 1970 00:00:03 GMT", false),
        ("409", 409, "Activity already has a result", false),
        ("html", 200, "text/html", false),
        ("html502", 502, "text/html", false),
        ("empty", 200, "content-length: 0", true),
        ("empty204", 204, "", true),
        ("empty500", 500, "content-length: 0", false),
        ("garbage", 500, "garbage", false),
        ("echo-key", 400, KEY, false),
        ("big=64KiB", 400, "xxxxxxxx", false),
        ("bomb", 400, "content-encoding: gzip", false),
        ("endless", 201, "xxxxxxxx", true),
        ("endless500", 500, "xxxxxxxx", false),
        ("slow=1ms", 201, "REGISTERED", true),
        ("cut", 201, "{\"id\"", true),
    ] {
        let before = sandbox.results().len();
        let (answer, _) = submit(&sandbox, &body(step, &format!("sim:{step}"))).await;
        assert_eq!(status_of(&answer), expected, "{step}");
        assert!(answer.contains(part), "{step}: {answer}");
        assert_eq!(sandbox.results().len() > before, registers, "{step}");
    }
}

#[tokio::test]
async fn a_lost_response_has_registered_its_result() {
    let sandbox = started().await;
    for (step, registered) in [
        ("drop", 201),
        ("drop-after-accept", 409),
        ("reset", 201),
        ("reset-after-accept", 409),
    ] {
        let lost = body(step, &format!("sim:{step}"));
        let (answer, error) = submit(&sandbox, &lost).await;
        assert_eq!(answer, "", "{step}");
        assert_eq!(
            error,
            step.starts_with("reset").then_some(io::ErrorKind::ConnectionReset),
            "{step}"
        );
        assert_eq!(status(&sandbox, &lost).await, registered, "{step}");
    }
    let (cut, _) = submit(&sandbox, &body("cut", "sim:cut")).await;
    let (head, rest) = cut.split_once("\r\n\r\n").expect("a head");
    let promised: usize = head
        .split("content-length: ")
        .nth(1)
        .and_then(|text| text.lines().next()?.parse().ok())
        .expect("a length");
    assert!(!rest.is_empty() && rest.len() < promised, "{cut}");
    assert_eq!(sandbox.requests()[0].answered, Answered::Dropped);
}

#[tokio::test]
async fn a_hanging_request_ends_with_its_client() {
    let sandbox = started().await;
    for (step, afterwards) in [("hang", 201), ("hang-after-accept", 409), ("drip", 409)] {
        let scripted = body(step, &format!("sim:{step}"));
        let (answer, error) = exchange(&sandbox, "POST", SUBMIT_PATH, KEY, &scripted.to_string(), SHORT).await;
        assert_eq!(
            (answer.contains("REGISTERED"), error),
            (false, Some(io::ErrorKind::TimedOut)),
            "{step}"
        );
        eventually("nothing in flight", || sandbox.stats().in_flight == 0).await;
        assert_eq!(status(&sandbox, &scripted).await, afterwards, "{step}");
    }
    assert_eq!(sandbox.requests()[0].answered, Answered::Hanging);
}

#[tokio::test]
async fn held_answers_wait_for_their_release() {
    let sandbox = started().await;
    for (step, registered) in [("hold", 0), ("hold-after-accept", 1)] {
        let held = body(step, &format!("sim:{step}"));
        let (answer, ()) = tokio::join!(submit(&sandbox, &held), async {
            eventually("one held", || sandbox.stats().held == 1).await;
            assert_eq!(
                sandbox
                    .results()
                    .iter()
                    .filter(|result| result.activity == step)
                    .count(),
                registered,
                "{step}"
            );
            let (released, _) = exchange(&sandbox, "POST", "/_sandbox/release", "", "", LONG).await;
            assert!(released.contains(r#"{"released":1}"#), "{released}");
        });
        assert_eq!(status_of(&answer.0), 201, "{step}");
    }
    assert_eq!(sandbox.stats().held, 0);
}

#[tokio::test]
async fn settings_change_at_run_time() {
    let sandbox = started().await;
    for (change, expected) in [
        (json!({"down": true}), 503),
        (json!({"status_for_all": 502}), 502),
        (json!({"step_for_all": "drop"}), 0),
        (json!({"step_for_all": null}), 201),
        (json!({"fail_share": 1.0}), 503),
        (json!({"fail_share": 0, "api_key": "other"}), 401),
    ] {
        settings(&sandbox, change.clone()).await;
        let answered = status(&sandbox, &body("a", "")).await;
        assert_eq!(answered.min(501), expected.min(501), "{change}");
    }
    for change in [
        "{\"fail_share\":2}",
        "{\"step_for_all\":\"never\"}",
        "{\"dwon\":true}",
        "down",
    ] {
        let (answer, _) = exchange(&sandbox, "POST", "/_sandbox/settings", "", change, LONG).await;
        assert_eq!(status_of(&answer), 400, "{change}");
    }
    let (requests, _) = exchange(&sandbox, "GET", "/_sandbox/requests", "", "", LONG).await;
    assert!(
        requests.contains(r#""answered":"dropped""#) && requests.contains(r#""answered":201"#),
        "{requests}"
    );
    let (stats, _) = exchange(&sandbox, "GET", "/_sandbox/stats", "", "", LONG).await;
    assert!(
        stats.contains(r#""201":1"#) && stats.contains(r#""requests":6"#),
        "{stats}"
    );
    exchange(&sandbox, "DELETE", "/_sandbox/requests", "", "", LONG).await;
    assert_eq!(sandbox.requests().len(), 0);
}

#[tokio::test]
async fn an_outage_refuses_connections_and_ends() {
    let sandbox = started().await;
    assert_eq!(status(&sandbox, &body("a", "")).await, 201);
    settings(&sandbox, json!({"refuse_connections_ms": 300})).await;
    let addr = sandbox.addr();
    while TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while TcpStream::connect(addr).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&sandbox, &body("a", "")).await, 409, "what was registered stays");
}

#[tokio::test]
async fn stopping_closes_what_hangs() {
    let sandbox = started().await;
    let addr = sandbox.addr();
    let mut idle = TcpStream::connect(addr).await.expect("a listener");
    timeout(LONG, sandbox.stop()).await.expect("in time").expect("no error");
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_lines_are_reported() {
    let (sent, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let report: OnRequest = Arc::new(move |line| sent.send(line.to_string()).unwrap_or(()));
    let sandbox = Sandbox::start(Options {
        body_bytes_max: 1000,
        report: Some(report),
        ..Options::default()
    })
    .await
    .expect("a port");
    assert_eq!(status(&sandbox, &body("a\n", "sim:503")).await, 503);
    assert_eq!(status(&sandbox, &body(&"a".repeat(1000), "")).await, 413);
    assert_eq!(
        lines.recv().await.as_deref(),
        Some("POST /api/integration/activity-results/tasks 503 a\\n (sim: 503)")
    );
    assert_eq!(
        lines.recv().await.as_deref(),
        Some("POST /api/integration/activity-results/tasks 413")
    );
}
