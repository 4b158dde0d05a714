//! Looking after what the outbox keeps beside its submissions: the counts by state, and who is next in each activity. The program keeps both
//! true by itself; a person's `UPDATE` in `sqlite3` does not, and must neither stop anything nor be wrong for ever.
//!
//! All of it at a start and a little of it afterwards, on a reading connection: deliveries go on meanwhile.

use std::time::Duration;

use tokio::sync::watch;
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
const HINT: &str = "it is put right, and deliveries go on. Did another program change rows of the outbox? `reten-outbox requeue`, `dismiss` and \
     `edit` change a submission and keep all that belongs to it";

/// Looks after the outbox until `shutdown` says so.
pub(super) async fn run(outbox: Outbox, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
    tokio::select! {
        () = look_after(&outbox) => {}
        // An error is a sender that is gone: the end as well.
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    Ok(())
}

async fn look_after(outbox: &Outbox) {
    recount(outbox).await;
    let mut after = None;
    loop {
        after = put_in_order(outbox, after).await;
        if after.is_none() {
            break;
        }
        sleep(GAP).await;
    }
    loop {
        tokio::select! {
            () = sleep(ROUND) => after = put_in_order(outbox, after).await,
            () = outbox.found_short() => {
                recount(outbox).await;
                sleep(PAUSE).await;
            }
        }
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

/// Goes through the next activities behind `after`; where the next look begins.
async fn put_in_order(outbox: &Outbox, after: Option<i64>) -> Option<i64> {
    let Ok((count, end)) = outbox.put_in_order(after).await else {
        return None;
    };
    if count > 0 {
        let noun = if count == 1 { "activity" } else { "activities" };
        events::storage_error(
            "order",
            &format!("in {count} {noun} submissions waited for one that is not there"),
            HINT,
        );
    }
    end
}
