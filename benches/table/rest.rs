//! The daemon while nothing happens, and how long it takes to start.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Place};
use crate::drain::IN_FLIGHT;
use crate::figures::{Figures, mebibytes, tell, tell_ratio};
use crate::fill::{self, Activities};
use crate::process::{self, Task};
use crate::server::Server;
use crate::sizes::Sizes;

/// After a start, until what it began has ended.
const CALM: Duration = Duration::from_secs(5);
/// Looking costs the daemon nothing, and a thread that ends is known up to its last look.
const LOOK: Duration = Duration::from_millis(500);
/// Delivered before the kill.
const AMID: u64 = 20_000;

/// Context switches, processor time and memory of a minute in which nothing is dropped, delivered or asked.
pub fn idle(sizes: &Sizes) {
    let server = Server::start(&[]);
    let place = Place::new(sizes, &server.url, 16);
    let mut daemon = place.start();
    daemon.wait_until_ready();
    std::thread::sleep(CALM);
    let before = process::tasks(daemon.pid());
    let mut after = before.clone();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(sizes.minute_s) {
        std::thread::sleep(LOOK);
        after.extend(process::tasks(daemon.pid()));
    }
    let span = began.elapsed();
    let usage = daemon.usage();
    let switches: u64 = grown(&before, &after, |task| task.switches);
    let cpu = Duration::from_nanos(grown(&before, &after, |task| task.cpu_ns));
    println!("  context switches: {:.1}/s", crate::figures::rate(switches, span));
    println!("  processor: {:.3} %", 100.0 * cpu.as_secs_f64() / span.as_secs_f64());
    println!("  memory: {:.1} MiB", mebibytes(usage.own.now_kib));
    println!(
        "  that of its child process: {:.1} MiB",
        mebibytes(usage.children.now_kib)
    );
    for (id, task) in &after {
        let own = task.switches - before.get(id).map_or(0, |task| task.switches);
        println!("    {own:>6} switches of {} ({id})", task.name);
    }
    daemon.stop();
}

fn grown(before: &HashMap<u32, Task>, after: &HashMap<u32, Task>, of: fn(&Task) -> u64) -> u64 {
    let own = after.iter().map(|(id, task)| of(task) - before.get(id).map_or(0, of));
    own.sum()
}

/// From the start of the process to READY: empty, with a large backlog, and after a kill amid its drain.
pub fn start(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let small = Place::new(sizes, &server.url, IN_FLIGHT);
    let large = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.large, Activities::Own, &large.outbox());
    // The first one makes the outbox and the row inbox.
    ready(&small).0.stop();
    let [mut empty, mut full, mut killed] = [const { Figures::new() }; 3];
    for _ in 0..sizes.rounds {
        let (mut daemon, took) = ready(&small);
        daemon.stop();
        empty.push(took);
        server.expect(AMID.min(sizes.large / 20));
        let (daemon, took) = ready(&large);
        full.push(took);
        server.last();
        // Kills it.
        drop(daemon);
        let (mut daemon, took) = ready(&large);
        killed.push(took);
        daemon.stop();
    }
    tell("empty", &empty, " ms");
    tell(&format!("with {} pending", sizes.large), &full, " ms");
    tell("after a kill amid the drain", &killed, " ms");
    tell_ratio("ratio", &full, &empty);
    tell_ratio("ratio after a kill", &killed, &empty);
}

fn ready(place: &Place) -> (Daemon, f64) {
    let began = Instant::now();
    let mut daemon = place.start();
    daemon.wait_until_ready();
    (daemon, began.elapsed().as_secs_f64() * 1e3)
}
