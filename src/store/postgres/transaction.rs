//! An open transaction of a writer, and what it changes in the counts.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use strum::VariantArray as _;

use crate::model::StateName;

use super::floor::{self, Place};

/// What operations work in. After any error in it nothing else may be asked of the connection but a rollback: a COMMIT
/// of a transaction that failed is answered with ROLLBACK, and passes for done.
pub(super) struct Transaction<'c> {
    pub(super) conn: &'c mut PgConnection,
    /// The incarnation that claims and settles here; 0: a command's process.
    pub(super) node: i64,
    /// By which key it sends.
    pub(super) scope: String,
    /// The answer to the last commit was lost: what is asked now may have been stored by it.
    pub(super) may_be_stored: bool,
    /// Where its claim begins to look.
    pub(super) from: Place,
    /// The first place in the queue that an outcome has put something back to.
    pub(super) came_back: Option<Place>,
    changes: [i64; StateName::VARIANTS.len()],
}

impl<'c> Transaction<'c> {
    pub(super) async fn begin(conn: &'c mut PgConnection, node: i64, scope: String) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
        Ok(Self {
            conn,
            node,
            scope,
            may_be_stored: false,
            from: floor::BEGINNING,
            came_back: None,
            changes: [0; StateName::VARIANTS.len()],
        })
    }

    /// So many moved between two states, came in (`from` is `None`) or left (`to` is `None`).
    pub(super) fn moved(&mut self, from: Option<StateName>, to: Option<StateName>, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        for (state, by) in [(from, -count), (to, count)] {
            if let Some(state) = state {
                self.corrected(state, by);
            }
        }
    }

    /// A count is to be so much more.
    pub(super) fn corrected(&mut self, state: StateName, by: i64) {
        if let Some(place) = StateName::VARIANTS.iter().position(|known| *known == state) {
            self.changes[place] += by;
        }
    }

    /// This one can be claimed.
    pub(super) fn put_back(&mut self, place: Place) {
        self.came_back = Some(self.came_back.map_or(place, |first| first.min(place)));
    }

    /// Writes the counts as a row of their own, which waits for nobody, and commits, in one way there and back: where
    /// the first fails the server comes to no second. An error says nothing of the outcome.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        let counts = if self.changes == [0; StateName::VARIANTS.len()] {
            String::new()
        } else {
            let names = StateName::VARIANTS.iter().map(StateName::into_str).collect::<Vec<_>>();
            let numbers = self.changes.map(|by| by.to_string());
            format!(
                "INSERT INTO tally_delta ({}) VALUES ({}); ",
                names.join(", "),
                numbers.join(", ")
            )
        };
        let sql = format!("{counts}COMMIT");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *self.conn)
            .await
            .map(drop)
    }
}

/// Ends whatever transaction is open.
pub(super) async fn roll_back(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("ROLLBACK").execute(conn).await.map(drop)
}
