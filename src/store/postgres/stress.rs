//! Several nodes at once on a few hot activities: admissions, claims, outcomes, acts and take-overs of nodes that live,
//! as they come. Whatever they do to one another, of each activity one is next and it is the oldest, every attempt is
//! handed out once, an outcome that comes after a take-over changes nothing, and nothing is lost.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};

use super::connect::Purpose;
use super::{Database, recover};
use crate::clock::Timestamp;
use crate::model::{
    Act, Actor, Address, Admission, DeadReason, Digest, Ending, EndingName, ParkReason, Receipt, RowReceipt, Server,
    SubmissionId,
};
use crate::store::tests::{Bench, Kind, NOW, WAIT_MAX, directory, entry, settlement};
use crate::store::{ActRequest, ClaimOrder, ClaimRequest, Role, Settled, Still, StoreError};

const NODES: usize = 3;
/// Of each node.
const CLIENTS: usize = 2;
const ACTIVITIES: u32 = 8;
/// Steps of each client.
const STEPS: u32 = 60;
/// How often one of them asks again whose session was ended.
const TRIES: u32 = 50;

/// Two of one activity at once; a lane with somebody waiting and nobody next; and one that waits behind a later one,
/// which is next or being sent for the first time.
const WRONG: &str = "SELECT \
     (SELECT count(*) FROM (SELECT lane FROM delivery WHERE state IN ('head', 'sending') AND lane IS NOT NULL GROUP BY lane HAVING count(*) > 1) AS two), \
     (SELECT count(*) FROM (SELECT lane FROM delivery WHERE lane IS NOT NULL GROUP BY lane HAVING NOT bool_or(state IN ('head', 'sending'))) AS stuck), \
     (SELECT count(*) FROM delivery AS late JOIN delivery AS early ON early.lane = late.lane AND early.id < late.id \
       WHERE early.state = 'waiting' AND (late.state = 'head' OR late.state = 'sending' AND late.attempts = 1 AND NOT early.requeued))";

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    admitted: AtomicU64,
    rows: AtomicU32,
    taken_over: AtomicU32,
    stale: AtomicU32,
    handed_out: Mutex<HashSet<(i64, u32)>>,
    /// Incarnations of which everything was put back.
    fenced: Mutex<HashSet<i64>>,
    /// Outcomes of which the store said that they are stored.
    done: Mutex<HashMap<(i64, u32), EndingName>>,
}

#[tokio::test]
async fn nodes_that_take_each_other_over_lose_nothing_and_keep_the_order() {
    let Some(bench) = Bench::fresh(Kind::Postgres).await else {
        return;
    };
    let Address::Server(server) = &bench.address else {
        unreachable!("a file has no nodes")
    };
    bench.outbox.close().await;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let directory = directory();
        let server = Server {
            anchor: directory.path().join("outbox"),
            node: format!("node {number}"),
            ..Server::clone(server)
        };
        let node = Database::open(&server, Role::Daemon, NOW).await.unwrap();
        nodes.push((node, directory));
    }
    let seen = Seen::default();
    let checks = AtomicU32::new(0);
    let clients = futures_util::future::join_all(
        (0..NODES * CLIENTS).map(|client| works(&nodes[client % NODES].0, u64::try_from(client).unwrap(), &seen)),
    );
    tokio::select! {
        _ = clients => {}
        () = watches(&nodes[0].0, &checks) => {}
    }
    drain(&nodes, &seen).await;
    let mut conn = connection(&nodes[0].0).await;
    let states =
        "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM settled), (SELECT count(*) FROM submission)";
    let row = sqlx::raw_sql(states).fetch_one(&mut conn).await.unwrap();
    let admitted = i64::try_from(seen.admitted.load(Ordering::Relaxed)).unwrap();
    let counted: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(counted, (0, admitted, admitted), "lost");
    let attempts = sqlx::raw_sql("SELECT submission, number, outcome FROM attempt");
    let attempts: HashMap<(i64, u32), String> = attempts
        .fetch_all(&mut conn)
        .await
        .unwrap()
        .iter()
        .map(|row| ((row.get(0), row.get::<i32, _>(1).cast_unsigned()), row.get(2)))
        .collect();
    for (attempt, outcome) in &*seen.done.lock().unwrap() {
        assert_eq!(attempts.get(attempt).map(String::as_str), Some(outcome.into_str()));
    }
    // A reader whose session was ended is told so once.
    let mut counted = nodes[0].0.recount().await;
    while matches!(counted, Err(StoreError::Away(_))) {
        counted = nodes[0].0.recount().await;
    }
    assert_eq!(counted.unwrap(), [], "the counts are right");
    let (taken_over, stale) = (
        seen.taken_over.load(Ordering::Relaxed),
        seen.stale.load(Ordering::Relaxed),
    );
    assert!(taken_over > 0 && stale > 0, "{taken_over} taken over, {stale} late");
    assert!(checks.load(Ordering::Relaxed) > 10);
    println!(
        "{admitted} admitted, {} attempts, {taken_over} taken over, {stale} late outcomes refused",
        attempts.len()
    );
    for (node, _) in &nodes {
        node.close().await;
    }
}

async fn connection(node: &Database) -> sqlx::postgres::PgConnection {
    let connector = &node.inner.connector;
    connector
        .connect(Purpose::Writing, "a look at the stress")
        .await
        .unwrap()
}

/// Looks at the tables while the others work.
async fn watches(node: &Database, checks: &AtomicU32) {
    let mut conn = connection(node).await;
    loop {
        let row = sqlx::raw_sql(AssertSqlSafe(WRONG)).fetch_one(&mut conn).await.unwrap();
        let wrong: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(wrong, (0, 0, 0), "two at once, stuck, out of order");
        checks.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What one client does. It waits for each answer; what a node that is fenced is told changes nothing for it.
async fn works(node: &Database, client: u64, seen: &Seen) {
    let mut random = fastrand::Rng::with_seed(client);
    let mut held = Vec::new();
    for _ in 0..STEPS {
        match random.u32(..100) {
            0..30 => admit(node, &mut random, seen).await,
            30..60 => held.extend(claim(node, random.u32(1..8), seen).await),
            60..90 => {
                let count = random.usize(..=held.len());
                for claimed in held.drain(..count) {
                    let ending = match random.u32(..6) {
                        0 | 1 => Ending::Dead {
                            reason: DeadReason::Rejected,
                            requeue_on_opening: false,
                        },
                        2 => Ending::Retry { wait: Duration::ZERO },
                        3 => Ending::Parked(ParkReason::Conflict),
                        _ => Ending::Delivered,
                    };
                    settle(node, &claimed, ending, seen).await;
                }
            }
            90..95 => act(node, &mut random, seen).await,
            _ => {
                take_over(node, seen).await;
                // At once, before the late outcomes of the last incarnation come.
                held.extend(claim(node, 2 * ACTIVITIES, seen).await);
            }
        }
    }
    for claimed in held {
        settle(node, &claimed, Ending::Released, seen).await;
    }
}

/// With receipts, as intake does: what may have been stored is asked again.
async fn admit(node: &Database, random: &mut fastrand::Rng, seen: &Seen) {
    let count = random.u32(1..6);
    let entries = (0..count).map(|_| entry(&random.u32(..ACTIVITIES).to_string()));
    let receipts = (0..count).map(|_| {
        Receipt::Row(RowReceipt {
            inbox: [7; 16],
            row: i64::from(seen.rows.fetch_add(1, Ordering::Relaxed)),
            digest: Digest([0; 32]),
        })
    });
    let admission = Admission {
        entries: entries.collect(),
        receipts: receipts.collect(),
    };
    for _ in 0..TRIES {
        match node.admit(admission.clone(), NOW).await {
            Ok(admitted) => {
                seen.admitted.fetch_add(admitted.len() as u64, Ordering::Relaxed);
                return;
            }
            Err(StoreError::Away(_) | StoreError::Busy(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never answered");
}

async fn claim(node: &Database, limit: u32, seen: &Seen) -> Vec<crate::store::Claimed> {
    let request = ClaimRequest {
        limit,
        order: ClaimOrder::Due,
        now: NOW,
        wait_max: WAIT_MAX,
    };
    // A node whose sessions a take-over has ended.
    let claimed = node.claim(request).await.unwrap_or_default();
    for one in &claimed {
        let is_new = seen.handed_out.lock().unwrap().insert((one.id.0, one.attempt.0));
        assert!(is_new, "handed out twice: {} of {}", one.attempt.0, one.id.0);
    }
    claimed
}

async fn settle(node: &Database, claimed: &crate::store::Claimed, ending: Ending, seen: &Seen) {
    let settlement = std::sync::Arc::new(settlement(claimed, ending));
    let is_late = seen.fenced.lock().unwrap().contains(&claimed.incarnation);
    for _ in 0..TRIES {
        match node.settle_all(vec![(settlement.clone(), NOW)], None).await.as_deref() {
            Ok([Settled::Done]) if is_late => {
                panic!("a late outcome was stored: {} of {}", claimed.attempt.0, claimed.id.0)
            }
            Ok([Settled::Done]) if ending == Ending::Released => return,
            Ok([Settled::Done]) => {
                let attempt = (claimed.id.0, claimed.attempt.0);
                seen.done.lock().unwrap().insert(attempt, ending.into());
                return;
            }
            Ok([Settled::Stale]) => {
                seen.stale.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(StoreError::Away(_) | StoreError::Busy(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("never answered");
}

/// Puts one back of those that were ever admitted, or closes it.
async fn act(node: &Database, random: &mut fastrand::Rng, seen: &Seen) {
    let newest = i64::try_from(seen.admitted.load(Ordering::Relaxed)).unwrap();
    if newest == 0 {
        return;
    }
    let request = ActRequest {
        ids: (0..3).map(|_| SubmissionId(random.i64(1..=newest))).collect(),
        act: if random.bool() { Act::Requeue } else { Act::Dismiss },
        still: Still::default(),
        actor: Actor::User("ana".into()),
        force: true,
        dry_run: false,
        now: NOW,
    };
    match node.act(request).await {
        Ok(_) | Err(StoreError::Away(_) | StoreError::Busy(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// As a node that was not seen for long is taken over; this one lives, and goes on as another incarnation.
async fn take_over(node: &Database, seen: &Seen) {
    let own = &node.inner.own;
    let id = own.node();
    let mut conn = connection(node).await;
    let schema = &node.inner.connector.schema;
    let count = recover::take_over(&mut conn, schema, id, None, Timestamp::default()).await;
    let count = count.unwrap().unwrap_or_default();
    seen.fenced.lock().unwrap().insert(id);
    seen.taken_over
        .fetch_add(u32::try_from(count).unwrap(), Ordering::Relaxed);
    while own.node() == id {
        own.news.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends all that is left.
async fn drain(nodes: &[(Database, tempfile::TempDir)], seen: &Seen) {
    let mut conn = connection(&nodes[0].0).await;
    loop {
        for (node, _) in nodes {
            for claimed in claim(node, 100, seen).await {
                settle(node, &claimed, Ending::Delivered, seen).await;
            }
        }
        let left = sqlx::raw_sql("SELECT count(*) FROM delivery").fetch_one(&mut conn);
        let left: i64 = left.await.unwrap().get(0);
        if left == 0 {
            return;
        }
    }
}
