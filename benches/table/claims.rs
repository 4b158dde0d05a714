//! The store alone, through the library: whether a claim and a settlement cost the same whatever waits.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reten_outbox::bench::{self, Timestamp};
use reten_outbox::bench::{Answer, Attempt, Ending};
use reten_outbox::bench::{ClaimOrder, ClaimRequest, Claimed, Outbox, Role, Settlement};

use crate::daemon::Place;
use crate::figures::{Figures, tell, tell_ratio_of_many};
use crate::fill::{self, Activities};
use crate::sizes::Sizes;

/// Claimed and settled at once.
const GROUP: u32 = 256;
/// Of the yardstick, which is to be large enough for all cycles.
const SMALL: u64 = 10_000;
const CYCLES: u64 = 30;
/// `retry.max_interval` and what a retry waits, so that the stuck one stays so.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// The three outboxes take turns.
pub fn claims(sizes: &Sizes) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let places = [
        (SMALL, Activities::Own),
        (sizes.large, Activities::Own),
        (sizes.large, Activities::Stuck),
    ];
    let places = places.map(|(results, activities)| {
        let place = Place::new(sizes, "http://127.0.0.1:1", 1);
        fill::outbox(sizes, results, activities, &place.outbox());
        place
    });
    let mut took = [const { Figures::new() }; 3];
    runtime.block_on(async {
        let mut outboxes = Vec::new();
        for place in &places {
            outboxes.push(opened(&place.outbox()).await);
        }
        retry_one(&outboxes[2]).await;
        for _ in 0..CYCLES {
            for (outbox, took) in outboxes.iter().zip(&mut took) {
                took.push(cycle(outbox).await.as_secs_f64() * 1e3);
            }
        }
        for outbox in &outboxes {
            outbox.close().await;
        }
    });
    let [small, large, stuck] = &took;
    tell(&format!("at {SMALL} pending"), small, " ms");
    tell(&format!("at {} pending", sizes.large), large, " ms");
    tell("with 90 % behind one retry", stuck, " ms");
    tell_ratio_of_many("ratio", large, small);
    tell_ratio_of_many("ratio with 90 % behind one retry", stuck, small);
}

async fn opened(path: &Path) -> Outbox {
    Outbox::open(path, Role::Daemon, Timestamp::default()).await.unwrap()
}

async fn claim(outbox: &Outbox, limit: u32) -> Vec<Claimed> {
    let request = ClaimRequest {
        limit,
        order: ClaimOrder::Due,
        now: bench::now(),
        wait_max: WAIT_MAX,
    };
    outbox.claim(request).await.unwrap()
}

async fn cycle(outbox: &Outbox) -> Duration {
    let began = Instant::now();
    let claimed = claim(outbox, GROUP).await;
    assert_eq!(claimed.len(), GROUP as usize);
    settled_as_delivered(outbox, &claimed).await;
    began.elapsed()
}

pub async fn settled_as_delivered(outbox: &Outbox, claimed: &[Claimed]) {
    let now = bench::now();
    let settlements = claimed
        .iter()
        .map(|claimed| (settlement(claimed, Ending::Delivered).into(), now));
    outbox.settle_all(settlements.collect(), None).await.unwrap();
}

/// Makes the oldest one wait, and with it all of its activity.
async fn retry_one(outbox: &Outbox) {
    let claimed = claim(outbox, 1).await;
    let now = bench::now();
    let retry = Ending::Retry { wait: WAIT_MAX };
    outbox.settle(settlement(&claimed[0], retry), now).await.unwrap();
}

fn settlement(claimed: &Claimed, ending: Ending) -> Settlement {
    let is_delivered = ending == Ending::Delivered;
    Settlement {
        id: claimed.id,
        ending,
        record: Attempt {
            number: claimed.attempt,
            node: None,
            started_at: claimed.claimed_at,
            elapsed_ms: 1,
            hard_override: false,
            outcome: ending.into(),
            lost_response: false,
            answer: Some(Answer {
                status: if is_delivered { 201 } else { 503 },
                headers: vec![("content-type".into(), "application/json".into())],
                body: Bytes::from_static(br#"{"id":"0f6f2a0e-6a55-4d0f-9a3e-5d1f0c8b7a21","status":"PROCESSED"}"#),
                body_length: 66,
            }),
            fault: None,
        },
    }
}
