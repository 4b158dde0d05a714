//! Admitting a piece of what was given, once, although the answer to its commit may be lost on the way from a server.

use std::ffi::OsString;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, Digest, Entry, FileReceipt, InboxId, Receipt};
use crate::store::{Outbox, StoreError};

use super::note;

/// The first pause before the server is asked again; each is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// So many times: a server that is restarted is back within these ten seconds or so.
const REPEATS: u32 = 6;

/// A command's receipt: a piece that was committed is known by it when it is given again.
#[derive(Debug)]
pub(super) struct Once {
    mark: InboxId,
    /// Results of the pieces before.
    given: u64,
}

impl Once {
    pub(super) fn new() -> Self {
        Self {
            mark: fastrand::u128(..).to_be_bytes(),
            given: 0,
        }
    }

    /// One answer an entry. `Away`: nobody knows whether this piece is in.
    pub(super) async fn admit(
        &mut self,
        outbox: &Outbox,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Vec<Admitted>, StoreError> {
        self.given += entries.len() as u64;
        let mut pause = PAUSE_MIN;
        let mut repeats = 0;
        loop {
            let admission = Admission {
                entries: entries.to_vec(),
                // A file's commit never leaves a doubt.
                receipts: outbox.is_shared().then(|| self.receipt()).into_iter().collect(),
            };
            match outbox.admit(admission, now).await {
                Err(StoreError::Away(_)) if outbox.is_shared() && repeats < REPEATS => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    repeats += 1;
                }
                outcome => {
                    if outcome
                        .as_ref()
                        .is_ok_and(|answers| answers.contains(&Admitted::AlreadyTaken))
                    {
                        note(
                            "the database took results in, and its answer was lost: what follows as \"taken before\" \
                             is in, once; `reten-outbox list` shows it",
                        );
                    }
                    return outcome;
                }
            }
        }
    }

    /// All that was given is in, and will not be given again. One that is left says nothing to anybody.
    pub(super) async fn forget(self, outbox: &Outbox) {
        if outbox.is_shared() && self.given > 0 {
            drop(outbox.forget(vec![self.receipt()]).await);
        }
    }

    /// Each piece's replaces the one before, and differs from it.
    fn receipt(&self) -> Receipt {
        Receipt::File(FileReceipt {
            inbox: Some(self.mark),
            name: OsString::from("enqueue"),
            inode: 0,
            modified_ns: 0,
            taken: self.given,
            lines: self.given,
            digest: Digest::of(b""),
            result_bytes_max: None,
        })
    }
}
