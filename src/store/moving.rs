//! An outbox that is carried to another kind of store: from SQLite into PostgreSQL, or back. Whole or not at all, with
//! every daemon stopped; the old one stays as it is.
//!
//! In this order: both ends kept to ourselves; a look whether the new place is empty; every table row by row; and
//! everything that arrived read again and compared, before it counts. A crash before the end leaves nothing in the new
//! place.

use std::collections::BTreeMap;

use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::{Address, StateName};

use super::cargo::{Cell, Page, Remembered, Row, Sum, Table};
use super::{OpenError, postgres, sqlite};

/// What was carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many submissions are in each state.
    pub counts: BTreeMap<String, u64>,
    /// How many of them were in flight when a daemon last ended: they are pending, and maybe sent.
    pub recovered: u64,
    /// How many were refused with the key, and wait for a working one.
    pub refused: u64,
    /// It was all there already, from an earlier move, and nothing was written.
    pub was_there: bool,
}

/// Carries the outbox at `from` to `to`, which are a file and a server, in either order. `scope` is that of the key
/// that is sent by, or empty where it is not known: in PostgreSQL the gate and what waits for it are a key's.
/// `progress`: so many rows are done of so many.
pub async fn move_outbox(
    from: &Address,
    to: &Address,
    scope: &str,
    now: Timestamp,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Moved, OpenError> {
    let (mut from, mut to) = match (from, to) {
        (Address::File(file), Address::Server(server)) => {
            let source = End::Sqlite(sqlite::carry::Carrier::source(file, now).await?);
            let target = postgres::carry::Carrier::target(server, scope, now).await;
            (source, End::Postgres(target?))
        }
        (Address::Server(server), Address::File(file)) => {
            let source = End::Postgres(postgres::carry::Carrier::source(server, scope, now).await?);
            (source, End::Sqlite(sqlite::carry::Carrier::target(file).await?))
        }
        (Address::File(_), Address::File(_)) | (Address::Server(_), Address::Server(_)) => {
            return Err(OpenError::Unusable(
                "an outbox moves between a SQLite file and PostgreSQL, not from one to another of a kind".to_owned(),
            ));
        }
    };
    let moved = carry(&mut from, &mut to, progress).await;
    from.abandon().await;
    match moved {
        Ok(moved) if moved.was_there => {
            to.abandon().await;
            Ok(moved)
        }
        Ok(moved) => to.finish().await.map(|()| moved),
        Err(error) => {
            to.abandon().await;
            Err(error)
        }
    }
}

/// Everything but the commit.
async fn carry(from: &mut End, to: &mut End, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Moved, OpenError> {
    let recovered = from.recovered();
    if !to.is_free().await? {
        let (here, there) = (read(from, progress).await?, read(to, progress).await?);
        return if here.sums == there.sums {
            Ok(here.moved(recovered, true))
        } else {
            Err(to.occupied())
        };
    }
    let sent = write(from, to, progress).await?;
    let remembered = from.remembered().await?;
    to.remember(&remembered).await?;
    let last_id = from.last_id().await?;
    to.go_on_from(last_id).await?;
    to.count(&sent.counts).await?;
    let arrived = read(to, progress).await?;
    if arrived.sums != sent.sums || to.remembered().await? != remembered || to.last_id().await? < last_id {
        return Err(OpenError::Unusable(
            "what arrived is not what was sent, so nothing of it was kept; this is a fault of the program or of the disk, \
             and worth a report"
                .to_owned(),
        ));
    }
    Ok(sent.moved(recovered, false))
}

/// What an outbox holds, in sums.
struct Held {
    /// A table each, in their order.
    sums: Vec<Sum>,
    counts: BTreeMap<String, u64>,
}

impl Held {
    fn nothing() -> Self {
        let states = StateName::VARIANTS.iter().map(|state| (state.into_str().to_owned(), 0));
        Self {
            sums: Vec::new(),
            counts: states.collect(),
        }
    }

    /// Counts a row of [`Table::Standing`].
    fn count(&mut self, row: &Row) {
        if let Some(Cell::Text(state)) = row.get(2) {
            let state = match state.as_str() {
                "head" | "waiting" => StateName::Pending.into_str(),
                state => state,
            };
            *self.counts.entry(state.to_owned()).or_default() += 1;
        }
    }

    fn moved(self, recovered: u64, was_there: bool) -> Moved {
        let episode = Table::VARIANTS.iter().position(|table| *table == Table::Episode);
        let refused = episode.and_then(|place| self.sums.get(place)).map_or(0, |sum| sum.rows);
        Moved {
            counts: self.counts,
            recovered,
            refused,
            was_there,
        }
    }
}

async fn read(end: &mut End, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Held, OpenError> {
    walk(end, None, progress).await
}

async fn write(from: &mut End, to: &mut End, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Held, OpenError> {
    walk(from, Some(to), progress).await
}

/// Goes through every table of one end, and writes what it finds into the other one, where there is another.
async fn walk(
    from: &mut End,
    mut to: Option<&mut End>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Held, OpenError> {
    let total = from.rows().await?;
    let (mut held, mut done) = (Held::nothing(), 0);
    for table in Table::VARIANTS {
        let (mut sum, mut after) = (Sum::new(), None);
        loop {
            let page = from.page(*table, after.as_ref()).await?;
            if page.last.is_none() {
                break;
            }
            for row in &page.rows {
                sum.add(row);
                if *table == Table::Standing {
                    held.count(row);
                }
            }
            if let Some(to) = &mut to {
                to.put(*table, &page.rows).await?;
            }
            done += page.rows.len() as u64;
            progress(done.min(total), total);
            after = page.last;
        }
        held.sums.push(sum);
    }
    Ok(held)
}

/// One end of a move.
enum End {
    Sqlite(sqlite::carry::Carrier),
    Postgres(postgres::carry::Carrier),
}

/// The same question to whichever it is.
macro_rules! ask {
    ($end:expr, $carrier:ident => $question:expr) => {
        match $end {
            End::Sqlite($carrier) => $question.await.map_err(|error| $carrier.failed(&error)),
            End::Postgres($carrier) => $question.await.map_err(|error| $carrier.failed(&error)),
        }
    };
}

impl End {
    fn recovered(&self) -> u64 {
        match self {
            Self::Sqlite(carrier) => carrier.recovered,
            Self::Postgres(carrier) => carrier.recovered,
        }
    }

    /// Whether an outbox can be carried into it.
    async fn is_free(&mut self) -> Result<bool, OpenError> {
        match self {
            Self::Sqlite(carrier) => Ok(carrier.is_new()),
            Self::Postgres(carrier) => carrier.is_empty().await.map_err(|error| carrier.failed(&error)),
        }
    }

    fn occupied(&self) -> OpenError {
        match self {
            Self::Sqlite(carrier) => sqlite::carry::occupied(&carrier.path),
            Self::Postgres(carrier) => postgres::carry::occupied(&carrier.place),
        }
    }

    async fn rows(&mut self) -> Result<u64, OpenError> {
        ask!(self, carrier => carrier.rows())
    }

    async fn page(&mut self, table: Table, after: Option<&Row>) -> Result<Page, OpenError> {
        ask!(self, carrier => carrier.page(table, after))
    }

    async fn put(&mut self, table: Table, rows: &[Row]) -> Result<(), OpenError> {
        ask!(self, carrier => carrier.put(table, rows))
    }

    async fn remembered(&mut self) -> Result<Vec<Remembered>, OpenError> {
        ask!(self, carrier => carrier.remembered())
    }

    async fn remember(&mut self, all: &[Remembered]) -> Result<(), OpenError> {
        ask!(self, carrier => carrier.remember(all))
    }

    async fn last_id(&mut self) -> Result<i64, OpenError> {
        ask!(self, carrier => carrier.last_id())
    }

    async fn go_on_from(&mut self, last_id: i64) -> Result<(), OpenError> {
        ask!(self, carrier => carrier.go_on_from(last_id))
    }

    async fn count(&mut self, counts: &BTreeMap<String, u64>) -> Result<(), OpenError> {
        ask!(self, carrier => carrier.count(counts))
    }

    async fn finish(self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(carrier) => carrier.finish().await,
            Self::Postgres(carrier) => carrier.finish().await,
        }
    }

    async fn abandon(self) {
        match self {
            Self::Sqlite(carrier) => carrier.abandon().await,
            Self::Postgres(carrier) => carrier.abandon().await,
        }
    }
}
