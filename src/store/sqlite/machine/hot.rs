//! The hot path: outcomes and the claim that follows them, from BEGIN to COMMIT in one query.
//!
//! Each query is two switches of thread (50 to 100 µs), more than SQLite needs for a group; with nine of them a group a
//! drain reached half the rate. What the query yields comes before its COMMIT and is handed out only when that has
//! succeeded. An error anywhere leaves the transaction open: it is rolled back, and the group is replayed.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Column as _, Row as _};

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::store::operation::Turn;
use crate::store::rules::effect;
use crate::store::sqlite::operations::{claim, claimed, settle};
use crate::store::{ClaimOrder, Claimed, Settled, Settlement};

use super::batch;
use super::maintenance::DATA_VERSION;
use super::transaction::{BEGIN, COMMIT, Committed};

/// What one group asks for.
pub(crate) struct Group<'g> {
    pub(crate) settlements: Vec<&'g (Arc<Settlement>, Timestamp)>,
    /// No trial: that may take several looks.
    pub(crate) turn: Option<&'g Turn>,
}

/// What became of it, once it is durable.
pub(crate) struct Done {
    /// One answer a settlement, in order.
    pub(crate) settled: Vec<Settled>,
    pub(crate) claimed: Vec<Claimed>,
    pub(crate) committed: Committed,
}

/// The tables of the connection that writes, in memory: what the statements of one query hand to one another.
pub(crate) async fn prepare(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for table in [settle::OUTCOME, claim::TURN] {
        sqlx::query(table).persistent(false).execute(&mut *conn).await?;
    }
    Ok(())
}

/// The most settlements that fit into one query.
pub(crate) const SETTLEMENTS_MAX: usize = batch::SIZES[batch::SIZES.len() - 1];

/// Does it in a transaction of its own. An error says nothing of the outcome: the commit may be there on reopening.
pub(crate) async fn run(conn: &mut SqliteConnection, group: &Group<'_>) -> Result<Done, sqlx::Error> {
    let asked = effect::worth_asking(&group.settlements);
    let size = batch::SIZES
        .into_iter()
        .find(|size| *size >= asked.len() && !asked.is_empty());
    let size = size.unwrap_or(0);
    let query = sqlx::query(sql(size, group.turn.map(|turn| &turn.request.order)));
    let mut query = settle::bind(query, &asked, size)?;
    if let Some(turn) = group.turn {
        query = claim::bind(turn, query, &[])?;
    }
    let rows = query.fetch_all(conn).await?;
    let mut done = Done {
        settled: Vec::new(),
        claimed: Vec::new(),
        committed: Committed {
            version: None,
            is_short: false,
        },
    };
    let mut ended = HashSet::new();
    for row in &rows {
        match row.column(0).name() {
            "settled" => ended = settle::ended(row)?,
            "short" => done.committed.is_short = row.try_get(0)?,
            "data_version" => done.committed.version = row.try_get(0)?,
            _ => {
                let now = group.turn.map_or_else(Timestamp::default, |turn| turn.request.now);
                done.claimed = claimed::read(row, now)?;
            }
        }
    }
    done.settled = effect::answers(&group.settlements, &ended);
    Ok(done)
}

/// The query for so many settlements and a claim of this order.
fn sql(size: usize, order: Option<&ClaimOrder>) -> &'static str {
    static QUERIES: LazyLock<Vec<((usize, usize), String)>> = LazyLock::new(|| {
        let sizes = std::iter::once(0).chain(batch::SIZES);
        sizes
            .flat_map(|size| ORDERS.map(|order| ((size, place(order.as_ref())), compose(size, order.as_ref()))))
            .collect()
    });
    let wanted = (size, place(order));
    QUERIES
        .iter()
        .find(|(known, _)| *known == wanted)
        .map_or("", |(_, sql)| sql)
}

const ORDERS: [Option<ClaimOrder>; 5] = [
    None,
    Some(ClaimOrder::Due),
    Some(ClaimOrder::LeastTried),
    Some(ClaimOrder::Lead),
    Some(ClaimOrder::This(SubmissionId(0))),
];

const fn place(order: Option<&ClaimOrder>) -> usize {
    match order {
        None => 0,
        Some(ClaimOrder::Due) => 1,
        Some(ClaimOrder::LeastTried) => 2,
        Some(ClaimOrder::Lead) => 3,
        Some(ClaimOrder::This(_)) => 4,
        Some(ClaimOrder::Trial { .. }) => 5,
    }
}

/// The version comes before the commit, so that nothing that fails after it may pass for its failure; while the write
/// lock is held no other process changes it, and our own commit does not.
fn compose(size: usize, order: Option<&ClaimOrder>) -> String {
    let mut parts = vec![BEGIN.to_owned()];
    parts.extend((size > 0).then(|| settle::sql(size).to_owned()));
    parts.extend(order.map(|order| batch::behind(claim::sql(order), size * settle::COLUMNS)));
    parts.extend([DATA_VERSION.to_owned(), COMMIT.to_owned()]);
    parts.join("; ")
}
