//! The conformance suite of the seam: what any store behind [`Outbox`] must hold.

mod acting;
mod bookkeeping;
mod claims;
mod intake;
mod looking;
mod machine;
mod matrix;
mod model;
mod opening;
mod order;
mod recovery;
mod replacing;
mod retention;
mod settling;
mod thin;
mod upgrade;

#[path = "../../../tests/postgres/mod.rs"]
mod postgres;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::model::{
    Act, Actor, Admission, Admitted, Answer, Attempt, ConflictPolicy, DeadReason, Directives, Ending, Entry, Facts,
    Fault, FaultKind, Origin, ParkReason, Payload, State, SubmissionId, SubmissionKey,
};
use crate::store::{ActRequest, Acted, ClaimOrder, ClaimRequest, Claimed, Outbox, Role, Settled, Settlement, Still};

/// Every table of the outbox.
const TABLES: [&str; 11] = [
    "submission",
    "delivery",
    "tally",
    "flight",
    "lane",
    "attempt",
    "history",
    "episode",
    "receipt_file",
    "receipt_row",
    "memory",
];

/// Queries that find what must not be.
const RULES: &[(&str, &str)] = &[
    (
        "the database is whole",
        "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    ),
    ("no child without its parent", "SELECT * FROM pragma_foreign_key_check"),
    (
        "the tally counts what is there",
        "SELECT t.state FROM tally AS t WHERE t.n <> (SELECT count(*) FROM delivery AS d \
          WHERE t.state = CASE WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END)",
    ),
    (
        "what is in flight is a head, and no other attempt of it has ended since",
        "SELECT f.id FROM flight AS f WHERE NOT EXISTS ( \
            SELECT 1 FROM delivery AS d WHERE d.id = f.id AND d.state = 'head' AND d.attempts = f.attempt - 1)",
    ),
    (
        "a lane is founded once, and every lane is known",
        "SELECT id FROM delivery WHERE lane IS NOT NULL AND lane NOT IN (SELECT number FROM lane)",
    ),
    (
        "the head of a lane is its smallest pending one, or the one that is sent",
        "SELECT h.id FROM delivery AS h WHERE h.state = 'head' AND h.lane IS NOT NULL AND h.id NOT IN (SELECT id FROM flight) AND EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = h.lane AND o.state IN ('head', 'waiting') AND o.id < h.id)",
    ),
    (
        "nothing waits behind nobody",
        "SELECT w.id FROM delivery AS w WHERE w.state = 'waiting' AND NOT EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = w.lane AND o.state = 'head')",
    ),
    (
        "every submission stands somewhere",
        "SELECT id FROM submission WHERE id NOT IN (SELECT id FROM delivery)",
    ),
    (
        "nothing is remembered of what is gone",
        "SELECT number FROM lane WHERE number NOT IN (SELECT lane FROM delivery WHERE lane IS NOT NULL)",
    ),
];

/// The present of most tests.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// `retry.max_interval` of most tests.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(10);

/// A time so many seconds from [`NOW`].
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + seconds * 1000)
}

/// An empty outbox, opened as the daemon, in a directory of its own.
pub(super) struct Bench {
    pub(super) directory: TempDir,
    pub(super) outbox: Outbox,
}

/// A directory in memory where there is one: these tests are about what is committed, not about the disk.
pub(super) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl Bench {
    pub(super) async fn fresh() -> Self {
        let directory = directory();
        let outbox = Outbox::open(&directory.path().join("outbox.db"), Role::Daemon, NOW)
            .await
            .unwrap();
        Self { directory, outbox }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("outbox.db")
    }

    /// Ends as a crash would (nothing is finished that was begun), and opens again at `now`.
    pub(super) async fn reopen(self, now: Timestamp) -> Self {
        self.outbox.close().await;
        let outbox = Outbox::open(&self.path(), Role::Daemon, now).await.unwrap();
        Self {
            directory: self.directory,
            outbox,
        }
    }

    /// Admits one, which must be accepted or invalid; its number.
    pub(super) async fn admit(&self, entry: Entry) -> SubmissionId {
        let admission = Admission {
            entries: vec![entry],
            receipts: Vec::new(),
        };
        match self.outbox.admit(admission, NOW).await.unwrap().remove(0) {
            Admitted::Accepted(id) | Admitted::Invalid { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn claim_at(&self, limit: u32, now: Timestamp) -> Vec<Claimed> {
        let request = ClaimRequest {
            limit,
            order: ClaimOrder::Due,
            now,
            wait_max: WAIT_MAX,
        };
        self.outbox.claim(request).await.unwrap()
    }

    pub(super) async fn claim(&self) -> Vec<Claimed> {
        self.claim_at(100, NOW).await
    }

    pub(super) async fn settle(&self, claimed: &Claimed, ending: Ending) -> Settled {
        self.outbox.settle(settlement(claimed, ending), NOW).await.unwrap()
    }

    pub(super) async fn act(&self, id: SubmissionId, act: Act) -> Acted {
        self.act_with(id, act, false).await
    }

    pub(super) async fn act_with(&self, id: SubmissionId, act: Act, force: bool) -> Acted {
        let request = ActRequest {
            ids: vec![id],
            act,
            still: Still::default(),
            actor: Actor::User("ana".into()),
            force,
            dry_run: false,
            now: NOW,
        };
        self.outbox.act(request).await.unwrap().remove(0).1
    }

    /// What another hand does to the database, on a connection of its own.
    pub(super) async fn by_hand(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(self.path());
        let mut conn = options.connect().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await;
        conn.close().await?;
        done.map(|done| done.rows_affected())
    }

    /// Every row of every table, as text.
    pub(super) async fn dump(&self) -> Vec<String> {
        let options = SqliteConnectOptions::new().filename(self.path()).read_only(true);
        let mut conn = options.connect().await.unwrap();
        let mut lines = Vec::new();
        for table in TABLES {
            let columns = sqlx::query(AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')")));
            let columns: Vec<String> = columns
                .fetch_all(&mut conn)
                .await
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            let line = columns
                .iter()
                .map(|column| format!("quote({column})"))
                .collect::<Vec<_>>()
                .join(" || '|' || ");
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT '{table} ' || {line} FROM {table} ORDER BY 1"
            )));
            lines.extend(
                rows.fetch_all(&mut conn)
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| row.get::<String, _>(0)),
            );
        }
        conn.close().await.unwrap();
        lines
    }

    /// What must hold between any two transactions, whatever happened.
    pub(super) async fn check(&self) {
        let options = SqliteConnectOptions::new().filename(self.path()).read_only(true);
        let mut conn = options.connect().await.unwrap();
        for (rule, sql) in RULES {
            let rows = sqlx::query(*sql).fetch_all(&mut conn).await.unwrap();
            assert!(rows.is_empty(), "{rule}: {:#?}", self.dump().await);
        }
        conn.close().await.unwrap();
    }

    pub(super) async fn state(&self, id: SubmissionId) -> State {
        self.outbox.show(id).await.unwrap().unwrap().listed.state
    }
}

/// A result of this activity (`provider_activity_id`); none where it is empty.
pub(super) fn entry(activity: &str) -> Entry {
    let text = format!(r#"{{"provider_activity_id":"{activity}"}}"#);
    Entry {
        payload: Payload::from_text(&text),
        facts: Facts {
            provider_activity_id: (!activity.is_empty()).then(|| activity.to_owned()),
            ..Facts::default()
        },
        directives: Directives::default(),
        origin: Origin::Row { id: 1 },
        digest: None,
        invalid: None,
        by_result_types: false,
    }
}

/// The same with a key, and with a text that makes it this object and no other.
pub(super) fn keyed(activity: &str, key: &str, text: &str) -> Entry {
    let payload = Payload::from_text(&format!(r#"{{"text":"{text}"}}"#));
    Entry {
        digest: Some(payload.digest()),
        payload,
        directives: Directives {
            key: Some(SubmissionKey(key.into())),
            ..Directives::default()
        },
        ..entry(activity)
    }
}

pub(super) fn settlement(claimed: &Claimed, ending: Ending) -> Settlement {
    let record = Attempt {
        number: claimed.attempt,
        started_at: claimed.claimed_at,
        elapsed_ms: 12,
        hard_override: claimed.hard_override,
        outcome: ending.into(),
        lost_response: false,
        answer: Some(Answer {
            status: 503,
            headers: vec![("content-type".into(), "text/plain".into())],
            body: bytes::Bytes::from_static(b"busy \xff"),
            body_length: 6,
        }),
        fault: None,
    };
    Settlement {
        id: claimed.id,
        ending,
        record,
    }
}
