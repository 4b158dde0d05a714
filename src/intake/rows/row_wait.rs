//! When the rows' loop turns again: after an event and the looks that follow it, after a poll, after a failure.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::intake::admit::pause;
use crate::intake::backpressure::Backpressure;
use crate::intake::context::IntakeContext;

use super::error::RowsError;
use super::row_loop::RowLoop;

/// Where an event may come before the commit that it belongs to can be seen, these looks follow it: half a millisecond,
/// doubled ten times.
const LADDER_FIRST: Duration = Duration::from_micros(500);
const LADDER_STEPS: u32 = 10;
/// A lock is worth a word when it was met so often in a row: producers hold it for milliseconds.
const BUSY_SAID_AFTER: u32 = 5;
/// After a worker that ended, hung or span the next one waits, doubled each time up to the maximum: a file that makes
/// it compute must not cost a processor.
const GONE_PAUSE: Duration = Duration::from_millis(250);
const GONE_PAUSE_MAX: Duration = Duration::from_secs(64);

impl RowLoop {
    pub(super) fn works(&mut self, backpressure: &Backpressure) {
        self.failures = 0;
        self.gone = 0;
        backpressure.rows_work();
    }

    /// Says it, where it is worth a word, and how long to wait.
    pub(super) fn fails(&mut self, error: &RowsError, backpressure: &Backpressure) -> Duration {
        self.failures += 1;
        let is_worth_a_word = match error {
            RowsError::Busy(_) | RowsError::SuperJournal(_) => self.failures >= BUSY_SAID_AFTER,
            RowsError::Misplaced(_)
            | RowsError::InUse(_)
            | RowsError::Refused(_)
            | RowsError::Broken(_)
            | RowsError::Gone(_) => true,
        };
        if is_worth_a_word {
            backpressure.rows_fail(error, &self.path);
        }
        self.forget();
        if matches!(error, RowsError::Gone(_)) {
            let pause = GONE_PAUSE.saturating_mul(1 << self.gone.min(16));
            self.gone += 1;
            return pause.min(GONE_PAUSE_MAX);
        }
        pause(self.failures)
    }

    /// Forgets the events of what is looked at next, those of our own deletions among them.
    pub(super) fn drain(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_owned();
        while let Some(touched) = self
            .watch
            .as_mut()
            .and_then(|watch| watch.touched(&name).now_or_never())
        {
            // What it tells is looked at now, also where the file looks as before.
            self.quiet = None;
            if !touched.unwrap_or(false) {
                self.watch = None;
            }
        }
    }

    /// Waits for an event, the next look of the ladder, the next poll, or the shutdown.
    pub(super) async fn rest(&mut self, context: &IntakeContext) {
        let now = Instant::now();
        let mut until = now + context.turn_max.min(context.config.borrow().inbox.rescan);
        if let Some((at, _)) = self.ladder {
            until = until.min(at);
        }
        if let Some(at) = self.taken.poll_at(now) {
            until = until.min(at);
        }
        let name = self.path.file_name().unwrap_or_default().to_owned();
        let watch = self.watch.as_mut();
        let touched = async {
            match watch {
                Some(watch) => watch.touched(&name).await,
                None => std::future::pending().await,
            }
        };
        let touched = tokio::select! {
            touched = touched => Some(touched.unwrap_or(false)),
            () = tokio::time::sleep_until(until) => None,
            () = context.ending() => None,
        };
        match touched {
            Some(true) => {
                self.ladder = Some((Instant::now() + LADDER_FIRST, 0));
                self.taken.postpone(Instant::now());
            }
            Some(false) => self.watch = None,
            None => self.climb(),
        }
    }

    fn climb(&mut self) {
        let now = Instant::now();
        self.ladder = match self.ladder {
            Some((at, step)) if at <= now && step < LADDER_STEPS => Some((now + LADDER_FIRST * (1 << step), step + 1)),
            Some((at, _)) if at <= now => None,
            waits => waits,
        };
    }
}
