//! Looking after what the outbox keeps beside its submissions: the counts by state, and who is next in each activity.
//! The program keeps both true by itself; an operator's `UPDATE` in `sqlite3` does not, and must neither stop anything
//! nor be wrong for ever. And whether the pages are whole, where a start did not wait to know.
//!
//! All of it at a start and a little of it afterwards, on a reading connection: deliveries go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::store::{Miscount, Outbox, StoreError};
use crate::telemetry::events;

/// How often there is a look at the next activities: one look, some milliseconds.
const ROUND: Duration = Duration::from_secs(30);
/// Between two looks at a start the outbox belongs to the others; and so long counts that fall short may be wrong.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks that found nothing.
const GAP: Duration = Duration::from_millis(20);

/// What mends it, once and for all.
const HINT: &str = "it is put right, and deliveries go on. Did another program change rows of the outbox? \
     `reten-outbox requeue`, `dismiss` and `edit` change a submission and keep all that belongs to it";

const DAMAGED_HINT: &str = "stop the daemon and restore the newest backup: `reten-outbox restore FILE` keeps this \
     outbox aside, and `reten-outbox salvage` reads out of it what the backup lacks";

/// Looks after the outbox until `shutdown` says so.
pub(super) async fn run(
    outbox: Outbox,
    arrivals: Arc<Notify>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    tokio::select! {
        () = tend(&outbox, &arrivals) => {}
        // An error is a sender that is gone: the end as well.
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    Ok(())
}

async fn tend(outbox: &Outbox, arrivals: &Notify) {
    recount(outbox).await;
    let mut after = None;
    loop {
        after = put_in_order(outbox, arrivals, after).await;
        if after.is_none() {
            break;
        }
        sleep(GAP).await;
    }
    // Last: it may read for a second, and nobody waits for it.
    check(outbox).await;
    loop {
        tokio::select! {
            () = sleep(ROUND) => after = put_in_order(outbox, arrivals, after).await,
            () = outbox.found_short() => {
                recount(outbox).await;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Deliveries go on: what can be read of a damaged outbox is better sent than kept.
async fn check(outbox: &Outbox) {
    if let Ok(Some(wrong)) = outbox.check_further().await {
        events::storage_error("check", &format!("the outbox is damaged: {wrong}"), DAMAGED_HINT);
    }
}

/// An outbox that cannot be used is told by those who need it; here it is only tried again later.
async fn recount(outbox: &Outbox) {
    for Miscount { state, was, is } in outbox.recount().await.unwrap_or_default() {
        events::storage_error(
            "counts",
            &format!("the count of {state} submissions said {was}, there are {is}"),
            HINT,
        );
    }
}

/// Goes through the next activities after `after`; where the next look begins.
async fn put_in_order(outbox: &Outbox, arrivals: &Notify, after: Option<i64>) -> Option<i64> {
    let Ok((count, end)) = outbox.put_in_order(after).await else {
        return None;
    };
    if count > 0 {
        // Who is next now may be due, and nothing else says so: a commit of our own is no news to who asks for those of
        // others.
        arrivals.notify_one();
        let noun = if count == 1 { "activity" } else { "activities" };
        events::storage_error(
            "order",
            &format!("in {count} {noun} submissions waited for one that is not there"),
            HINT,
        );
    }
    end
}
