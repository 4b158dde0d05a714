//! Makes many small files durable at once. One `syncfs` is cheaper than an `fsync` each, but it waits for everybody's
//! dirty pages: beside a large copy, for minutes. So it is given a moment on a thread of its own, and then the files
//! are synced one by one after all.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::folder::Folder;

/// How long the whole file system may take; most need some milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// One may be under way in this process: the limit of the threads that wait for a disk that does not come to an end.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

impl Folder {
    /// Makes every file of this file system durable; false where that takes too long, and nothing is known.
    pub fn sync_all_files(&self) -> io::Result<bool> {
        let own = self.fd.as_fd().try_clone_to_owned()?;
        in_time(&UNDER_WAY, PATIENCE, move || Ok(rustix::fs::syncfs(own)?))
    }
}

fn in_time(
    under_way: &'static AtomicBool,
    patience: Duration,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<bool> {
    if under_way.swap(true, Ordering::AcqRel) {
        return Ok(false);
    }
    let (done, outcome) = mpsc::channel();
    let spawned = thread::Builder::new().name("syncfs".into()).spawn(move || {
        let outcome = work();
        under_way.store(false, Ordering::Release);
        // Nobody may wait for it any more.
        let _ = done.send(outcome);
    });
    if spawned.is_err() {
        under_way.store(false, Ordering::Release);
        return Ok(false);
    }
    outcome
        .recv_timeout(patience)
        .map_or(Ok(false), |outcome| outcome.map(|()| true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_everybody_is_not_waited_for_and_there_is_one_at_a_time() {
        static MINE: AtomicBool = AtomicBool::new(false);
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let waits = move || {
            let _ = held.recv();
            let _ = ended.send(());
            Ok(())
        };
        assert!(!in_time(&MINE, Duration::ZERO, waits).unwrap());
        assert!(!in_time(&MINE, Duration::from_mins(1), || Ok(())).unwrap());
        drop(release);
        end.recv().unwrap();
        while MINE.load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(in_time(&MINE, Duration::from_mins(1), || Ok(())).unwrap());
        assert!(in_time(&MINE, Duration::from_mins(1), || Err(io::Error::other("disk"))).is_err());
    }
}
