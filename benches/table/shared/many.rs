//! Several daemons.

use std::time::Duration;

use super::cluster::Cluster;
use crate::daemon::{Daemon, Place};
use crate::drain::IN_FLIGHT;
use crate::figures::{Figures, rate, tell, tell_ratio};
use crate::fill::Activities;
use crate::server::{self, Server};
use crate::sizes::Sizes;

/// How far the API is: so far that neither two processors nor the database are the limit of four.
const LATENCY_MS: &str = "60";
/// Until it has claimed as much as it sends at once.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Two and four, against one.
pub fn nodes(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let mut server = Server::start(&[LATENCY_MS]);
    let mut rates = [const { Figures::new() }; 3];
    for _ in 0..sizes.rounds.min(3) {
        for (count, rates) in [1, 2, 4].into_iter().zip(&mut rates) {
            // As long for each: what a start costs must not decide.
            let results = sizes.results / 2 * count;
            let database = cluster.filled(results, Activities::Own);
            let places = started(sizes, &cluster, &server, &database, count);
            server.expect(results);
            let mut daemons: Vec<Daemon> = places.iter().map(Place::start).collect();
            let began = server.first();
            server.last();
            places[0].wait_until_delivered(results);
            rates.push(rate(results, server::since(began)));
            daemons.iter_mut().for_each(Daemon::stop);
            cluster.drop(&database);
        }
    }
    let [one, two, four] = &rates;
    tell("one", one, "/s");
    tell("two", two, "/s");
    tell("four", four, "/s");
    tell_ratio("ratio of two to one", two, one);
    tell_ratio("ratio of four to one", four, one);
}

fn started(sizes: &Sizes, cluster: &Cluster, server: &Server, database: &str, count: u64) -> Vec<Place> {
    let place = |_| cluster.place(sizes, database, &server.url, IN_FLIGHT);
    (0..count).map(place).collect()
}

/// Of two daemons one is killed, or frozen, amid a drain. The time runs from the signal, which its last sign of life came
/// before, to when another has delivered the first of what it had claimed.
pub fn takeover(sizes: &Sizes) {
    let Some(mut cluster) = Cluster::start() else { return };
    let server = Server::start(&["200"]);
    for (name, signal) in [("after kill -9", "KILL"), ("after SIGSTOP", "STOP")] {
        let mut took = Figures::new();
        for _ in 0..sizes.rounds.min(3) {
            let database = cluster.filled(sizes.results, Activities::Own);
            let places = started(sizes, &cluster, &server, &database, 2);
            let mut daemons: Vec<Daemon> = places.iter().map(Place::start).collect();
            daemons.iter_mut().for_each(Daemon::wait_until_ready);
            std::thread::sleep(UNDER_WAY);
            let asked = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            daemons[0].signal(signal);
            let at = cluster.number(&database, asked);
            took.push(first_delivered_ms(&cluster, &database, at) / 1e3);
            drop(daemons);
            cluster.drop(&database);
        }
        tell(name, &took, " s");
    }
}

/// Milliseconds from then to the end of the first attempt that succeeded where a lost node's was interrupted.
fn first_delivered_ms(cluster: &Cluster, database: &str, since_ms: i64) -> f64 {
    let asked = "SELECT coalesce((SELECT min(b.started_at + b.elapsed_ms) FROM reten_outbox.attempt AS a \
                 JOIN reten_outbox.attempt AS b ON b.submission = a.submission AND b.number > a.number \
                 WHERE a.outcome = 'interrupted' AND b.outcome = 'delivered'), 0)";
    loop {
        let at = cluster.number(database, asked);
        if at > 0 {
            return f64::from(i32::try_from(at - since_ms).unwrap());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
