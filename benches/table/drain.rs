//! How fast a backlog drains, and what a delivered result costs, beside the loop that keeps nothing.

use std::path::Path;
use std::time::Duration;

use crate::bare;
use crate::daemon::Place;
use crate::figures::{Figures, mebibytes, micros_each, rate, tell, tell_ratio};
use crate::fill::{self, Activities};
use crate::process::Usage;
use crate::server::{self, Server};
use crate::sizes::Sizes;

pub const IN_FLIGHT: u64 = 64;

/// Each result is of an activity of its own.
pub fn drain(sizes: &Sizes) {
    against_bare(sizes, Activities::Own);
}

/// Two results an activity.
pub fn pairs(sizes: &Sizes) {
    against_bare(sizes, Activities::Pairs);
}

fn against_bare(sizes: &Sizes, activities: Activities) {
    let mut server = Server::start(&[]);
    let [mut bare_rate, mut bare_cpu, mut our_rate, mut our_cpu] = [const { Figures::new() }; 4];
    let [mut peak, mut peak_of_children] = [const { Figures::new() }; 2];
    for _ in 0..sizes.rounds {
        let took = bare::posts(&server.url, sizes.results, IN_FLIGHT, None);
        bare_rate.push(rate(sizes.results, took.elapsed));
        bare_cpu.push(micros_each(sizes.results, took.cpu));
        let (took, usage) = drained(sizes, &mut server, activities, &[]);
        our_rate.push(rate(sizes.results, took));
        our_cpu.push(micros_each(sizes.results, usage.cpu));
        peak.push(mebibytes(usage.own.peak_kib));
        peak_of_children.push(mebibytes(usage.children.peak_kib));
    }
    tell("bare loop", &bare_rate, "/s");
    tell("drain", &our_rate, "/s");
    tell_ratio("ratio", &our_rate, &bare_rate);
    tell("bare loop's processor time a result", &bare_cpu, " us");
    tell("processor time a delivered result", &our_cpu, " us");
    tell("peak memory", &peak, " MiB");
    tell("that of its child process", &peak_of_children, " MiB");
}

/// Fills an outbox, starts the daemon on it, and waits until every outcome is durable. The time runs from the first
/// request that the server sees; the processor time from the start of the process.
pub fn drained(
    sizes: &Sizes,
    server: &mut Server,
    activities: Activities,
    environment: &[(&str, &Path)],
) -> (Duration, Usage) {
    let place = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.results, activities, &place.outbox());
    server.expect(sizes.results);
    let mut daemon = place.start_with(environment);
    let began = server.first();
    server.last();
    place.wait_until_delivered(sizes.results);
    let took = server::since(began);
    let usage = daemon.usage();
    daemon.stop();
    (took, usage)
}
