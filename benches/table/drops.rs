//! From a producer's drop to the request that brings it, one at a time.

use std::fs;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::daemon::Place;
use crate::figures::Figures;
use crate::fill;
use crate::process::monotonic_ns;
use crate::server::Server;
use crate::sizes::Sizes;

/// Between a request and the next drop: everything is at rest again. Not always the same, so that no timer of the
/// daemon's falls into step.
const PAUSE_MS: std::ops::Range<u64> = 20..60;
const CALM: Duration = Duration::from_secs(2);

/// A file, then a row.
pub fn drops(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let place = Place::new(sizes, &server.url, 16);
    let mut daemon = place.start();
    daemon.wait_until_ready();
    std::thread::sleep(CALM);
    tell_quantiles("a file, from its rename", &files(sizes, &mut server, &place));
    rows(sizes, &mut server, &place);
    daemon.stop();
}

fn files(sizes: &Sizes, server: &mut Server, place: &Place) -> Figures {
    let mut took = Figures::new();
    for n in 0..sizes.drops {
        let hidden = place.path(&format!("inbox/.{n}.json"));
        fs::write(&hidden, fill::body(n)).unwrap();
        server.expect(1);
        let dropped = monotonic_ns();
        fs::rename(&hidden, place.path(&format!("inbox/{n}.json"))).unwrap();
        took.push(milliseconds(dropped, server.first()));
        pause();
    }
    took
}

fn rows(sizes: &Sizes, server: &mut Server, place: &Place) {
    let [mut from_begin, mut from_commit, mut commit] = [const { Figures::new() }; 3];
    let options = SqliteConnectOptions::new()
        .filename(place.path("rows/inbox.db"))
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut producer = runtime.block_on(options.connect()).unwrap();
    for n in 0..sizes.drops {
        server.expect(1);
        let began = monotonic_ns();
        let insert = sqlx::query("insert into inbox (payload) values (?1)").bind(fill::body(sizes.drops + n));
        runtime.block_on(insert.execute(&mut producer)).unwrap();
        let committed = monotonic_ns();
        let arrived = server.first();
        from_begin.push(milliseconds(began, arrived));
        from_commit.push(milliseconds(committed, arrived));
        commit.push(milliseconds(began, committed));
        pause();
    }
    tell_quantiles("a row, from the end of its commit", &from_commit);
    tell_quantiles("a row, from the beginning of its insert", &from_begin);
    tell_quantiles("the producer's insert itself", &commit);
}

/// May be negative: a request can be on the wire before its producer knows that it has committed.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
fn milliseconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.cast_signed().wrapping_sub(from_ns.cast_signed()) as f64 / 1e6
}

fn pause() {
    std::thread::sleep(Duration::from_millis(fastrand::u64(PAUSE_MS)));
}

fn tell_quantiles(name: &str, took: &Figures) {
    println!(
        "  {name}: p50 {:.2} ms, p99 {:.2} ms",
        took.median(),
        took.quantile(0.99)
    );
}
