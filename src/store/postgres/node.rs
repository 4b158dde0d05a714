//! The daemons that share an outbox: signs of life, who is silent, and what becomes of what it had claimed.
//!
//! A node's row counts up once a second. Who has not seen it move for six seconds of its own time, and was itself never
//! cut off in those, fences it: from then on it can claim and settle nothing, whatever it still believes. It stops by
//! itself two seconds earlier. No time of day is in any of this: neither skew nor a clock that is set, nor a failover to a
//! host with another clock, ends a living node or keeps a dead one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::{self, Timestamp};
use crate::model::Server;
use crate::store::{NodeEvent, NodeState, NodeView, OpenError};

use super::connect::{Connector, Purpose};
use super::link::within;
use super::own::Own;
use super::{gate, identity, recover, schema, tally, trouble};

/// How often a node shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Silent for so long, as seen by another that itself beat without a gap: it is fenced.
const SILENT: Duration = Duration::from_secs(6);
/// How long a beat may take.
const BEAT_MAX: Duration = Duration::from_secs(3);
/// Chores (folding the counts, orphans, nodes that are gone for long) are done every so many beats.
const CHORES_EVERY: u64 = 5;
/// Who holds the vacuum back is told after so long, and as often as this.
const HELD_FOR: Duration = Duration::from_mins(5);
const HELD_EVERY: Duration = Duration::from_mins(1);
/// Our key works while something was delivered within this time.
const KEY_WORKS_FOR: Duration = Duration::from_secs(10);

pub(super) const JOIN: &str = "INSERT INTO node (started_at, seen_at, identity, boot, name, version, scope) \
     VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $1, $2, $3, $4, $5) RETURNING id";

/// One statement a second: our sign of life, everybody's, what others wrote, and the server's clock.
pub(super) const BEAT_SQL: &str = "WITH me AS (UPDATE node SET beat = beat + 1, seen_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
        in_flight = $2, gate = $3, scope = $4 \
      WHERE id = $1 AND fenced_at IS NULL RETURNING id) \
     SELECT (SELECT count(*) FROM me) AS mine, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now, \
        (SELECT count(*) || ' ' || coalesce(sum(turn), 0) FROM memory WHERE name NOT LIKE 'pulse@%') AS remembered, \
        ARRAY(SELECT n.id FROM node AS n WHERE n.fenced_at IS NULL ORDER BY n.id) AS ids, \
        ARRAY(SELECT n.beat FROM node AS n WHERE n.fenced_at IS NULL ORDER BY n.id) AS beats, \
        (SELECT least((SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = false ORDER BY next_at, id LIMIT 1), \
                      (SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = true ORDER BY next_at, id LIMIT 1), \
                      (SELECT not_before FROM delivery WHERE state = 'head' AND not_before IS NOT NULL ORDER BY not_before, id LIMIT 1))) AS due, \
        (SELECT true FROM tally_delta LIMIT 1) IS NOT NULL OR (SELECT true FROM delivery WHERE state = 'sending' LIMIT 1) IS NOT NULL AS is_busy";

pub(super) const NODES: &str = "SELECT n.name, n.version, n.started_at, n.seen_at, n.in_flight, n.gate, n.fenced_at FROM node AS n \
     WHERE n.fenced_at IS NULL OR (NOT n.is_stopped AND n.id = (SELECT max(l.id) FROM node AS l WHERE l.identity = n.identity)) \
     ORDER BY n.fenced_at IS NOT NULL, n.name, n.id";

/// The present ones, and those that were taken over and have not come back.
pub(super) async fn all(conn: &mut PgConnection) -> Result<Vec<NodeView>, sqlx::Error> {
    let rows = sqlx::query(NODES).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let fenced: Option<i64> = row.try_get("fenced_at")?;
            Ok(NodeView {
                name: row.try_get("name")?,
                version: row.try_get("version")?,
                since: Timestamp::from_millis(row.try_get("started_at")?),
                last_seen: Timestamp::from_millis(row.try_get("seen_at")?),
                in_flight: u32::try_from(row.try_get::<i32, _>("in_flight")?).unwrap_or(0),
                gate: row.try_get("gate")?,
                state: if fenced.is_some() {
                    NodeState::Lost
                } else {
                    NodeState::Live
                },
            })
        })
        .collect()
}

/// How a node comes to be one: its own row, after its predecessors on this host were taken over.
pub(super) struct Joining<'s> {
    pub(super) server: &'s Server,
    pub(super) identity: [u8; 16],
    pub(super) boot: String,
}

pub(super) const PREDECESSORS: &str =
    "SELECT id, boot, beat FROM node WHERE identity = $1 AND fenced_at IS NULL ORDER BY id";

impl Joining<'_> {
    /// Joins; our number, and how many submissions a predecessor had left `sending`.
    ///
    /// We hold this host's lock. A predecessor of the same boot is dead, then; one of another boot is this host before it
    /// was started again, or another host that has our identity: that one beats.
    pub(super) async fn join(
        &self,
        conn: &mut PgConnection,
        connector: &Connector,
        own: &Own,
        now: Timestamp,
    ) -> Result<u64, OpenError> {
        let failed = |error: sqlx::Error| trouble::open_error(&connector.place, &error);
        let mut recovered = 0;
        for (id, boot, beat) in self.predecessors(conn).await.map_err(failed)? {
            if boot != self.boot && self.is_alive(conn, id, beat).await.map_err(failed)? {
                return Err(OpenError::Unusable(format!(
                    "{}: another host beats with the identity of this one: it was cloned; on one of the two stop the daemon and delete this file, and start it again",
                    identity::path(self.server.state_directory()).display()
                )));
            }
            recovered += recover::take_over(conn, &connector.schema, id, None, now)
                .await
                .map_err(failed)?
                .unwrap_or(0);
        }
        // What one that left in order could not store any more, or whose take-over did not come to its end.
        for id in recover::orphaned(conn).await.map_err(failed)? {
            recovered += recover::rows_of(conn, id, now).await.map_err(failed)?;
        }
        let began = Instant::now();
        let id = self.insert(conn, own).await.map_err(failed)?;
        own.become_node(id, began);
        Ok(recovered)
    }

    async fn predecessors(&self, conn: &mut PgConnection) -> Result<Vec<(i64, String, i64)>, sqlx::Error> {
        let rows = sqlx::query(PREDECESSORS)
            .bind(self.identity.as_slice())
            .fetch_all(conn)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect()
    }

    /// Whether it beats while we watch. A node that was ended with its host does not.
    async fn is_alive(&self, conn: &mut PgConnection, id: i64, beat: i64) -> Result<bool, sqlx::Error> {
        let began = Instant::now();
        while began.elapsed() < SILENT {
            tokio::time::sleep(BEAT).await;
            let rows = self.predecessors(conn).await?;
            match rows.iter().find(|(known, ..)| *known == id) {
                Some((.., now)) if *now != beat => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    async fn insert(&self, conn: &mut PgConnection, own: &Own) -> Result<i64, sqlx::Error> {
        sqlx::query(JOIN)
            .bind(self.identity.as_slice())
            .bind(&self.boot)
            .bind(&self.server.node)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(own.scope())
            .fetch_one(conn)
            .await?
            .try_get(0)
    }
}

/// What was seen of another node: its beat, and since when it is that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    beat: i64,
    since: Instant,
}

/// Takes note of everybody's beats; who is silent. `sound`: since when we ourselves beat without a gap.
pub(super) fn observe(
    seen: &mut HashMap<i64, Seen>,
    beats: &[(i64, i64)],
    mine: i64,
    sound: Instant,
    now: Instant,
) -> Vec<(i64, i64)> {
    seen.retain(|id, _| beats.iter().any(|(known, _)| known == id));
    let mut silent = Vec::new();
    for (id, beat) in beats.iter().filter(|(id, _)| *id != mine) {
        let known = seen.entry(*id).or_insert(Seen {
            beat: *beat,
            since: now,
        });
        if known.beat != *beat {
            *known = Seen {
                beat: *beat,
                since: now,
            };
        }
        let watched_since = known.since.max(sound);
        if now.duration_since(watched_since) >= SILENT {
            silent.push((*id, *beat));
        }
    }
    silent
}

/// The beat of a daemon: a task with a connection of its own.
pub(super) struct Beat {
    pub(super) connector: Connector,
    pub(super) own: Arc<Own>,
    pub(super) server: Server,
    pub(super) identity: [u8; 16],
    pub(super) boot: String,
    pub(super) end: watch::Receiver<bool>,
}

/// What the beat remembers from one to the next.
struct Watching {
    conn: Option<PgConnection>,
    seen: HashMap<i64, Seen>,
    sound: Option<Instant>,
    has_failed: bool,
    /// When this node last delivered something.
    delivered: Option<Instant>,
    remembered: String,
    due: Option<i64>,
    /// Counts wait to be folded, or something is being sent: there may be chores.
    is_busy: bool,
    /// This is the live node with the lowest number.
    is_lowest: bool,
    /// The server's clock at the last beat.
    now: Timestamp,
    turns: u64,
    /// When it was last looked for who holds the vacuum back.
    looked: Option<Instant>,
}

impl Beat {
    /// Beats until it is told to end.
    pub(super) async fn run(mut self) {
        let mut watching = Watching {
            conn: None,
            seen: HashMap::new(),
            sound: None,
            has_failed: false,
            delivered: None,
            remembered: String::new(),
            due: None,
            is_busy: false,
            is_lowest: false,
            now: Timestamp::default(),
            turns: 0,
            looked: None,
        };
        let mut turns = interval(BEAT);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = self.own.news.notified() => {}
                ended = self.end.changed() => if ended.is_err() || *self.end.borrow() { return },
            }
            let began = Instant::now();
            match self.turn(&mut watching, began).await {
                Ok(()) => {
                    watching.sound.get_or_insert(began);
                    if std::mem::take(&mut watching.has_failed) {
                        self.own.note(NodeEvent::BeatsAgain);
                    }
                }
                Err(error) => {
                    watching.conn = None;
                    watching.sound = None;
                    self.own.failed();
                    if !std::mem::replace(&mut watching.has_failed, true) {
                        self.own.note(NodeEvent::BeatFailed(error.to_string()));
                    }
                }
            }
        }
    }

    async fn turn(&self, watching: &mut Watching, began: Instant) -> Result<(), sqlx::Error> {
        let mut conn = match watching.conn.take() {
            Some(conn) => conn,
            None => self.connector.connect(Purpose::Beating, &self.own.name()).await?,
        };
        // Nothing of a beat is believed that took so long that others may have stopped believing in us.
        let silent = within(BEAT_MAX, "a sign of life", self.beat(&mut conn, watching, began)).await?;
        for (id, beat) in silent {
            self.take_over(id, beat, watching.now).await?;
        }
        watching.turns += 1;
        if watching.turns.is_multiple_of(CHORES_EVERY) {
            within(BEAT_MAX, "chores", self.chores(&mut conn, watching)).await?;
        }
        watching.conn = Some(conn);
        Ok(())
    }

    /// One beat; who is silent.
    async fn beat(
        &self,
        conn: &mut PgConnection,
        watching: &mut Watching,
        began: Instant,
    ) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let (in_flight, gate) = self.own.told();
        let has_delivered = self.own.has_delivered();
        if has_delivered {
            watching.delivered = Some(began);
        }
        let mine = self.own.node();
        let row = sqlx::query(BEAT_SQL)
            .bind(mine)
            .bind(i32::try_from(in_flight).unwrap_or(i32::MAX))
            .bind(gate)
            .bind(self.own.scope())
            .fetch_one(&mut *conn)
            .await?;
        watching.now = Timestamp::from_millis(row.try_get("now")?).plus(began.elapsed() / 2);
        clock::follow(watching.now);
        if *self.end.borrow() {
            return Ok(Vec::new());
        }
        if row.try_get::<i64, _>("mine")? == 0 {
            return self.begin_anew(conn).await.map(|()| Vec::new());
        }
        self.own.beaten(began);
        self.own.met();
        let remembered: String = row.try_get("remembered")?;
        let due: Option<i64> = row.try_get("due")?;
        let is_due = due.is_some_and(|due| due <= watching.now.millis());
        watching.is_busy = row.try_get("is_busy")?;
        if remembered != watching.remembered || due != watching.due || is_due || watching.is_busy {
            self.own.others_wrote();
        }
        (watching.remembered, watching.due) = (remembered, due);
        let (ids, beats): (Vec<i64>, Vec<i64>) = (row.try_get("ids")?, row.try_get("beats")?);
        let beats: Vec<(i64, i64)> = ids.into_iter().zip(beats).collect();
        self.own.shared_by(beats.len());
        watching.is_lowest = beats.first().is_some_and(|(id, _)| *id == mine);
        let now = Instant::now();
        let sound = watching.sound.unwrap_or(now);
        Ok(observe(&mut watching.seen, &beats, mine, sound, now))
    }

    /// We were fenced: the others have what we had claimed, and our late outcomes change nothing. We go on as another
    /// incarnation.
    async fn begin_anew(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let joining = Joining {
            server: &self.server,
            identity: self.identity,
            boot: self.boot.clone(),
        };
        let began = Instant::now();
        let id = joining.insert(conn, &self.own).await?;
        self.own.become_node(id, began);
        self.own.note(NodeEvent::Fenced);
        self.own.others_wrote();
        Ok(())
    }

    /// On a connection of its own: our own beats go on meanwhile, and where it fails the next beat tries again.
    async fn take_over(&self, id: i64, beat: i64, now: Timestamp) -> Result<(), sqlx::Error> {
        let mut conn = self.connector.connect(Purpose::Writing, &self.own.name()).await?;
        let limit = Duration::from_secs(10);
        let work = recover::take_over(&mut conn, &self.connector.schema, id, Some(beat), now);
        if let Some(count) = within(limit, "a take-over", work).await? {
            let name = recover::name_of(&mut conn, id).await?;
            self.own.note(NodeEvent::TakenOver { name, count });
            self.own.others_wrote();
        }
        Ok(())
    }

    /// What one of us has to do: the one with the lowest number, to save work; two that do it at once do no harm.
    async fn chores(&self, conn: &mut PgConnection, watching: &mut Watching) -> Result<(), sqlx::Error> {
        if let Some(why) = schema::outgrown(conn).await? {
            self.own.outgrow(format!("{}: {why}", self.connector.place));
        }
        if self.own.requeues() && watching.delivered.is_some_and(|at| at.elapsed() < KEY_WORKS_FOR) {
            let scope = self.own.scope();
            let others: bool = sqlx::query(gate::HAS_OTHER_SCOPES)
                .bind(scope)
                .fetch_one(&mut *conn)
                .await?
                .try_get(0)?;
            if others {
                self.requeue_of_others(watching.now).await?;
            }
        }
        if !watching.is_lowest {
            return Ok(());
        }
        if watching.looked.is_none_or(|looked| looked.elapsed() >= HELD_EVERY) {
            watching.looked = Some(Instant::now());
            recover::forget_old(conn).await?;
            // Advice: that a role may not ask for it is no trouble of the beat.
            if let Ok(Some(by)) = schema::held_by(conn, HELD_FOR).await {
                self.own.note(NodeEvent::VacuumHeld(by));
            }
        }
        if watching.is_busy {
            tally::fold(conn).await?;
            for id in recover::orphaned(conn).await? {
                self.take_over_rows(id, watching.now).await?;
            }
        }
        Ok(())
    }

    async fn requeue_of_others(&self, now: Timestamp) -> Result<(), sqlx::Error> {
        let mut conn = self.connector.connect(Purpose::Writing, &self.own.name()).await?;
        let scope = self.own.scope();
        let work = gate::requeue_of_others(&mut conn, &scope, now);
        if within(Duration::from_secs(10), "a requeue", work).await? > 0 {
            self.own.others_wrote();
        }
        Ok(())
    }

    /// Rows of a node that was fenced, and whose take-over did not come to its end.
    async fn take_over_rows(&self, id: i64, now: Timestamp) -> Result<(), sqlx::Error> {
        let mut conn = self.connector.connect(Purpose::Writing, &self.own.name()).await?;
        let count = within(
            Duration::from_secs(10),
            "a take-over",
            recover::rows_of(&mut conn, id, now),
        )
        .await?;
        if count > 0 {
            self.own.others_wrote();
        }
        Ok(())
    }
}
