//! Waiting for the file system of the inbox, which may hang: a network's server that is away, a disk that does not
//! answer. What touches it runs on a thread that may block; its loop turns meanwhile, says so after a while, and leaves
//! it where it is at a shutdown. A loop waits for one such thread at a time, so that there are never more of them
//! than loops.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::telemetry::SaidOnce;
use crate::telemetry::hindrance::Cause;

use super::context::IntakeContext;

/// So long without a sign of life, a block read say, and it is said.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// How long a shutdown waits for what is under way. Left where it is, it is as after a crash: nothing is lost or
/// doubled.
const END_GRACE: Duration = Duration::from_secs(2);

/// What hinders, with what mends it.
const HINT: &str = "a network server or a disk that is away: `findmnt -T` with that directory and `dmesg` tell; \
     what lies there stays, deliveries go on, and so does intake when it answers again";

impl IntakeContext {
    /// Does something in the inbox. The error is a panic, or [`io::ErrorKind::Interrupted`] at a shutdown.
    pub async fn in_inbox<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let mut work = tokio::task::spawn_blocking(work);
        let mut wait = Wait::new(self);
        let end = async {
            self.ending().await;
            sleep(END_GRACE).await;
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                done = &mut work => {
                    wait.over();
                    return done.map_err(io::Error::other);
                }
                () = &mut end => return Err(io::ErrorKind::Interrupted.into()),
                () = sleep(self.turn_max) => wait.turn(),
            }
        }
    }
}

struct Wait<'a> {
    context: &'a IntakeContext,
    /// The loop's count of turns when it was last looked at; what reads counts there, too.
    seen: u64,
    since: Instant,
    said: SaidOnce,
}

impl<'a> Wait<'a> {
    fn new(context: &'a IntakeContext) -> Self {
        Self {
            context,
            seen: context.progress.load(Ordering::Relaxed),
            since: Instant::now(),
            said: SaidOnce::default(),
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        if self.context.progress.fetch_add(1, Ordering::Relaxed) != self.seen {
            self.since = now;
            self.over();
        }
        self.seen = self.context.progress.load(Ordering::Relaxed);
        let waited = now.duration_since(self.since);
        if waited >= HUNG_AFTER && self.said.begins() {
            let dir = self.context.config.borrow().inbox.dir.display().to_string();
            let why = format!(
                "the file system of {dir} does not answer, for {} seconds by now",
                waited.as_secs()
            );
            self.context.hindrances.met(Cause::Files, "use the inbox", &why, HINT);
        }
    }

    fn over(&mut self) {
        if self.said.ends() {
            self.context.hindrances.over(Cause::Files);
        }
    }
}
