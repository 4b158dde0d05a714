//! The services' tasks, and what it means when one of them ends, or a round of one fails.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use crate::store::StoreError;
use crate::telemetry::{SaidOnce, events};

/// A task that is to run as long as the daemon has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{service} ended by itself ({why}); the daemon ends with it, and what was in flight is resumed at the next start"
)]
pub struct TaskEnded {
    pub service: &'static str,
    /// A panic (its words are in the log), an error, or a mere return.
    pub why: String,
}

/// The tasks by their services' names. Dropping it ends them where they are.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    services: HashMap<Id, &'static str>,
}

impl Tasks {
    pub(super) fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        service: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self.set.spawn(async { task.await.map_err(Into::into) });
        self.services.insert(handle.id(), service);
    }

    /// The next one that ends. Never, when there is none left.
    pub(super) async fn next(&mut self) -> TaskEnded {
        match self.set.join_next_with_id().await {
            Some(Ok((id, Ok(())))) => self.ended(id, "it returned".to_owned()),
            Some(Ok((id, Err(error)))) => self.ended(id, format!("{error:#}")),
            Some(Err(error)) => self.ended(error.id(), why(&error).to_owned()),
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended, at most `patience`, then ends the others where they are: their names.
    pub(super) async fn finish(&mut self, patience: Duration) -> Vec<&'static str> {
        let all = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let id = ended.map_or_else(|error| error.id(), |(id, _)| id);
                self.services.remove(&id);
            }
        };
        // Elapsed or not: what is left in `services` says it.
        let _ = timeout(patience, all).await;
        self.set.abort_all();
        self.services.drain().map(|(_, service)| service).collect()
    }

    fn ended(&mut self, id: Id, why: String) -> TaskEnded {
        let service = self.services.remove(&id).unwrap_or("a task");
        TaskEnded { service, why }
    }
}

fn why(error: &JoinError) -> &'static str {
    if error.is_panic() {
        "it panicked; the log says where"
    } else {
        "it was cancelled"
    }
}

/// Logs how a round of a loop of ours ended: `trouble`, the operation and what mends it, once, and not every round,
/// since who has something to store says the rest; and once that it works again. The only error is a closed outbox,
/// with which the daemon has to end.
pub(super) fn report_round(
    fails: &mut SaidOnce,
    round: Result<(), StoreError>,
    (operation, hint): (&str, &str),
    resumed: &str,
) -> Result<(), StoreError> {
    match round {
        Err(StoreError::Closed) => return Err(StoreError::Closed),
        Err(error @ (StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
            if fails.begins() {
                events::storage_error(operation, &error.to_string(), hint);
            }
        }
        Ok(()) => {
            if fails.ends() {
                events::storage_resumed(resumed);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn a_room_that_returns_or_panics_is_named() {
        block_on(async {
            let mut tasks = Tasks::default();
            tasks.spawn("summary", std::future::pending::<anyhow::Result<()>>());
            tasks.spawn("intake", async { anyhow::Ok(()) });
            assert_eq!(tasks.next().await.service, "intake");
            tasks.spawn::<anyhow::Error>("delivery", async { panic!("as the test wants it") });
            let ended = tasks.next().await;
            assert_eq!(
                (ended.service, ended.why.as_str()),
                ("delivery", "it panicked; the log says where")
            );
            tasks.spawn("delivery", async { anyhow::bail!("no client") });
            assert!(tasks.next().await.to_string().contains("no client"));
        });
    }

    #[test]
    fn who_does_not_finish_in_time_is_ended_and_named() {
        block_on(async {
            let mut tasks = Tasks::default();
            tasks.spawn("delivery", async {
                tokio::task::yield_now().await;
                anyhow::Ok(())
            });
            tasks.spawn("intake", std::future::pending::<anyhow::Result<()>>());
            assert_eq!(tasks.finish(Duration::from_millis(200)).await, ["intake"]);
            assert!(tasks.finish(Duration::from_secs(30)).await.is_empty());
        });
    }
}
