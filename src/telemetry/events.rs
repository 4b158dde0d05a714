//! The events of the log, whose names operators script against: one function each, so that name, level and fields are
//! decided once.
//!
//! Values go in as they are; the layer that writes them escapes what comes from outside. No event carries the API key,
//! and none at `info` or above a result's body: an answer's documented `error` and `message` are as much as is shown.

use std::path::Path;
use std::time::Duration;

use tracing::{Level, event};

use crate::clock::Timestamp;
use crate::model::{AttemptNumber, SubmissionId};
use crate::policy::gate::GateName;

/// Everything of ours is logged under this target; what dependencies say has others and is left out below `trace`.
pub const TARGET: &str = "reten_outbox";

/// Which submission an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub submission: SubmissionId,
    pub key: Option<&'a str>,
    pub activity: Option<&'a str>,
    pub source: Option<&'a str>,
}

/// How an attempt went, for the events that end one.
#[derive(Debug, Clone, Copy, Default)]
pub struct How<'a> {
    pub attempt: Option<AttemptNumber>,
    pub status: Option<u16>,
    /// How long the request took.
    pub elapsed: Option<Duration>,
    /// The API's `error`, or the name of the fault.
    pub error: Option<&'a str>,
    /// The API's `message`, or the fault's story.
    pub message: Option<&'a str>,
    pub hint: Option<&'a str>,
}

/// Milliseconds, as every duration is logged.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// ---- a submission ----

/// The API has it. `how.message` says so where a 409 was taken for our own earlier success.
pub fn delivered(who: Who<'_>, how: How<'_>) {
    event!(
        target: TARGET, Level::INFO, event = "delivered",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// Another attempt follows after `delay`.
pub fn retry_scheduled(who: Who<'_>, how: How<'_>, delay: Duration) {
    event!(
        target: TARGET, Level::WARN, event = "retry_scheduled",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        delay_ms = ms(delay),
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// It became a dead letter, for `reason`.
pub fn dead_lettered(who: Who<'_>, how: How<'_>, reason: &str) {
    event!(
        target: TARGET, Level::ERROR, event = "dead_lettered",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        reason = reason,
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// A 409 is answered with `hard_override`; `rule` says what decided so.
pub fn conflict_overridden(who: Who<'_>, how: How<'_>, rule: &str) {
    event!(
        target: TARGET, Level::WARN, event = "conflict_overridden",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        rule = rule,
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// A 409 waits for an operator, for `reason`.
pub fn parked(who: Who<'_>, how: How<'_>, reason: &str) {
    event!(
        target: TARGET, Level::WARN, event = "parked",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        reason = reason,
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// The API (or something before it) answered with a redirect, which is never followed: `location` as it was named.
pub fn redirected(who: Who<'_>, how: How<'_>, location: Option<&str>) {
    event!(
        target: TARGET, Level::ERROR, event = "redirected",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        location = location,
        error = how.error, message = how.message, hint = how.hint,
    );
}

/// Given back and not counted as a try, because the gate is closed on it.
pub fn released(who: Who<'_>, how: How<'_>) {
    event!(
        target: TARGET, Level::WARN, event = "released",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source,
        attempt = how.attempt.map(|attempt| attempt.0), status = how.status, elapsed_ms = how.elapsed.map(ms),
        error = how.error, message = how.message, hint = how.hint,
    );
}

// ---- intake ----

/// One result is in the outbox.
pub fn accepted_one(who: Who<'_>, origin: &str) {
    event!(
        target: TARGET, Level::DEBUG, event = "accepted",
        submission = who.submission.0, key = who.key, activity = who.activity, source = who.source, origin = origin,
    );
}

/// A file or a batch of rows is in the outbox: how many of it were accepted, were duplicates, became `invalid`.
pub fn accepted(origin: &str, count: u64, duplicates: u64, invalid: u64) {
    event!(
        target: TARGET, Level::INFO, event = "accepted",
        origin = origin, count = count, duplicates = duplicates, invalid = invalid,
    );
}

/// A file, or some lines of it, went to `rejected/`.
pub fn file_rejected(file: &str, reason: &str, moved_to: &str, hint: &str) {
    event!(
        target: TARGET, Level::ERROR, event = "file_rejected",
        file = file, error = reason, moved_to = moved_to, hint = hint,
    );
}

/// A row moved to the table `rejected` beside it.
pub fn row_rejected(row: i64, reason: &str, hint: &str) {
    event!(target: TARGET, Level::ERROR, event = "row_rejected", row = row, error = reason, hint = hint);
}

/// A file stays where it is, because it may not be read; said once a file.
pub fn file_left(file: &str, error: &str, hint: &str) {
    event!(target: TARGET, Level::ERROR, event = "file_left", file = file, error = error, hint = hint);
}

/// A file stays because somebody may still be writing to it; said once a file.
pub fn file_open(file: &str, what: &str, hint: &str) {
    event!(target: TARGET, Level::WARN, event = "file_open", file = file, message = what, hint = hint);
}

/// More happened in the inbox at once than the kernel remembers.
pub fn events_lost() {
    event!(
        target: TARGET, Level::WARN, event = "events_lost",
        message = "so much happened in the inbox at once that the kernel dropped what it saw of it",
        hint = "nothing is lost: the files are found by looking, and stay some seconds longer, \
             for some may still be open",
    );
}

/// Dropped: the same key with the same object is kept already.
pub fn duplicate(key: &str, of: SubmissionId, origin: &str) {
    event!(target: TARGET, Level::WARN, event = "duplicate", submission = of.0, key = key, origin = origin);
}

/// Intake waits; deliveries go on, as long as their outcomes can be stored.
pub fn intake_waiting(reason: &str, hint: &str) {
    event!(target: TARGET, Level::ERROR, event = "intake_waiting", error = reason, hint = hint);
}

pub fn intake_resumed(what: &str) {
    event!(target: TARGET, Level::INFO, event = "intake_resumed", message = what);
}

// ---- the daemon ----

/// The daemon is up: databases open, recovery done, inbox watched.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a field of the event, named at the one call"
)]
pub fn started(
    version: &str,
    config: &str,
    api: &str,
    outbox: &str,
    inbox: &Path,
    rows: &Path,
    recovered: u64,
    seed: u64,
) {
    event!(
        target: TARGET, Level::INFO, event = "started",
        version = version, config = config, api = api, outbox = outbox, inbox = %inbox.display(),
        rows = %rows.display(), recovered = recovered, seed = seed,
    );
}

/// A signal asked for the end.
pub fn stopping(signal: &str) {
    event!(target: TARGET, Level::INFO, event = "stopping", signal = signal);
}

/// The daemon has ended; what is left in the outbox (`None` where it could not be asked any more).
pub fn stopped(pending: Option<u64>, dead: Option<u64>, parked: Option<u64>) {
    event!(target: TARGET, Level::INFO, event = "stopped", pending = pending, dead = dead, parked = parked);
}

/// A new configuration or key is in force.
pub fn reloaded(what: &str) {
    event!(target: TARGET, Level::INFO, event = "reloaded", message = what);
}

/// The new configuration is wrong: the old one stays.
pub fn reload_failed(error: &str, hint: &str) {
    event!(target: TARGET, Level::ERROR, event = "reload_failed", error = error, hint = hint);
}

/// The outbox or the row inbox cannot be used just now; what it was needed for is tried again.
pub fn storage_error(operation: &str, error: &str, hint: &str) {
    event!(target: TARGET, Level::ERROR, event = "storage_error", operation = operation, error = error, hint = hint);
}

/// The outbox can be used again; what waited for it goes on.
pub fn storage_resumed(what: &str) {
    event!(target: TARGET, Level::INFO, event = "storage_resumed", message = what);
}

/// Something that was told to fail works again.
pub fn recovered(what: &str) {
    event!(target: TARGET, Level::INFO, event = "recovered", message = what);
}

/// Dead letters were put back by a rule of the contract.
pub fn requeued(count: u64, why: &str) {
    event!(target: TARGET, Level::INFO, event = "requeued", count = count, message = why);
}

/// The log could not be written for a while.
pub fn lines_lost(count: u64) {
    event!(target: TARGET, Level::WARN, event = "lines_lost", count = count);
}

/// The outbox is still being opened after so long.
pub fn opening(since: Duration) {
    event!(
        target: TARGET, Level::INFO, event = "opening", elapsed_ms = ms(since),
        message = "the outbox is still being opened: a large one is checked, and one of an older version is brought up \
             to date; nothing is taken in or sent before that is done, and nothing is lost",
    );
}

/// A loop has not turned for so long: where the service manager watches, it will end the process and start it anew.
pub fn stuck(which: &str, since: Duration) {
    event!(
        target: TARGET, Level::ERROR, event = "stuck", operation = which, elapsed_ms = ms(since),
        hint = "a disk or a network file system that stands still? nothing is lost: the next start resumes what was in \
             flight",
    );
}

/// Something an operator should know that is no event of a submission.
pub fn warning(what: &str, hint: &str) {
    event!(target: TARGET, Level::WARN, event = "warning", message = what, hint = hint);
}

/// A fault of our own that was contained.
pub fn internal_error(operation: &str, error: &str) {
    event!(target: TARGET, Level::ERROR, event = "internal_error", operation = operation, error = error);
}

/// The gate changed. The level says how bad it is: an error where only an operator can mend it, `info` when it opens.
pub fn gate(from: GateName, to: GateName, why: &str, hint: Option<&str>) {
    let (from, name) = (from.into_str(), to.into_str());
    match to {
        GateName::Open => {
            event!(target: TARGET, Level::INFO, event = "gate", from = from, to = name, why = why, hint = hint);
        }
        GateName::Unauthorized | GateName::Rejecting => {
            event!(target: TARGET, Level::ERROR, event = "gate", from = from, to = name, why = why, hint = hint);
        }
        GateName::Throttled | GateName::Probing | GateName::Paused => {
            event!(target: TARGET, Level::WARN, event = "gate", from = from, to = name, why = why, hint = hint);
        }
    }
}

/// What happened since the last summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    pub delivered: u64,
    /// Attempts, not submissions.
    pub failed: u64,
    /// Half of the answers came within this many milliseconds.
    pub p50_ms: Option<u64>,
    /// 95 of 100 answers came within this many milliseconds.
    pub p95_ms: Option<u64>,
}

/// How the queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary<'a> {
    /// How many are pending, sending, dead and parked.
    pub counts: [u64; 4],
    pub since: Window,
    pub oldest_due: Option<Timestamp>,
    /// The dead letter that has waited longest.
    pub oldest_dead: Option<Timestamp>,
    pub gate: &'a str,
    /// Free bytes where the outbox lies.
    pub free_disk: Option<u64>,
}

/// The queue in one line, every `log.summary_interval` in which something changed.
pub fn summary(summary: &Summary<'_>) {
    let [pending, sending, dead, parked] = summary.counts;
    let since = summary.since;
    event!(
        target: TARGET, Level::INFO, event = "summary",
        pending, sending, dead, parked,
        delivered = since.delivered, failed = since.failed,
        oldest_due = summary.oldest_due.map(tracing::field::display),
        oldest_dead = summary.oldest_dead.map(tracing::field::display),
        p50_ms = since.p50_ms, p95_ms = since.p95_ms, gate = summary.gate, free_disk = summary.free_disk,
    );
}
