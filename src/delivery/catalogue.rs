//! The tenant's result types: fetched, remembered, and published for validation.
//!
//! Unreachable or forbidden, validation goes on with what is remembered, or without a list: one warning, and no trouble
//! for anyone. Another list than before is first published, then what it makes valid is put back, and only then it is
//! remembered: a crash in between does the latter two again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::api::{Catalogue, Client};
use crate::clock::{self, Timestamp};
use crate::policy::gate::GateName;
use crate::policy::hint;
use crate::policy::validate::{Criteria, ResultType};
use crate::store::{Outbox, StoreError};
use crate::telemetry::{SaidOnce, events};

use super::links::Links;
use super::revalidate::revalidate;

/// The name under which the list is remembered.
pub const RESULT_TYPES: &str = "result_types";

/// However many unknown codes come in, the list is not fetched more often because of them.
const UNKNOWN_CODE_PAUSE: Duration = Duration::from_mins(1);
/// After a failure the list is asked for again at this pause, doubled up to `validation.refresh`.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// The list as it is remembered.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    /// Milliseconds since 1970.
    fetched_at: i64,
    types: Vec<ResultType>,
}

/// The list as it was last fetched, for commands; `None` where there is none that can be used: then codes are not
/// checked.
pub async fn remembered(outbox: &Outbox) -> Option<Vec<ResultType>> {
    let text = outbox.recall(RESULT_TYPES).await.ok().flatten()?;
    let list: Remembered = serde_json::from_str(&text).ok()?;
    (!list.types.is_empty()).then_some(list.types)
}

/// Keeps the list fresh until it is stopped.
pub(super) async fn keep(mut context: Links) {
    let mut keeper = Keeper {
        context: context.clone(),
        judged_by: None,
        once_more: false,
        warned: SaidOnce::default(),
        pause: FAILED_PAUSE,
    };
    let unknown_seen = Arc::clone(&context.unknown_code);
    keeper.publish_remembered().await;
    loop {
        let fetched = Instant::now();
        let config = context.config.borrow_and_update().clone();
        context.key.mark_unchanged();
        let next = if config.validation.result_types {
            fetched + keeper.fetch().await
        } else {
            keeper.publish(None);
            fetched + config.validation.refresh
        };
        tokio::select! {
            () = sleep_until(next) => {}
            () = unknown_code(&unknown_seen, fetched + UNKNOWN_CODE_PAUSE) => {}
            () = changed(&mut context.config) => {}
            () = changed(&mut context.key) => {}
        }
    }
}

/// Waits for a new value; for ever where the other end is gone.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for an unknown code, and not less than until `earliest`.
async fn unknown_code(seen: &Notify, earliest: Instant) {
    seen.notified().await;
    sleep_until(earliest).await;
}

struct Keeper {
    context: Links,
    /// The list by which everything `invalid` in the outbox has been judged.
    judged_by: Option<Arc<[ResultType]>>,
    /// Judge once more with the next fetch: intake may have stored what it had judged by the old list after we looked.
    /// Such a one asks for that fetch itself, within a minute.
    once_more: bool,
    /// Whether the present failure has been told.
    warned: SaidOnce,
    pause: Duration,
}

impl Keeper {
    /// Asks once; how long to wait until the next time.
    async fn fetch(&mut self) -> Duration {
        let refresh = self.context.config.borrow().validation.refresh;
        // While nothing may be sent, nothing is asked either: the gate has its own question.
        if !self.context.meters.gate().is_some_and(GateName::is_open) {
            return FAILED_PAUSE.min(refresh);
        }
        let client = Client::new(&self.context.config.borrow().api, &self.context.key.borrow());
        let catalogue = match client {
            Ok(client) => client.result_types().await,
            Err(error) => Catalogue::NoVerdict(error.to_string()),
        };
        let (why, hint) = match catalogue {
            Catalogue::Types(types) if types.is_empty() => ("the list is empty".to_owned(), None),
            Catalogue::Types(types) => {
                if self.warned.ends() {
                    events::recovered("the result types can be fetched again");
                }
                self.pause = FAILED_PAUSE;
                let is_done = self.take(types.into(), clock::now()).await;
                return if is_done { refresh } else { FAILED_PAUSE.min(refresh) };
            }
            Catalogue::Unauthorized => ("401".to_owned(), hint::of_query(401)),
            Catalogue::Forbidden => ("403".to_owned(), hint::of_query(403)),
            Catalogue::NoVerdict(why) => (why, None),
        };
        self.warn_once(&why, hint);
        let pause = self.pause;
        self.pause = pause.saturating_mul(2);
        pause.min(refresh)
    }

    fn warn_once(&mut self, why: &str, hint: Option<&str>) {
        if !self.warned.begins() {
            return;
        }
        let without = if self.context.result_types.borrow().is_some() {
            "the list known so far is used"
        } else {
            "result codes are not checked until it is known"
        };
        events::warning(
            &format!("the result types cannot be fetched: {why}"),
            hint.unwrap_or(without),
        );
    }

    /// A fresh list; `false` where the outbox could not be asked what it makes valid, and it has to be taken again.
    async fn take(&mut self, types: Arc<[ResultType]>, now: Timestamp) -> bool {
        if self.context.result_types.borrow().as_ref() != Some(&types) {
            self.publish(Some(Arc::clone(&types)));
        }
        let is_news = self.judged_by.as_ref() != Some(&types);
        if is_news || self.once_more {
            if let Err(error) = self.judge_again(Arc::clone(&types), now).await {
                events::storage_error(
                    "result types",
                    &error.to_string(),
                    "what another list makes valid stays invalid for now; it is tried again",
                );
                return false;
            }
            self.judged_by = Some(Arc::clone(&types));
            self.once_more = is_news;
        }
        let fresh = Remembered {
            fetched_at: now.millis(),
            types: types.to_vec(),
        };
        if let Ok(text) = serde_json::to_string(&fresh) {
            // It is only a cache: whoever stores what matters says that the outbox is in trouble.
            self.context.outbox.remember(RESULT_TYPES, Some(text), now).await.ok();
        }
        true
    }

    async fn judge_again(&self, result_types: Arc<[ResultType]>, now: Timestamp) -> Result<(), StoreError> {
        let criteria = Criteria {
            settings: self.context.config.borrow().validation.clone(),
            result_types: Some(result_types),
            now,
        };
        let count = revalidate(&self.context.outbox, &criteria).await?;
        if count > 0 {
            events::requeued(count, "the list of result types has changed, and they are valid now");
            self.context.arrivals.notify_one();
        }
        Ok(())
    }

    async fn publish_remembered(&mut self) {
        if let Some(types) = remembered(&self.context.outbox).await {
            let types: Arc<[ResultType]> = types.into();
            self.judged_by = Some(Arc::clone(&types));
            self.publish(Some(types));
        }
    }

    fn publish(&self, types: Option<Arc<[ResultType]>>) {
        self.context.result_types.send_replace(types);
    }
}
