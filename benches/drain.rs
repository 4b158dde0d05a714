//! How fast a backlog drains, beside the bare alternative in the same run: a loop of `reqwest` posts with the same bodies, the same server
//! and the same number in flight, that keeps nothing.
//!
//! `cargo bench --bench drain -- [results] [rounds]` (50,000 and 3 unless told). The daemon is the built binary with `synchronous=FULL`; its
//! time runs from the first request that the server sees to the moment at which all outcomes are durable. Rounds alternate, so that a
//! machine whose speed drifts is fair to both; the ratio of the medians is the result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reten_outbox::clock::Timestamp;
use reten_outbox::model::{Admission, Directives, Entry, Object, Origin, StateName};
use reten_outbox::sandbox::{Options, Sandbox};
use reten_outbox::store::{Outbox, Role};

const IN_FLIGHT: u64 = 64;
const KEY: &str = "rtn_sk_bench";

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let results = numbers.next().unwrap_or(50_000);
    let rounds = numbers.next().unwrap_or(3).max(1);
    let server = Server::start();
    let mut bare = Vec::new();
    let mut daemon = Vec::new();
    println!("{results} results of {} bytes, {IN_FLIGHT} in flight, loopback", body(0).len());
    for round in 1..=rounds {
        let alone = posts(&server, results);
        let (drain, filling) = drained(&server, results);
        println!(
            "round {round}: bare reqwest {:>7.0}/s   filling {:>7.0}/s   drain {:>7.0}/s   ratio {:.2}",
            rate(results, alone),
            rate(results, filling),
            rate(results, drain),
            alone.as_secs_f64() / drain.as_secs_f64()
        );
        bare.push(alone);
        daemon.push(drain);
    }
    bare.sort_unstable();
    daemon.sort_unstable();
    let (bare, daemon) = (bare[bare.len() / 2], daemon[daemon.len() / 2]);
    println!(
        "median: bare {:.0}/s, drain {:.0}/s, ratio {:.2}",
        rate(results, bare),
        rate(results, daemon),
        bare.as_secs_f64() / daemon.as_secs_f64()
    );
}

fn rate(results: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(results).unwrap()) / took.as_secs_f64()
}

/// About the size of a real result.
fn body(n: u64) -> String {
    format!(
        r#"{{"provider_activity_id":"crm-{n:08}","commerce_external_id":"COM-00042","occurred_at":"2026-11-20T15:04:05.000Z","status":"EFFECTIVE","external_status":"closed","task_result":{{"result":"SALE_COMPLETED","comment":"The customer signed for two lines and asks for delivery before noon; the shop is on the second floor.","contact_type":"OUTBOUND","operator_external_id":"op-117","payload":{{"lines":2,"amount":"129.90","currency":"USD"}}}},"raw_payload":{{"call_id":"0b5c5e0e-7d0e-4a0b-9a53-6f4f6a6f1a11","agent":"117","queue":"north","talk_seconds":184,"wrap_up_seconds":31,"tags":["fibre","upsell","signed"]}}}}"#
    )
}

/// The sandbox on a thread of its own, keeping nothing and judging nothing.
struct Server {
    url: String,
    requests: Arc<AtomicU64>,
}

impl Server {
    fn start() -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut options = Options {
                    record: false,
                    validate: false,
                    ..Options::default()
                };
                KEY.clone_into(&mut options.settings.api_key);
                options.report = Some(Arc::new(move |_| {
                    counter.fetch_add(1, Ordering::Relaxed);
                }));
                let sandbox = Sandbox::start(options).await.unwrap();
                tell.send(sandbox.base_url()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        Self {
            url: told.recv().unwrap(),
            requests,
        }
    }

    fn seen(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The bare alternative.
fn posts(server: &Server, results: u64) -> Duration {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("{}{}", server.url, reten_outbox::sandbox::SUBMIT_PATH);
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let next = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut loops = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (client, url, next) = (client.clone(), url.clone(), Arc::clone(&next));
            loops.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= results {
                        break;
                    }
                    let request = client
                        .post(&url)
                        .header("x-api-key", KEY)
                        .header("content-type", "application/json")
                        .body(body(n));
                    let answer = request.send().await.unwrap();
                    assert!(answer.status().is_success());
                    answer.bytes().await.unwrap();
                }
            });
        }
        while loops.join_next().await.is_some() {}
        began.elapsed()
    })
}

/// The daemon: fills an outbox, starts the built binary on it, and waits until every outcome is durable. Returns the drain's time and the filling's.
fn drained(server: &Server, results: u64) -> (Duration, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("outbox/outbox.db");
    std::fs::create_dir(dir.path().join("outbox")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let filling = runtime.block_on(fill(&database, results));
    let config = dir.path().join("config.toml");
    std::fs::create_dir(dir.path().join("inbox")).unwrap();
    std::fs::create_dir(dir.path().join("rows")).unwrap();
    let at = dir.path().display();
    let text = format!(
        "[api]\nbase_url = \"{}\"\n[inbox]\ndir = \"{at}/inbox\"\ndatabase = \"{at}/rows/inbox.db\"\n[outbox]\ndatabase = \"{at}/outbox/outbox.db\"\n\
         [delivery]\nmax_in_flight = {IN_FLIGHT}\n[validation]\nmode = \"off\"\nresult_types = false\n[log]\nlevel = \"warn\"\n",
        server.url
    );
    std::fs::write(&config, text).unwrap();
    let before = server.seen();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_reten-outbox"));
    daemon
        .arg("--config")
        .arg(&config)
        .arg("run")
        .env("RETEN_API_KEY", KEY)
        .env_remove("CREDENTIALS_DIRECTORY")
        .stderr(Stdio::inherit());
    let mut daemon = daemon.spawn().unwrap();
    while server.seen() == before {
        std::thread::sleep(Duration::from_micros(200));
    }
    let began = Instant::now();
    while server.seen() - before < results {
        std::thread::sleep(Duration::from_millis(1));
    }
    // All answered; now until all of it is stored.
    runtime.block_on(async {
        let outbox = Outbox::open(&database, Role::Reader, Timestamp::default()).await.unwrap();
        loop {
            let tally = outbox.tally().await.unwrap();
            let delivered = tally
                .counts
                .iter()
                .find(|(state, _)| *state == StateName::Delivered)
                .map_or(0, |(_, count)| *count);
            if delivered == results {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let took = began.elapsed();
    let _ = Command::new("kill").arg(daemon.id().to_string()).status();
    daemon.wait().unwrap();
    (took, filling)
}

async fn fill(database: &Path, results: u64) -> Duration {
    let outbox = Outbox::open(database, Role::Tool, Timestamp::default()).await.unwrap();
    let now = reten_outbox::clock::now();
    let began = Instant::now();
    let mut from = 0;
    while from < results {
        let to = (from + 500).min(results);
        let entries = (from..to).map(entry).collect();
        outbox
            .admit(
                Admission {
                    entries,
                    receipts: Vec::new(),
                },
                now,
            )
            .await
            .unwrap();
        from = to;
    }
    let took = began.elapsed();
    outbox.close().await;
    took
}

fn entry(n: u64) -> Entry {
    let text = body(n);
    let object = Object::parse(&text).unwrap();
    Entry {
        payload: object.payload(),
        facts: object.facts(),
        directives: Directives::default(),
        origin: Origin::User {
            name: "bench".into(),
            line: Some(n),
        },
        digest: None,
        invalid: None,
        by_result_types: false,
    }
}
