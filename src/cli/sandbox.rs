//! `sandbox`: the simulated API as a process of its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock;
use crate::sandbox::{DEFAULT_API_KEY, OnRequest, Options, Permission, Settings, serve};

use super::exit::Exit;
use super::filter::parse_age;

/// Lines that wait for a slow terminal; beyond that they are left out, because a request must never wait for its line.
const LINES_MAX: usize = 1024;

/// What `--help` says at its end.
pub const AFTER_HELP: &str = "\
A result says by its external_status how it is answered:
  \"external_status\": \"sim:503x2\"             a 503 twice, then by the contract
  \"external_status\": \"sim:409\"               the activity has a result already
  \"external_status\": \"sim:hang\"              no answer
  \"external_status\": \"sim:drop-after-accept\" taken, but the answer is lost
Steps: a status (503, 429@3), slow=2s, hang, hold, drop, reset (these three also
with -after-accept), cut, drip, empty, endless, html, garbage, echo-key,
big=1MiB, bomb; several with commas, repeated with x2.

GET /_sandbox/requests, /_sandbox/results and /_sandbox/stats show what came;
POST /_sandbox/settings changes how it behaves. It forgets all when it ends.

Examples:
  reten-outbox sandbox
  reten-outbox sandbox --listen 127.0.0.1:9000 --fail-share 0.2 --latency 300ms";

/// The options of `sandbox`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one. Its control endpoints ask for no key, so keep to a loopback address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// The one key that works
    #[arg(long, value_name = "KEY", default_value = DEFAULT_API_KEY)]
    api_key: String,

    /// A key without the permission to submit: 403
    #[arg(long)]
    no_submit: bool,

    /// A key without the permission to list the result types: 403
    #[arg(long)]
    no_view: bool,

    /// The share of requests that fail with a 5xx, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    fail_share: f64,

    /// Every answer takes at least so long
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_age)]
    latency: Duration,

    /// And up to this much longer
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_age)]
    latency_jitter: Duration,

    /// The id of an activity that has a result already: 409 (repeatable)
    #[arg(long, value_name = "ID")]
    existing: Vec<String>,

    /// The id of an activity or a commerce that is not in the tenant: 404 (repeatable)
    #[arg(long, value_name = "ID")]
    unknown: Vec<String>,

    /// Decides what fails by chance: the same seed fails the same requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Do not print a line a request
    #[arg(long)]
    quiet: bool,
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: Args, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    writeln!(out, "listening on http://{address}")?;
    writeln!(
        out,
        "\n  RETEN_OUTBOX__API__BASE_URL=http://{address} RETEN_API_KEY={} reten-outbox run\n",
        args.api_key
    )?;
    out.flush()?;
    let report = if args.quiet { None } else { Some(reporter()) };
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    serve(options(args, report), listener, stop).await?;
    Ok(Exit::Done)
}

fn options(args: Args, report: Option<OnRequest>) -> Options {
    let permissions = [
        (!args.no_submit, Permission::SubmitActivityResult),
        (!args.no_view, Permission::ViewActivities),
    ];
    Options {
        listen: args.listen,
        settings: Settings {
            api_key: args.api_key,
            permissions: permissions
                .into_iter()
                .filter_map(|(has, permission)| has.then_some(permission))
                .collect(),
            fail_share: args.fail_share,
            latency: args.latency,
            latency_jitter: args.latency_jitter,
            ..Settings::default()
        },
        existing: args.existing,
        unknown: args.unknown,
        seed: args.seed,
        now: || clock::now().millis(),
        report,
        ..Options::default()
    }
}

/// Prints a line a request from a thread of its own.
fn reporter() -> OnRequest {
    let (lines, waiting) = sync_channel::<String>(LINES_MAX);
    std::thread::spawn(move || print_lines(&waiting));
    Arc::new(move |line| offer(&lines, line.to_string()))
}

fn offer(lines: &SyncSender<String>, line: String) {
    match lines.try_send(line) {
        // Full: a slow reader. Disconnected: nobody reads any more. The sandbox goes on in both cases.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
    }
}

fn print_lines(waiting: &Receiver<String>) {
    let mut out = io::stdout();
    for line in waiting {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a number from 0 to 1".to_owned()),
    }
}
