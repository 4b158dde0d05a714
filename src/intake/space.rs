//! How much room is left, asked without waiting for a file system that hangs: on a thread of its own, one at a time for
//! each directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::store::free_bytes;

use super::context::blocking;

/// An answer serves for so long: taking many small batches does not ask for each.
const FRESH: Duration = Duration::from_millis(50);
/// And so long where so many bytes are free, which nothing of ours fills in that time: each asking is two switches of
/// thread, which a file's request waits for.
const FRESH_OF_ROOMY: Duration = Duration::from_secs(1);
const ROOMY: u64 = 1 << 30;
/// What does not answer in this time counts as unknown, and is not waited for again before it has answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was asked, by directory. There are two of them: the inbox and the outbox.
#[derive(Debug, Default)]
pub struct FreeSpace {
    asked: Mutex<HashMap<PathBuf, DiskProbe>>,
}

/// When it was asked, and what is free.
type FreeBytes = (Instant, Option<u64>);

#[derive(Debug, Clone, Default)]
struct DiskProbe {
    answer: Arc<AsyncMutex<Option<FreeBytes>>>,
    hangs: Arc<AtomicBool>,
}

impl FreeSpace {
    /// What is free in this directory, in bytes; `None` where that cannot be told, or not now.
    pub async fn free(&self, dir: &Path) -> Option<u64> {
        self.ask(dir, free_bytes).await
    }

    async fn ask(&self, dir: &Path, ask: impl FnOnce(&Path) -> Option<u64> + Send + 'static) -> Option<u64> {
        let asked = {
            let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(dir.to_owned()).or_default().clone()
        };
        if asked.hangs.load(Ordering::Acquire) {
            return None;
        }
        let dir = dir.to_owned();
        let hangs = Arc::clone(&asked.hangs);
        let answer = async move {
            let mut answer = asked.answer.lock_owned().await;
            if let Some((at, known)) = *answer
                && at.elapsed() < fresh(known)
            {
                return known;
            }
            // The turn goes with it: whoever asks meanwhile waits, or sees that it hangs.
            let asked = blocking(move || {
                let free = ask(&dir);
                *answer = Some((Instant::now(), free));
                asked.hangs.store(false, Ordering::Release);
                free
            });
            asked.await.ok().flatten()
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            hangs.store(true, Ordering::Release);
            None
        })
    }
}

fn fresh(free: Option<u64>) -> Duration {
    if free.is_some_and(|free| free >= ROOMY) {
        FRESH_OF_ROOMY
    } else {
        FRESH
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_file_system_that_hangs_is_unknown_at_once_and_asked_again_when_it_has_answered() {
        let space = FreeSpace::default();
        let dir = Path::new("/");
        assert!(space.free(dir).await.is_some());
        tokio::time::sleep(FRESH_OF_ROOMY).await;
        let (release, held) = mpsc::channel::<()>();
        let hung = move |_: &Path| {
            let _ = held.recv();
            Some(7)
        };
        assert_eq!(space.ask(dir, hung).await, None);
        // Nobody else's thread is given up to it, nor anybody's time.
        assert_eq!(space.ask(dir, |_| panic!("asked again")).await, None);
        drop(release);
        while space.ask(dir, |_| Some(8)).await.is_none() {
            tokio::task::yield_now().await;
        }
    }
}
