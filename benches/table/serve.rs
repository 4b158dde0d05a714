//! The API as a process of its own: `hyper`, one thread, each body read to its end, one small answer. It judges nothing
//! and keeps nothing, so that it is never the limit. `serve MILLISECONDS`: each answer so much later; `serve MILLISECONDS
//! CERTIFICATE KEY`: over TLS, too.
//!
//! It prints its address, then takes orders on standard input, a line each:
//! - `expect N`: say `first NANOSECONDS` at the next request, and `last NANOSECONDS` at the Nth from now (of the
//!   monotonic clock, the same in every process of the machine); `expecting` tells that the count began;
//! - `count`: say `count N`, of all that were answered 201;
//! - `fail`, `work`: from now on 503, or 201 again.

use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::process;

/// What is answered; about as long as the API's own.
const ANSWER: &[u8] = br#"{"id":"0f6f2a0e-6a55-4d0f-9a3e-5d1f0c8b7a21","status":"PROCESSED"}"#;

#[derive(Default)]
struct Counter {
    answered: AtomicU64,
    /// Counts of `answered` at which something is said.
    first: AtomicU64,
    last: AtomicU64,
    fails: AtomicBool,
}

/// How it is reached: plain and at once, or from afar.
struct Way {
    latency: Duration,
    tls: Option<TlsAcceptor>,
}

impl Way {
    fn new(arguments: &[String]) -> Self {
        let latency = arguments
            .first()
            .map_or(0, |milliseconds| milliseconds.parse().unwrap());
        let latency = Duration::from_millis(latency);
        let [_, certificate, key] = arguments else {
            return Self { latency, tls: None };
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let tls = ServerConfig::builder().with_no_client_auth();
        let tls = tls.with_single_cert(vec![certificate], key).unwrap();
        Self {
            latency,
            tls: Some(Arc::new(tls).into()),
        }
    }
}

/// The process: `serve`.
pub fn main(arguments: &[String]) {
    let way = Way::new(arguments);
    let counter = Arc::new(Counter::default());
    let orders = Arc::clone(&counter);
    std::thread::spawn(move || obey(&orders));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if way.tls.is_some() { "https" } else { "http" };
        say(&format!("{scheme}://{}", listener.local_addr().unwrap()));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let counter = Arc::clone(&counter);
            let latency = way.latency;
            match way.tls.clone() {
                None => tokio::spawn(converse(stream, counter, latency)),
                Some(tls) => tokio::spawn(async move {
                    // A handshake that fails is the client's leaving, too.
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, counter, latency).await;
                    }
                }),
            };
        }
    });
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, counter: Arc<Counter>, latency: Duration) {
    let service = service_fn(|request: Request<Incoming>| respond(request, &counter, latency));
    // An error is the client's leaving.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    counter: &Counter,
    latency: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // Cut off: the client is gone, and no answer will reach it.
    let Ok(_body) = request.into_body().collect().await else {
        return Ok(Response::default());
    };
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    if counter.fails.load(Ordering::Relaxed) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    }
    let number = counter.answered.fetch_add(1, Ordering::Relaxed) + 1;
    if number == counter.first.load(Ordering::Relaxed) {
        say(&format!("first {}", process::monotonic_ns()));
    }
    if number == counter.last.load(Ordering::Relaxed) {
        say(&format!("last {}", process::monotonic_ns()));
    }
    *response.status_mut() = StatusCode::CREATED;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Takes orders until standard input ends, and the process with it.
fn obey(counter: &Counter) {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let answered = counter.answered.load(Ordering::Relaxed);
        match line.split_once(' ') {
            Some(("expect", number)) => {
                let number: u64 = number.parse().unwrap();
                counter.last.store(answered + number, Ordering::Relaxed);
                counter.first.store(answered + 1, Ordering::Relaxed);
                say("expecting");
            }
            _ => match line.as_str() {
                "count" => say(&format!("count {answered}")),
                "fail" => counter.fails.store(true, Ordering::Relaxed),
                "work" => counter.fails.store(false, Ordering::Relaxed),
                unknown => panic!("{unknown} is no order"),
            },
        }
    }
    std::process::exit(0);
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}
