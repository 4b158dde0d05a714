//! What is seen of the inbox while it is worked in: the watch, read on while something else is waited for, so that its
//! queue does not fill; and who has files open that were opened before there was a watch.

use std::path::Path;
use std::pin::pin;
use std::{future, io};

use tokio::time::Instant;

use crate::telemetry::events;

use super::openers::Openers;
use super::parse::Format;
use super::stability::KnownFiles;
use super::watch::{Watch, WatchHint};

#[derive(Debug, Default)]
pub struct Observer {
    watch: Option<Watch>,
    has_lost_sight: bool,
    pub openers: Openers,
}

impl Observer {
    /// Whether a watch is wanted.
    pub fn are_closed(&self) -> bool {
        self.watch.is_none()
    }

    /// With this watch, unless there is one.
    pub fn open(&mut self, watch: Option<Watch>) {
        self.watch = self.watch.take().or(watch);
    }

    /// Without the watch: it may be on a directory that is another one by now.
    pub fn close(&mut self) {
        self.watch = None;
    }

    /// Whether events were lost since this was last asked.
    pub fn have_lost_sight(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_sight)
    }

    /// Heeds what happened until now, and does not wait. Whoever opened a file by a name that is gone by now did so
    /// before, and is known then.
    pub fn catch_up(&mut self, known: &mut KnownFiles) {
        if let Some(hints) = self.watch.as_mut().map(Watch::hints_so_far) {
            self.heed(known, hints);
        }
    }

    /// Waits for something to happen, and heeds it.
    pub async fn wait(&mut self, known: &mut KnownFiles) {
        let hints = match &mut self.watch {
            Some(watch) => watch.hints().await,
            None => future::pending().await,
        };
        self.heed(known, hints);
    }

    /// Waits for something else and watches meanwhile.
    pub async fn during<T>(&mut self, known: &mut KnownFiles, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.wait(known) => {}
            }
        }
    }

    fn heed(&mut self, known: &mut KnownFiles, hints: io::Result<Vec<WatchHint>>) {
        let now = Instant::now();
        for hint in hints.unwrap_or_else(|_| vec![WatchHint::Lost]) {
            match hint {
                WatchHint::Name(name, sight) if Format::of(&name).is_some() => known.saw(&name, sight, now),
                WatchHint::Name(..) => {}
                lost @ (WatchHint::Overflow | WatchHint::Lost) => {
                    if lost == WatchHint::Overflow {
                        events::events_lost();
                    }
                    known.lost_sight(now);
                    self.has_lost_sight = true;
                    self.watch = None;
                    return;
                }
            }
        }
    }
}

/// Looks anew who has files open for writing.
pub async fn scan_openers(known: &KnownFiles, dir: &Path, context: &super::IntakeContext) -> io::Result<Openers> {
    let (dir, unsure, now) = (dir.to_owned(), known.unsure(), Instant::now());
    context.in_inbox(move || Openers::snapshot(&dir, unsure, now)).await
}
