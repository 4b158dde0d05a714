//! The yardstick of the drains: a loop of `reqwest` posts on one thread, so many in flight, that keeps nothing. A
//! process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Certificate;
use reten_outbox::bench::SUBMIT_PATH;

use crate::daemon::KEY;
use crate::{fill, process};

/// What a run of it took.
pub struct Took {
    pub elapsed: Duration,
    /// User and system, from the first request on.
    pub cpu: Duration,
}

/// Posts so many results, and returns when all are answered.
pub fn posts(url: &str, results: u64, in_flight: u64, certificate: Option<&Path>) -> Took {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["bare", url, &results.to_string(), &in_flight.to_string()])
        .args(certificate)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [elapsed, cpu] = numbers[..] else {
        panic!("the bare loop failed")
    };
    Took {
        elapsed: Duration::from_micros(elapsed),
        cpu: Duration::from_micros(cpu),
    }
}

/// The process: `bare URL RESULTS IN_FLIGHT [CERTIFICATE]`. Prints the time and the processor time that it took, in
/// microseconds.
pub fn main(arguments: &[String]) {
    let url = format!("{}{SUBMIT_PATH}", arguments[0]);
    let results: u64 = arguments[1].parse().unwrap();
    let in_flight: u64 = arguments[2].parse().unwrap();
    // Before the clock starts: the daemon's were made long ago, too.
    let bodies: Arc<[Bytes]> = (0..results).map(|n| Bytes::from(fill::body(n))).collect();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let anchors = arguments
        .get(3)
        .map(|path| Certificate::from_pem(&std::fs::read(path).unwrap()).unwrap());
    let client = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .tls_certs_only(anchors)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cpu_before = process::usage(std::process::id()).cpu;
    let began = Instant::now();
    runtime.block_on(async {
        let next = Arc::new(AtomicUsize::new(0));
        let mut loops = tokio::task::JoinSet::new();
        for _ in 0..in_flight {
            loops.spawn(post_all(
                client.clone(),
                url.clone(),
                Arc::clone(&bodies),
                Arc::clone(&next),
            ));
        }
        while let Some(ended) = loops.join_next().await {
            ended.unwrap();
        }
    });
    let elapsed = began.elapsed();
    let cpu = process::usage(std::process::id()).cpu.saturating_sub(cpu_before);
    println!("{} {}", elapsed.as_micros(), cpu.as_micros());
}

async fn post_all(client: reqwest::Client, url: String, bodies: Arc<[Bytes]>, next: Arc<AtomicUsize>) {
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let request = client
            .post(&url)
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .body(body.clone());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap();
    }
}
