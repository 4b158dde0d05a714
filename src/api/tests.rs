//! The client against small raw servers: each says exactly the bytes that a test is about.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use url::Url;

mod raw;

use self::raw::{Raw, never_ending, reset};

use super::{Catalogue, Client, ClientError};
use crate::config::{Api, ApiKey};
use crate::model::{Answer, Exchange, Fault, FaultKind};

const KEY: &str = "rtn_sk_0123456789abcdef";

fn key() -> ApiKey {
    ApiKey::parse(KEY.as_bytes()).unwrap()
}

fn api(base: &str) -> Api {
    Api {
        submit_url: Url::parse(&format!("{base}/submit")).unwrap(),
        result_types_url: Url::parse(&format!("{base}/types")).unwrap(),
        key_file: "/nowhere".into(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        ca_file: None,
        proxy: None,
        require_json: true,
        max_error_body: 64,
    }
}

fn client(base: &str) -> Client {
    Client::new(&api(base), &key()).unwrap()
}

async fn submit(server: &Raw) -> Exchange {
    client(&server.base()).submit(Bytes::from_static(b"{}")).await.0
}

fn answered(exchange: Exchange) -> Answer {
    match exchange {
        Exchange::Answered(answer) => answer,
        Exchange::Failed { fault, .. } => panic!("no answer: {fault:?}"),
    }
}

fn failed(exchange: Exchange) -> (Fault, bool) {
    match exchange {
        Exchange::Answered(answer) => panic!("an answer: {answer:?}"),
        Exchange::Failed { fault, on_the_wire } => (fault, on_the_wire),
    }
}

#[tokio::test]
async fn the_request_is_what_the_api_asks_for_and_the_answer_is_kept() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let server = Raw::start(move |mut stream, request| {
        let tell = tell.clone();
        async move {
            tell.send(request).await.unwrap();
            let head =
                "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Request-Id: r1\r\nX-Other: no\r\nContent-Length: 9\r\n\r\n";
            stream.write_all(format!("{head}{{\"id\": 1}}").as_bytes()).await.unwrap();
        }
    })
    .await;
    let timed = client(&server.base())
        .submit(Bytes::from_static(b"{\"n\": 1.50}"))
        .await;
    let answer = answered(timed.0);
    assert_eq!(
        (answer.status, &answer.body[..], answer.body_length),
        (201, &b"{\"id\": 1}"[..], 9)
    );
    let kept = [("content-type", "application/json"), ("x-request-id", "r1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.headers, kept);
    let request = told.recv().await.unwrap();
    assert!(request.starts_with("POST /submit HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"n\": 1.50}"), "{request}");
    let agent = concat!("reten-outbox/", env!("CARGO_PKG_VERSION"));
    for header in [
        format!("x-api-key: {KEY}"),
        format!("user-agent: {agent}"),
        "content-type: application/json".to_owned(),
    ] {
        assert!(request.contains(&header), "{request}");
    }
    assert!(!request.to_lowercase().contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let aim = Raw::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let server = Raw::saying(format!(
        "HTTP/1.1 307 Go\r\nLocation: {}/x\r\nContent-Length: 0\r\n\r\n",
        aim.base()
    ))
    .await;
    let answer = answered(submit(&server).await);
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some(format!("{}/x", aim.base()).as_str()))
    );
    assert_eq!(aim.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_status_that_http_does_not_know_is_an_answer() {
    let server = Raw::saying("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(answered(submit(&server).await).status, 999);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_put_nothing_on_the_wire() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (fault, on_the_wire) = failed(client(&format!("http://{unused}")).submit(Bytes::new()).await.0);
    assert_eq!((fault.kind, on_the_wire), (FaultKind::Connect, false), "{fault:?}");
    assert!(
        fault.message.contains("refused") && !fault.message.contains('\n'),
        "{}",
        fault.message
    );
    let (fault, on_the_wire) = failed(client("http://no-such-host.invalid").submit(Bytes::new()).await.0);
    assert_eq!((fault.kind, on_the_wire), (FaultKind::Dns, false), "{fault:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_puts_nothing_on_the_wire() {
    let server = Raw::saying("HTTP/1.1 400 Bad Request\r\n\r\nthis is no TLS").await;
    let https = format!("https://{}", server.address);
    let (fault, on_the_wire) = failed(client(&https).submit(Bytes::new()).await.0);
    assert_eq!((fault.kind, on_the_wire), (FaultKind::Tls, false), "{fault:?}");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_may_have_carried_the_request() {
    let closing = Raw::start(|stream, _| async move { drop(stream) }).await;
    let resetting = Raw::start(|stream, _| async move {
        let socket = stream.into_std().unwrap();
        reset(&socket);
    })
    .await;
    let garbled = Raw::saying("SSH-2.0-OpenSSH_9.2\r\n").await;
    for server in [closing, resetting, garbled] {
        let (fault, on_the_wire) = failed(submit(&server).await);
        assert_eq!((fault.kind, on_the_wire), (FaultKind::Reset, true), "{fault:?}");
        assert_eq!(
            server.connections.load(Ordering::Relaxed),
            1,
            "an attempt is one request"
        );
    }
}

#[tokio::test]
async fn no_answer_within_the_timeout_may_have_carried_the_request() {
    let server = Raw::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let impatient = Api {
        timeout: Duration::from_millis(150),
        ..api(&server.base())
    };
    let timed = Client::new(&impatient, &key()).unwrap().submit(Bytes::new()).await;
    let (fault, on_the_wire) = failed(timed.0);
    assert_eq!(
        (fault.kind, fault.status, on_the_wire),
        (FaultKind::Timeout, None, true)
    );
    assert!(
        timed.1 >= Duration::from_millis(150) && timed.1 < Duration::from_secs(3),
        "{:?}",
        timed.1
    );
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_answer() {
    let heads = [
        "Content-Length: 100\r\n\r\n{\"a\":",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
    ];
    for head in heads {
        let server = Raw::saying(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        let (fault, on_the_wire) = failed(submit(&server).await);
        assert_eq!(
            (fault.kind, fault.status, on_the_wire),
            (FaultKind::CutOff, Some(200), true),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_dripping_and_an_endless_body_hold_a_slot_no_longer_than_the_timeout() {
    for (size, pace) in [(1, Duration::from_millis(20)), (64 << 10, Duration::ZERO)] {
        let server = never_ending(size, pace).await;
        let impatient = Api {
            timeout: Duration::from_millis(200),
            ..api(&server.base())
        };
        let timed = Client::new(&impatient, &key()).unwrap().submit(Bytes::new()).await;
        let (fault, on_the_wire) = failed(timed.0);
        assert_eq!(
            (fault.kind, fault.status, on_the_wire),
            (FaultKind::Timeout, Some(200), true),
            "{fault:?}"
        );
        assert!(timed.1 < Duration::from_secs(3), "{:?}", timed.1);
    }
}

#[tokio::test]
async fn of_a_large_body_the_beginning_is_kept_and_the_true_length_told() {
    let large = "y".repeat(300_000);
    let server = Raw::saying(format!(
        "HTTP/1.1 400 No\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    ))
    .await;
    let answer = answered(submit(&server).await);
    assert_eq!((answer.body.len(), answer.body_length), (64, 300_000));
}

#[tokio::test]
async fn an_echo_of_the_key_is_replaced_in_body_and_headers() {
    let body = format!("{{\"message\": \"{KEY} is unknown\"}}");
    let server = Raw::saying(format!(
        "HTTP/1.1 401 No\r\nX-Request-Id: {KEY}\r\nLocation: /?key={KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let answer = answered(submit(&server).await);
    assert_eq!(&answer.body[..], b"{\"message\": \"[api key] is unknown\"}");
    assert_eq!(
        (answer.header("x-request-id"), answer.header("location")),
        (Some("[api key]"), Some("/?key=[api key]"))
    );
    assert!(!format!("{answer:?}").contains(KEY));
}

#[tokio::test]
async fn the_client_does_not_show_the_key() {
    assert!(!format!("{:?}", client("http://127.0.0.1:9")).contains(KEY));
}

#[tokio::test]
async fn only_the_configured_proxy_is_used() {
    let proxy = Raw::saying("HTTP/1.1 202 Fine\r\nContent-Length: 0\r\n\r\n").await;
    let proxied = Api {
        proxy: Some(Url::parse(&proxy.base()).unwrap()),
        ..api("http://127.0.0.1:9")
    };
    let timed = Client::new(&proxied, &key()).unwrap().submit(Bytes::new()).await;
    assert_eq!(answered(timed.0).status, 202);
}

#[test]
fn what_cannot_be_built_names_the_key_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let with_anchors = Api {
        ca_file: Some(file.clone()),
        ..api("https://127.0.0.1:9")
    };
    let cases = [
        (None, "No such file"),
        (Some(""), "holds no certificate"),
        (
            Some("-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"),
            "",
        ),
    ];
    for (content, expected) in cases {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Client::new(&with_anchors, &key()).unwrap_err();
        assert!(matches!(error, ClientError::CaFile(..)), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("api.ca_file = ") && text.contains(expected), "{text}");
    }
    let no_proxy = Api {
        proxy: Some(Url::parse("socks5://127.0.0.1:9").unwrap()),
        ..api("http://127.0.0.1:9")
    };
    let error = Client::new(&no_proxy, &key()).unwrap_err();
    assert!(error.to_string().starts_with("api.proxy: "), "{error}");
}

#[tokio::test]
async fn the_result_types_are_read_and_every_other_answer_has_its_meaning() {
    let list = r#"[{"code": "RESCHEDULE", "label": "Reprogramar", "requiresFutureScheduledAt": true, "more": 1}, {"code": "NO_CONTACT"}]"#;
    let cases = [
        (200, list, None),
        (401, "{}", Some(Catalogue::Unauthorized)),
        (403, "{}", Some(Catalogue::Forbidden)),
    ];
    for (status, body, expected) in cases {
        let server = Raw::saying(format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let found = client(&server.base()).result_types().await;
        match (found, expected) {
            (Catalogue::Types(types), None) => {
                let read: Vec<_> = types
                    .iter()
                    .map(|one| (one.code.as_str(), one.requires_future_scheduled_at))
                    .collect();
                assert_eq!(read, [("RESCHEDULE", true), ("NO_CONTACT", false)]);
            }
            (found, expected) => assert_eq!(Some(found), expected),
        }
    }
    for (status, body) in [
        (200, "<html>login</html>"),
        (200, "{\"code\": 1}"),
        (302, ""),
        (500, "{}"),
        (404, "{}"),
    ] {
        let server = Raw::saying(format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        assert!(
            matches!(client(&server.base()).result_types().await, Catalogue::NoVerdict(_)),
            "{status} {body}"
        );
    }
}
