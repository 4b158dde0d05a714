//! The writer that never blocks who logs: lines go into a bounded buffer, and a thread of its own writes them.
//!
//! When the buffer is full (standard error is a pipe nobody reads, a stopped terminal, a full disk), lines are dropped
//! and counted. As soon as something could be written again, the count is reported, and only then forgotten. The thread
//! is never waited for without a limit: at the end it gets [`Lines::flush`]'s timeout, and a write that still stands
//! then ends with the process.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The most bytes that wait to be written; as many again may be in the thread's hands. A megabyte is some 5,000 lines:
/// enough for a reader that pauses for a moment under full load, little enough for the smallest machine. (A limit in
/// lines would bound nothing that this does not.)
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long lines gather before they are written: under load a wake-up and a write for each of them would cost more
/// than the line.
const GATHER: Duration = Duration::from_millis(2);

/// How long to wait when a non-blocking standard error (shared with a program that made it so) takes nothing more.
const WOULD_BLOCK_WAIT: Duration = Duration::from_millis(20);

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<QueueState>,
    /// Something waits to be written.
    work: Condvar,
    /// Nothing waits, and nothing is being written.
    idle: Condvar,
}

#[derive(Default)]
struct QueueState {
    /// Whole lines, each with its line break.
    waiting: Vec<u8>,
    /// How many they are.
    waiting_lines: u64,
    /// Lines dropped (or failed to be written) since the last report.
    lost: u64,
    /// Whether the thread is at work outside the lock.
    writing: bool,
    /// The thread's id: see [`Lines::push`].
    writer: Option<ThreadId>,
}

impl Lines {
    /// Starts the thread. `report` is called on it with the number of lines lost; what it logs through these lines is
    /// never dropped.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let lines = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                idle: Condvar::new(),
            }),
        };
        let shared = Arc::clone(&lines.shared);
        // Never joined: it may stand in a write for ever, and has nothing of its own to lose.
        thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.write_all(output, &report))?;
        Ok(lines)
    }

    /// Takes a line (or, for the journal, an entry), or counts it as lost. Never waits for the output.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.shared.lock();
        // The thread's own report is one line a batch; to drop it would be to lose the count with it.
        let own = state.writer == Some(thread::current().id());
        if state.waiting.len() + line.len() <= WAITING_BYTES_MAX || own {
            let is_first = state.waiting.is_empty();
            state.waiting.extend_from_slice(line.as_bytes());
            state.waiting_lines += 1;
            if is_first {
                self.shared.work.notify_one();
            }
        } else {
            state.lost += 1;
        }
    }

    /// Waits until everything is written, at most `timeout`. Says whether it was.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let busy = |state: &mut QueueState| state.writing || !state.waiting.is_empty();
        let (mut state, _) = self
            .shared
            .idle
            .wait_timeout_while(state, timeout, busy)
            .unwrap_or_else(PoisonError::into_inner);
        !busy(&mut state)
    }
}

impl Shared {
    /// A panic elsewhere cannot leave half a line in the buffer, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: takes all that waits, writes it in one go, reports what was lost meanwhile.
    fn write_all(&self, mut output: impl Write, report: &impl Fn(u64)) {
        let mut batch = Vec::new();
        self.lock().writer = Some(thread::current().id());
        loop {
            let state = self.lock();
            let waited = self.work.wait_while(state, |state| state.waiting.is_empty());
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            pause(GATHER);
            let mut state = self.lock();
            std::mem::swap(&mut batch, &mut state.waiting);
            let lines = std::mem::take(&mut state.waiting_lines);
            state.writing = true;
            drop(state);

            let written = write_patiently(&mut output, &batch);
            let lost = self.count(written.is_err(), lines);
            if lost > 0 {
                report(lost);
            }
            batch.clear();
            let mut state = self.lock();
            state.writing = false;
            if state.waiting.is_empty() {
                self.idle.notify_all();
            }
        }
    }

    /// After a batch that failed: its lines are lost too, and there is nobody to tell. After one that went out: what is
    /// to be told now.
    fn count(&self, failed: bool, lines: u64) -> u64 {
        let mut state = self.lock();
        if failed {
            state.lost += lines;
            return 0;
        }
        std::mem::take(&mut state.lost)
    }
}

/// `write_all`, but a non-blocking output that is full is waited for instead of failing in the middle of a line.
fn write_patiently(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(WOULD_BLOCK_WAIT),
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

#[expect(
    clippy::disallowed_methods,
    reason = "on the log's own thread, which nobody waits for"
)]
fn pause(duration: Duration) {
    thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// An output that stands still until it is told how the next write ends.
    struct Held {
        entered: Sender<()>,
        permits: Receiver<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).ok();
            self.permits.recv().unwrap_or(Ok(()))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        lines: Lines,
        entered: Receiver<()>,
        permits: Sender<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Bench {
        fn new() -> Self {
            let (entered_in, entered) = channel();
            let (permits, permits_out) = channel();
            let written = Arc::new(Mutex::new(Vec::new()));
            let held = Held {
                entered: entered_in,
                permits: permits_out,
                written: Arc::clone(&written),
            };
            // As `init` does it: the report is itself a line, pushed on the writer's thread.
            let slot: Arc<Mutex<Option<Lines>>> = Arc::default();
            let inner = Arc::clone(&slot);
            let lines = Lines::start(held, move |count| {
                if let Some(lines) = inner.lock().unwrap().as_ref() {
                    lines.push(&format!("lost {count}\n"));
                }
            })
            .unwrap();
            *slot.lock().unwrap() = Some(lines.clone());
            Self {
                lines,
                entered,
                permits,
                written,
            }
        }

        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_stuck_output_costs_lines_that_are_counted_and_reported_when_it_recovers() {
        let bench = Bench::new();
        bench.lines.push("first\n");
        bench.entered.recv_timeout(LONG).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..1024 + 7 {
            bench.lines.push(&line);
        }
        assert!(
            !bench.lines.flush(Duration::from_millis(1)),
            "it stands still, and flush returns all the same"
        );
        for _ in 0..3 {
            bench.permits.send(Ok(())).unwrap();
        }
        assert!(bench.lines.flush(LONG));
        let text = bench.text();
        assert_eq!(text.matches(&line).count(), 1024);
        assert_eq!(text.matches("lost 7\n").count(), 1);
        assert!(text.starts_with("first\n"));
    }

    #[test]
    fn the_report_is_taken_even_when_the_buffer_is_full_again() {
        let bench = Bench::new();
        bench.lines.push("first\n");
        bench.entered.recv_timeout(LONG).unwrap();
        // One line of the whole limit: when the first batch is out and the report comes, there is no room.
        bench.lines.push(&format!("{}\n", "x".repeat(WAITING_BYTES_MAX - 1)));
        bench.lines.push("dropped\n");
        for _ in 0..3 {
            bench.permits.send(Ok(())).unwrap();
        }
        assert!(bench.lines.flush(LONG));
        assert!(bench.text().contains("lost 1\n"));
        assert!(!bench.text().contains("dropped"));
    }

    #[test]
    fn an_output_that_fails_costs_its_lines_and_the_thread_goes_on() {
        let bench = Bench::new();
        bench.permits.send(Err(ErrorKind::StorageFull.into())).unwrap();
        bench.lines.push("one\n");
        assert!(bench.lines.flush(LONG));
        for _ in 0..2 {
            bench.permits.send(Ok(())).unwrap();
        }
        bench.lines.push("three\n");
        assert!(bench.lines.flush(LONG));
        assert_eq!(bench.text(), "three\nlost 1\n");
    }

    #[test]
    fn a_full_non_blocking_output_is_tried_again() {
        let bench = Bench::new();
        bench.permits.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        bench.permits.send(Ok(())).unwrap();
        bench.lines.push("one\n");
        assert!(bench.lines.flush(LONG));
        assert_eq!(bench.text(), "one\n");
    }
}
