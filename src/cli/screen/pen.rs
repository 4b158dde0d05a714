//! The thread that writes frames to the terminal, so that nobody else waits for it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

/// Writes one frame at a time.
pub struct Pen {
    frames: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// How it stands with the pen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PenState {
    Idle,
    /// The last frame is still on its way.
    Busy,
    /// The terminal takes nothing any more.
    Gone,
}

#[derive(Default)]
struct Shared {
    written: Mutex<State>,
    is_idle: Condvar,
    wake: Notify,
}

#[derive(Default)]
struct State {
    is_busy: bool,
    /// The terminal takes nothing any more.
    is_gone: bool,
}

impl Pen {
    /// Begins the thread, which ends with the pen. The descriptor is one of its own: nobody else's lock is held while
    /// the terminal keeps it waiting.
    pub fn take(terminal: OwnedFd) -> io::Result<Self> {
        // One frame at most is given before it is written, so the channel is never full.
        let (frames, given) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || write_all(&given, &mut File::from(terminal), &theirs))?;
        Ok(Self { frames, shared })
    }

    /// How it stands.
    pub fn look(&self) -> PenState {
        self.shared.state(|state| match (state.is_busy, state.is_gone) {
            (true, _) => PenState::Busy,
            (false, true) => PenState::Gone,
            (false, false) => PenState::Idle,
        })
    }

    /// Has a frame written; only while the pen is not busy.
    pub fn write(&self, frame: Vec<u8>) {
        self.shared.state(|state| state.is_busy = true);
        if self.frames.try_send(frame).is_err() {
            self.shared.done(false);
        }
    }

    /// Waits until the last frame is written, or cannot be.
    pub async fn written(&self) {
        loop {
            // Registered before the look, so that an end between the two is not missed.
            let mut woken = std::pin::pin!(self.shared.wake.notified());
            woken.as_mut().enable();
            if self.look() != PenState::Busy {
                return;
            }
            woken.await;
        }
    }

    /// Waits likewise, but so long at most, and outside of any runtime.
    pub fn wait(&self, timeout: Duration) {
        let state = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .shared
            .is_idle
            .wait_timeout_while(state, timeout, |state| state.is_busy);
        drop(waited);
    }
}

impl Shared {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn done(&self, is_written: bool) {
        self.state(|state| {
            state.is_busy = false;
            state.is_gone |= !is_written;
        });
        self.is_idle.notify_all();
        self.wake.notify_waiters();
    }
}

fn write_all(given: &Receiver<Vec<u8>>, terminal: &mut File, shared: &Shared) {
    while let Ok(frame) = given.recv() {
        shared.done(terminal.write_all(&frame).is_ok());
    }
}
