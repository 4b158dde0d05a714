//! The worker, as the daemon and the commands have it: a child process of this very program that alone opens the row
//! inbox, shut into its directory (see [`super::confine`]). What a producer may do to that file, SQLite does in there:
//! a crash, an endless computation or a stroke at other files ends a child, and is an error like others.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::model::InboxId;

use super::error::RowsError;
use super::protocol::{self, DeletedRow, Reply, Request, RowBatch};
use crate::intake::open_file::CHUNK_RESULTS;

/// The word by which the program is started as a worker. No subcommand, for nobody should type it.
pub const WORD: &str = "row-clerk";

/// How long it may take to open: what a producer's crash left is rolled back then, however much it is.
pub const OPEN_MAX: Duration = Duration::from_mins(1);
/// How long a look may take.
pub const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long what syncs a disk may take. Producers wait for it.
pub const WRITE_MAX: Duration = Duration::from_secs(30);
/// How long a child that was killed may take to be gone before somebody else looks after it.
const REAP_MAX: Duration = Duration::from_millis(500);

/// A running worker. Dropping it ends it.
#[derive(Debug)]
pub struct RowWorker {
    child: Child,
    line: UnixStream,
    /// Whether it owes an answer: somebody stopped waiting for it, and the next one would get it.
    owes: bool,
}

impl RowWorker {
    /// Starts one. Only from a thread that lasts: the kernel ends the child with the thread that started it.
    pub fn start() -> Result<Self, RowsError> {
        let cannot = |error: std::io::Error| RowsError::Gone(format!("cannot be started: {error}"));
        let (ours, theirs) = Socket::pair().map_err(cannot)?;
        ours.set_nonblocking(true).map_err(cannot)?;
        let child = program()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Signals of a terminal are for the daemon.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(Self {
            child,
            line: UnixStream::from_std(ours).map_err(cannot)?,
            owes: false,
        })
    }

    /// Asks one thing. An error of the kind [`RowsError::Gone`] is the last thing that comes of it.
    async fn ask(&mut self, request: &Request) -> Result<Reply, RowsError> {
        if self.owes {
            return Err(RowsError::Gone("owes an answer".into()));
        }
        self.owes = true;
        if let Err(error) = protocol::send(&mut self.line, request).await {
            return Err(self.gone(&error).await);
        }
        let answer = match protocol::receive(&mut self.line).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.gone(&error).await),
        };
        self.owes = false;
        match answer {
            Reply::Failed(error) => Err(error.bounded()),
            answer => Ok(answer),
        }
    }

    /// What is to be said of one that broke off.
    async fn gone(&mut self, error: &std::io::Error) -> RowsError {
        if error.kind() == std::io::ErrorKind::InvalidData {
            return RowsError::Gone(format!("said what it never should ({error}) and was ended"));
        }
        match timeout(REAP_MAX, self.child.wait()).await {
            Ok(Ok(status)) => RowsError::Gone(format!("ended by itself ({status})")),
            Ok(Err(_)) | Err(_) => RowsError::Gone(format!("broke off: {error}")),
        }
    }

    /// Opens the row inbox, or opens it anew: its own random id, and whether the kernel keeps the worker in its
    /// directory.
    pub async fn open(&mut self, path: &Path, outbox: &Path) -> Result<(InboxId, bool), RowsError> {
        let request = Request::Open {
            path: std::path::absolute(path)?,
            outbox: std::path::absolute(outbox)?,
        };
        match self.ask(&request).await? {
            Reply::Opened { inbox, confined } => Ok((inbox, confined)),
            _ => Err(strange()),
        }
    }

    /// Reads the oldest rows after an id, where something was written since `seen`.
    pub async fn poll(&mut self, seen: Option<i64>, after: i64, bytes_max: usize) -> Result<RowsRead, RowsError> {
        match self.ask(&Request::Poll { seen, after, bytes_max }).await? {
            Reply::Replaced => Ok(RowsRead::Replaced),
            Reply::Unchanged if seen.is_some() => Ok(RowsRead::Unchanged),
            Reply::Rows(batch) if is_right(&batch, after, bytes_max) => Ok(RowsRead::Rows(batch)),
            _ => Err(strange()),
        }
    }

    /// Deletes rows that are in the outbox: how many it has dealt with, from the first one on, and which of them are
    /// gone. `Ok(None)`: it is to be opened anew.
    pub async fn delete(
        &mut self,
        rows: Vec<(i64, [u8; 32])>,
        bytes_max: usize,
        now: String,
    ) -> Result<Option<(usize, Vec<DeletedRow>)>, RowsError> {
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        match self.ask(&Request::Delete { rows, bytes_max, now }).await? {
            Reply::Replaced => Ok(None),
            Reply::Deleted { done, gone } => {
                let dealt_with = ids
                    .get(..done)
                    .filter(|dealt_with| !dealt_with.is_empty())
                    .ok_or_else(strange)?;
                let is_one = |gone: &DeletedRow| dealt_with.binary_search(&gone.id).is_ok();
                let is_right = gone.iter().all(is_one) && gone.is_sorted_by(|one, next| one.id < next.id);
                if is_right {
                    Ok(Some((done, gone)))
                } else {
                    Err(strange())
                }
            }
            _ => Err(strange()),
        }
    }

    /// Counts what waits and what was rejected.
    pub async fn count(&mut self) -> Result<(u64, u64), RowsError> {
        match self.ask(&Request::Count).await? {
            Reply::Counted { waiting, rejected } => Ok((waiting, rejected)),
            Reply::Replaced => Err(replaced()),
            _ => Err(strange()),
        }
    }

    /// Inserts results: the ids of their rows.
    pub async fn insert(&mut self, texts: Vec<String>) -> Result<Vec<i64>, RowsError> {
        let count = texts.len();
        match self.ask(&Request::Insert { texts }).await? {
            Reply::Inserted(ids) if ids.len() == count => Ok(ids),
            Reply::Replaced => Err(replaced()),
            _ => Err(strange()),
        }
    }

    /// Ends it. One that the kernel does not let go (it waits for a disk that does not answer) is handed back.
    pub async fn end(mut self) -> Option<Child> {
        // It may be gone already.
        let _told: std::io::Result<()> = self.child.start_kill();
        match timeout(REAP_MAX, self.child.wait()).await {
            Ok(_) => None,
            Err(_) => Some(self.child),
        }
    }
}

#[derive(Debug)]
pub enum RowsRead {
    /// It is to be opened anew.
    Replaced,
    /// Nothing was written since the last one.
    Unchanged,
    Rows(RowBatch),
}

fn strange() -> RowsError {
    RowsError::Gone("said what it was not asked for and was ended".into())
}

fn replaced() -> RowsError {
    RowsError::Busy("the file was replaced just now".into())
}

/// Whether an honest worker could have read this: the ids in their order, no more of them and none larger than was
/// asked for.
fn is_right(batch: &RowBatch, after: i64, bytes_max: usize) -> bool {
    let is_behind = batch.rows.first().is_none_or(|first| first.id > after);
    let is_in_order = batch.rows.is_sorted_by(|one, next| one.id < next.id);
    let is_short = batch.rows.len() <= CHUNK_RESULTS && batch.rows.iter().all(|row| row.bytes() <= bytes_max);
    is_behind && is_in_order && is_short
}

/// This very program, also when another version of it lies at its place by now, with nothing of our environment.
#[cfg(not(test))]
fn program() -> Command {
    let mut program = Command::new("/proc/self/exe");
    program.arg0("reten-outbox").arg(WORD).env_clear();
    program
}

/// In unit tests this program is the test harness, in which one of the tests serves.
#[cfg(test)]
fn program() -> Command {
    let mut program = Command::new("/proc/self/exe");
    let serves = "intake::rows::tests::worker::serves_where_it_was_started_to";
    program.args(["--exact", serves, "--nocapture", "--test-threads=1"]);
    program.env_clear().env(SERVES, "1");
    program
}

/// In the environment of a test harness that is to serve.
#[cfg(test)]
pub const SERVES: &str = "RETEN_TEST_ROW_CLERK";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::intake::directives::RowColumns;
    use crate::intake::rows::row::InboxRow;

    /// A worker whose words are these, whatever it is asked.
    fn saying(answer: &Reply) -> RowWorker {
        let (ours, mut theirs) = Socket::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        protocol::write(&mut theirs, answer).unwrap();
        spoken(ours, theirs)
    }

    fn spoken(ours: Socket, theirs: Socket) -> RowWorker {
        let mut child = Command::new("/bin/sh");
        child.args(["-c", "read end"]).stdin(Stdio::from(OwnedFd::from(theirs)));
        RowWorker {
            child: child.kill_on_drop(true).spawn().unwrap(),
            line: UnixStream::from_std(ours).unwrap(),
            owes: false,
        }
    }

    fn batch(rows: Vec<InboxRow>) -> Reply {
        Reply::Rows(RowBatch {
            rows,
            ..RowBatch::default()
        })
    }

    fn row(id: i64, payload: &str) -> InboxRow {
        InboxRow {
            id,
            payload: Ok(payload.to_owned()),
            columns: RowColumns::default(),
            digest: [0; 32],
        }
    }

    fn gone(id: i64) -> DeletedRow {
        DeletedRow { id, rejected: None }
    }

    #[tokio::test]
    async fn what_was_not_asked_for_is_refused() {
        for answer in [
            batch(vec![row(5, "{}")]),
            batch(vec![row(7, "{}"), row(7, "{}")]),
            batch(vec![row(8, "{}"), row(7, "{}")]),
            batch(vec![row(6, "longer than was asked for")]),
            batch((6..).take(CHUNK_RESULTS + 1).map(|id| row(id, "{}")).collect()),
            Reply::Unchanged,
            Reply::Inserted(vec![1]),
        ] {
            let refused = saying(&answer).poll(None, 5, 10).await;
            assert!(matches!(refused, Err(RowsError::Gone(_))), "{answer:?}");
        }
        let rows = vec![(3, [0; 32]), (4, [0; 32])];
        for (done, gone) in [
            (0, vec![]),
            (3, vec![gone(3)]),
            (1, vec![gone(4)]),
            (2, vec![gone(4), gone(3)]),
            (2, vec![gone(3), gone(3)]),
        ] {
            let answer = Reply::Deleted { done, gone };
            let refused = saying(&answer).delete(rows.clone(), 10, String::new()).await;
            assert!(matches!(refused, Err(RowsError::Gone(_))), "{answer:?}");
        }
        assert!(
            saying(&Reply::Inserted(vec![]))
                .insert(vec!["{}".into()])
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_frame_beyond_all_bounds_or_no_frame_at_all_is_refused_and_long_words_are_cut() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x00\x00\x00\x03abc"] {
            let (ours, mut theirs) = Socket::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.write_all(bytes).unwrap();
            let refused = spoken(ours, theirs).count().await.unwrap_err().to_string();
            assert!(refused.contains("said what it never should"), "{refused}");
        }
        let long = Reply::Failed(RowsError::Refused("é".repeat(20_000)));
        let Err(RowsError::Refused(why)) = saying(&long).count().await else {
            panic!("not refused");
        };
        assert!(why.len() <= 2048 && why.starts_with('é'));
        let mut owing = saying(&Reply::Replaced);
        owing.owes = true;
        assert!(
            matches!(owing.count().await, Err(RowsError::Gone(_))),
            "the answer may be to another question"
        );
    }
}
