//! Drains of large backlogs, on a slow disk, through an outage.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemon::Place;
use crate::drain::{self, IN_FLIGHT};
use crate::figures::{Figures, mebibytes, rate, tell, tell_ratio};
use crate::fill::{self, Activities};
use crate::process;
use crate::server::Server;
use crate::sizes::Sizes;

/// How often an outage's end is looked at, and over how many looks a rate is taken.
const LOOK: Duration = Duration::from_millis(50);
const WINDOW: usize = 5;

/// A part of a large backlog, against a drain of as many. Both from the first request to the last.
pub fn backlog(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let [mut alone, mut beside] = [const { Figures::new() }; 2];
    let large = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.backlog, Activities::Own, &large.outbox());
    let small = Place::new(sizes, &server.url, IN_FLIGHT);
    for _ in 0..sizes.rounds {
        fill::outbox(sizes, sizes.part, Activities::Own, &small.outbox());
        alone.push(part_of(&small, &mut server, sizes.part));
        // What is left is drained by the next round.
        beside.push(part_of(&large, &mut server, sizes.part.min(sizes.backlog / 10)));
    }
    tell("drain of nothing else", &alone, "/s");
    tell("beside the backlog", &beside, "/s");
    tell_ratio("ratio", &beside, &alone);
}

fn part_of(place: &Place, server: &mut Server, part: u64) -> f64 {
    server.expect(part);
    let mut daemon = place.start();
    let first = server.first();
    let took = Duration::from_nanos(server.last() - first);
    daemon.stop();
    rate(part, took)
}

/// The most that is ever in memory while all of a large backlog drains.
pub fn memory(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let place = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.backlog, Activities::Own, &place.outbox());
    server.expect(sizes.backlog);
    let mut daemon = place.start();
    let first = server.first();
    let took = Duration::from_nanos(server.last() - first);
    place.wait_until_delivered(sizes.backlog);
    let usage = daemon.usage();
    daemon.stop();
    println!("  drain of {}: {:.0}/s", sizes.backlog, rate(sizes.backlog, took));
    println!("  peak memory: {:.1} MiB", mebibytes(usage.own.peak_kib));
    println!(
        "  that of its child process: {:.1} MiB",
        mebibytes(usage.children.peak_kib)
    );
}

/// On a disk that needs 5 ms more for every sync.
pub fn slow_disk(sizes: &Sizes) {
    let dir = tempfile::tempdir().unwrap();
    let shim = compiled(dir.path());
    let mut server = Server::start(&[]);
    let [mut with, mut without] = [const { Figures::new() }; 2];
    for _ in 0..sizes.rounds {
        for (environment, figures) in [(&[][..], &mut without), (&[("LD_PRELOAD", &*shim)][..], &mut with)] {
            let (took, _) = drain::drained(sizes, &mut server, Activities::Own, environment);
            figures.push(rate(sizes.results, took));
        }
    }
    tell("without", &without, "/s");
    tell("with 5 ms more a sync", &with, "/s");
    tell_ratio("ratio", &with, &without);
}

fn compiled(dir: &Path) -> PathBuf {
    let shim = dir.join("slow_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/table/slow_sync.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl");
    assert!(
        compiler
            .status()
            .expect("a C compiler, `cc`, makes the slow disk")
            .success()
    );
    shim
}

/// The API refuses everything for a minute, then works again.
pub fn outage(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let place = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.backlog, Activities::Own, &place.outbox());
    // Long enough to have found its pace.
    let settled = sizes.backlog / 10;
    server.expect(settled);
    let mut daemon = place.start();
    let first = server.first();
    let full = rate(settled, Duration::from_nanos(server.last() - first));
    server.fail(true);
    std::thread::sleep(Duration::from_secs(sizes.minute_s));
    server.expect(1);
    server.fail(false);
    let ended = process::monotonic_ns();
    let until = recovered(&mut server, full);
    let answered = server.first();
    println!("  full rate before: {full:.0}/s");
    println!(
        "  from the outage's end to the first delivery: {:.2} s",
        seconds(answered - ended)
    );
    println!(
        "  from there to 0.9 of the full rate: {:.2} s",
        seconds(until.saturating_sub(answered))
    );
    println!(
        "  from the outage's end to 0.9 of the full rate: {:.2} s",
        seconds(until - ended)
    );
    daemon.stop();
}

/// When nine tenths of the full rate were reached.
fn recovered(server: &mut Server, full: f64) -> u64 {
    let began = Instant::now();
    let mut looks = vec![(process::monotonic_ns(), server.count())];
    while began.elapsed() < Duration::from_mins(2) {
        std::thread::sleep(LOOK);
        let (now, count) = (process::monotonic_ns(), server.count());
        looks.push((now, count));
        let Some((then, before)) = looks.iter().rev().nth(WINDOW) else {
            continue;
        };
        if rate(count - before, Duration::from_nanos(now - then)) >= 0.9 * full {
            return now;
        }
    }
    panic!("the full rate did not come back in {:?}", began.elapsed());
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
