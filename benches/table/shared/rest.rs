//! What a daemon and its server do while there is nothing to do.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use crate::drain::IN_FLIGHT;
use crate::fill::Activities;
use crate::process;
use crate::server::Server;
use crate::sizes::Sizes;

/// After a start, until what it began has ended.
const CALM: Duration = Duration::from_secs(10);

/// How often each was asked.
const EACH: &str = "SELECT calls || ' of ' || left(regexp_replace(query, '\\s+', ' ', 'g'), 80) FROM public.pg_stat_statements \
     WHERE query NOT LIKE '%pg_stat_statements%' ORDER BY calls DESC LIMIT 12";

/// Statements a second, and the processor time of both.
pub fn idle(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let server = Server::start(&[]);
    let database = cluster.filled(0, Activities::Own);
    cluster.run(&database, &["CREATE EXTENSION pg_stat_statements SCHEMA public"]);
    let place = cluster.place(sizes, &database, &server.url, IN_FLIGHT);
    let mut daemon = place.start();
    daemon.wait_until_ready();
    std::thread::sleep(CALM);
    cluster.run(&database, &["SELECT public.pg_stat_statements_reset()"]);
    let before = [daemon.pid(), cluster.server.pid()].map(cpu);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(sizes.minute_s));
    let span = began.elapsed();
    let after = [daemon.pid(), cluster.server.pid()].map(cpu);
    let statements = cluster.number(
        &database,
        "SELECT sum(calls)::bigint FROM public.pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'",
    );
    let percent =
        |place: usize| 100.0 * (after[place].saturating_sub(before[place])).as_secs_f64() / span.as_secs_f64();
    let statements = u64::try_from(statements).unwrap();
    println!("  statements: {:.2}/s", crate::figures::rate(statements, span));
    for line in cluster.lines(&database, EACH) {
        println!("    {line}");
    }
    println!("  processor: {:.3} %, of the server {:.3} %", percent(0), percent(1));
    daemon.stop();
}

/// Of a process and those that it started, as they are now.
fn cpu(pid: u32) -> Duration {
    let tasks = process::tasks(pid);
    Duration::from_nanos(tasks.values().map(|task| task.cpu_ns).sum())
}
