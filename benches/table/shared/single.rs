//! One daemon.

use std::time::{Duration, Instant};

use reten_outbox::bench::{self, Timestamp};
use reten_outbox::bench::{ClaimOrder, ClaimRequest, Outbox, Role};

use super::cluster::Cluster;
use super::pgbench;
use crate::claims::settled_as_delivered;
use crate::drain::{IN_FLIGHT, drained};
use crate::figures::{Figures, micros_each, rate, tell, tell_ratio, tell_ratio_of_many};
use crate::fill::Activities;
use crate::process;
use crate::server::{self, Server};
use crate::sizes::Sizes;

/// Claimed and settled at once.
const GROUP: u32 = 64;
const SMALL: u64 = 10_000;
const CYCLES: u64 = 60;

/// Against SQLite, and against the server without the program.
pub fn drain(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let mut server = Server::start(&[]);
    let [mut ours, mut sqlite, mut bare] = [const { Figures::new() }; 3];
    let [mut cpu, mut cpu_of_server] = [const { Figures::new() }; 2];
    for _ in 0..sizes.rounds {
        let (took, _) = drained(sizes, &mut server, Activities::Own, &[]);
        sqlite.push(rate(sizes.results, took));
        let one = drained_once(sizes, &mut cluster, &mut server, sizes.results, false);
        ours.push(rate(sizes.results, one.took));
        cpu.push(micros_each(sizes.results, one.cpu));
        cpu_of_server.push(micros_each(sizes.results, one.cpu_of_server));
        let database = cluster.filled(sizes.results, Activities::Own);
        bare.push(pgbench::settled_a_second(&cluster, &database, sizes.results));
        cluster.drop(&database);
    }
    tell("SQLite", &sqlite, "/s");
    tell("pgbench", &bare, "/s");
    tell("PostgreSQL", &ours, "/s");
    tell_ratio("ratio to SQLite", &ours, &sqlite);
    tell_ratio("ratio to pgbench", &ours, &bare);
    tell("processor time a delivered result", &cpu, " us");
    tell("that of the server", &cpu_of_server, " us");
}

struct Drained {
    took: Duration,
    cpu: Duration,
    cpu_of_server: Duration,
}

/// As a drain of SQLite is measured.
fn drained_once(sizes: &Sizes, cluster: &mut Cluster, api: &mut Server, results: u64, is_held: bool) -> Drained {
    let database = cluster.filled(results, Activities::Own);
    let place = cluster.place(sizes, &database, &api.url, IN_FLIGHT);
    let holder = is_held.then(|| {
        let holding = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM reten_outbox.node";
        cluster.holding(&database, holding)
    });
    let of_server = process::usage(cluster.server.pid()).cpu;
    api.expect(results);
    let mut daemon = place.start();
    let began = api.first();
    api.last();
    place.wait_until_delivered(results);
    let took = server::since(began);
    let drained = Drained {
        took,
        cpu: daemon.usage().cpu,
        cpu_of_server: process::usage(cluster.server.pid()).cpu.saturating_sub(of_server),
    };
    daemon.stop();
    drop(holder);
    cluster.drop(&database);
    drained
}

/// While another session's transaction keeps every dead row, and every dead entry of an index, in its place.
pub fn held(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let mut server = Server::start(&[]);
    let [mut free, mut held] = [const { Figures::new() }; 2];
    for _ in 0..sizes.rounds.min(2) {
        for (is_held, figures) in [(false, &mut free), (true, &mut held)] {
            let one = drained_once(sizes, &mut cluster, &mut server, sizes.backlog, is_held);
            println!(
                "    {} in {:.0} s, held: {is_held}",
                sizes.backlog,
                one.took.as_secs_f64()
            );
            figures.push(rate(sizes.backlog, one.took));
        }
    }
    tell("without", &free, "/s");
    tell("with", &held, "/s");
    tell_ratio("ratio", &held, &free);
}

/// The two outboxes take turns.
pub fn claims(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let databases = [SMALL, sizes.backlog].map(|results| cluster.filled(results, Activities::Own));
    let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut small, mut large] = [const { Figures::new() }; 2];
    let [mut small_both, mut large_both] = [const { Figures::new() }; 2];
    cluster.block_on(async {
        let mut outboxes = Vec::new();
        for (database, state) in databases.iter().zip(&states) {
            let address = cluster.address(database, state.path());
            let outbox = Outbox::open(address, Role::Daemon, Timestamp::default()).await;
            outboxes.push(outbox.unwrap());
        }
        for _ in 0..CYCLES {
            for (outbox, (claim, both)) in outboxes
                .iter()
                .zip([(&mut small, &mut small_both), (&mut large, &mut large_both)])
            {
                let began = Instant::now();
                let request = ClaimRequest {
                    limit: GROUP,
                    order: ClaimOrder::Due,
                    now: bench::now(),
                    wait_max: Duration::from_mins(10),
                };
                let claimed = outbox.claim(request).await.unwrap();
                claim.push(began.elapsed().as_secs_f64() * 1e3);
                assert_eq!(claimed.len(), GROUP as usize);
                settled_as_delivered(outbox, &claimed).await;
                both.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        for outbox in &outboxes {
            outbox.close().await;
        }
    });
    tell(&format!("claim at {SMALL} pending"), &small, " ms");
    tell(&format!("claim at {} pending", sizes.backlog), &large, " ms");
    tell_ratio_of_many("ratio", &large, &small);
    tell_ratio_of_many("ratio of claim and settlement", &large_both, &small_both);
}
