//! The few values that outlive the process, and whose each is: `name` is everybody's, `name@…` a node's own, or the gate
//! of a key.
//!
//! What the gate's callers call `gate` is, here, two records: closed by a refused key or a blown fuse it is a fact about
//! the key, the tenant or the producers, and every node that sends by that key goes by it; closed by an outage it may be
//! this node's own network, and stays its own.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::policy::gate::{ASK, GATE, GateRecord, PAUSE_IN_FORCE};
use crate::store::operation::Note;
use crate::store::rules::marks::SECRET;

use super::own::Own;
use super::transaction::Transaction;

/// What each node remembers for itself.
const OF_A_NODE: [&str; 2] = [PAUSE_IN_FORCE, "pulse"];

pub(super) const REMEMBER: &str = "INSERT INTO memory (name, value, at, closed) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at, closed = excluded.closed, turn = excluded.turn";
/// Leaves what a refused key has closed as it is.
pub(super) const REMEMBER_OPEN: &str = "INSERT INTO memory (name, value, at, closed) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at, closed = excluded.closed, turn = excluded.turn \
        WHERE NOT (memory.closed AND memory.value LIKE '%\"state\":\"unauthorized\"%')";
pub(super) const REMEMBER_FIRST: &str =
    "INSERT INTO memory (name, value, at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
pub(super) const FORGET: &str = "DELETE FROM memory WHERE name = $1";

/// The name of the record of a key's gate.
pub(super) fn gate_of(scope: &str) -> String {
    format!("{GATE}@{scope}")
}

/// The name under which this process remembers it.
fn stored_name(own: &Own, name: &str) -> String {
    if OF_A_NODE.contains(&name) && !own.identity.is_empty() {
        format!("{name}@{}", own.identity)
    } else {
        name.to_owned()
    }
}

/// Remembers, or forgets. A secret that is there stays: two processes may make one at once, and the first one's is in
/// tokens already.
pub(super) async fn remember(transaction: &mut Transaction<'_>, own: &Own, note: &Note) -> Result<(), sqlx::Error> {
    if note.name == GATE {
        return remember_gate(transaction, own, note, false).await;
    }
    if note.name == ASK && note.value.is_none() && !own.identity.is_empty() {
        return heeded(transaction.conn, own, note).await;
    }
    let name = stored_name(own, &note.name);
    let query = match &note.value {
        Some(value) if name == SECRET => sqlx::query(REMEMBER_FIRST)
            .bind(name)
            .bind(value)
            .bind(note.now.millis()),
        Some(value) => sqlx::query(REMEMBER)
            .bind(name)
            .bind(value)
            .bind(note.now.millis())
            .bind(false),
        None => sqlx::query(FORGET).bind(name),
    };
    query.execute(&mut *transaction.conn).await.map(drop)
}

/// A gate's record goes where it belongs: to all that send by this key, or to this node alone. What a refused key has
/// closed only its opening (`opens`) opens again: a node that comes out of an outage knows nothing of it.
pub(super) async fn remember_gate(
    transaction: &mut Transaction<'_>,
    own: &Own,
    note: &Note,
    opens: bool,
) -> Result<(), sqlx::Error> {
    let record = |text: &str| serde_json::from_str::<GateRecord>(text).ok();
    let is_shared = opens
        || note
            .value
            .as_deref()
            .and_then(record)
            .is_some_and(|record| record.state.is_shared());
    let mine = format!("{GATE}@{}", own.identity);
    let shared = gate_of(&transaction.scope);
    let Some(value) = &note.value else {
        for name in [mine, shared] {
            sqlx::query(FORGET).bind(name).execute(&mut *transaction.conn).await?;
        }
        return Ok(());
    };
    if is_shared {
        sqlx::query(FORGET).bind(mine).execute(&mut *transaction.conn).await?;
        let closed = record(value).is_some_and(|record| !record.state.is_open());
        let sql = if opens || closed { REMEMBER } else { REMEMBER_OPEN };
        return store(transaction.conn, sql, &shared, value, note, closed).await;
    }
    store(transaction.conn, REMEMBER, &mine, value, note, false).await
}

async fn store(
    conn: &mut PgConnection,
    sql: &'static str,
    name: &str,
    value: &str,
    note: &Note,
    closed: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql)
        .bind(name)
        .bind(value)
        .bind(note.now.millis())
        .bind(closed)
        .execute(conn)
        .await
        .map(drop)
}

/// This node has done what `resume` asked for. The word goes when every present node has.
async fn heeded(conn: &mut PgConnection, own: &Own, note: &Note) -> Result<(), sqlx::Error> {
    let Some(asked) = sqlx::query(RECALL).bind(ASK).fetch_optional(&mut *conn).await? else {
        return Ok(());
    };
    let asked: String = asked.try_get(0)?;
    store(conn, REMEMBER, &format!("{ASK}@{}", own.identity), &asked, note, false).await?;
    sqlx::query(HEEDED_BY_ALL).bind(asked).execute(conn).await.map(drop)
}

pub(super) const HEEDED_BY_ALL: &str = "DELETE FROM memory WHERE name = 'ask' AND value = $1 AND NOT EXISTS ( \
     SELECT 1 FROM node AS n WHERE n.fenced_at IS NULL \
        AND (SELECT m.value FROM memory AS m WHERE m.name = 'ask@' || encode(n.identity, 'hex')) IS DISTINCT FROM $1)";

pub(super) const RECALL: &str = "SELECT value FROM memory WHERE name = $1";
/// A shared gate that is closed goes before this node's own record; a fuse that another key's nodes have blown holds for
/// all.
pub(super) const RECALL_GATE: &str = "SELECT value FROM memory \
     WHERE name = $1 OR name = $2 OR (name LIKE 'gate@%' AND closed AND value LIKE '%\"state\":\"rejecting\"%') \
     ORDER BY (name = $1 AND closed) DESC, closed DESC, (name = $2) DESC, at DESC LIMIT 1";
/// For who sends by no key: the strictest of all, of those that have anything to say the newest.
pub(super) const RECALL_ANY: &str =
    "SELECT value FROM memory WHERE name LIKE $1 || '@%' ORDER BY closed DESC, at DESC LIMIT 1";
/// The pause that every present node goes by; nothing where they differ.
pub(super) const RECALL_IN_FORCE: &str = "SELECT min(v.value) FROM (SELECT (SELECT m.value FROM memory AS m \
        WHERE m.name = $1 || '@' || encode(n.identity, 'hex')) AS value FROM node AS n WHERE n.fenced_at IS NULL) AS v \
     HAVING count(DISTINCT coalesce(v.value, '')) = 1";

/// What is remembered under a name.
pub(super) async fn recall(conn: &mut PgConnection, own: &Own, name: &str) -> Result<Option<String>, sqlx::Error> {
    let is_node = !own.identity.is_empty();
    let query = match name {
        GATE if is_node => sqlx::query(RECALL_GATE)
            .bind(gate_of(&own.scope()))
            .bind(format!("{GATE}@{}", own.identity)),
        PAUSE_IN_FORCE if !is_node => sqlx::query(RECALL_IN_FORCE).bind(name),
        _ if !is_node && (name == GATE || OF_A_NODE.contains(&name)) => sqlx::query(RECALL_ANY).bind(name),
        ASK if is_node => sqlx::query(RECALL_UNHEEDED).bind(format!("{ASK}@{}", own.identity)),
        _ => sqlx::query(RECALL).bind(stored_name(own, name)),
    };
    let row = query.fetch_optional(conn).await?;
    Ok(row
        .map(|row| row.try_get::<Option<String>, _>(0))
        .transpose()?
        .flatten())
}

pub(super) const NODES_WITHOUT: &str = "SELECT n.name FROM node AS n WHERE n.fenced_at IS NULL \
     AND (SELECT m.value FROM memory AS m WHERE m.name = $1 || '@' || encode(n.identity, 'hex')) IS DISTINCT FROM $2";

/// The present nodes that remember something else for themselves.
pub(super) async fn nodes_without(
    conn: &mut PgConnection,
    name: &str,
    value: Option<&str>,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(NODES_WITHOUT)
        .bind(name)
        .bind(value)
        .fetch_all(conn)
        .await?;
    let mut names = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<String>, _>>()?;
    names.sort_unstable();
    Ok(names)
}

/// What was asked for and this node has not done yet.
pub(super) const RECALL_UNHEEDED: &str = "SELECT value FROM memory WHERE name = 'ask' \
     AND value IS DISTINCT FROM (SELECT value FROM memory WHERE name = $1)";

pub(super) const ANOTHER_KEY: &str = "SELECT EXISTS (SELECT 1 FROM node AS n WHERE n.fenced_at IS NULL AND n.scope <> $1 AND n.scope <> '' \
     AND (n.gate = 'open' OR n.gate = 'throttled') AND (SELECT m.name FROM memory AS m WHERE m.name = 'gate@' || n.scope AND m.closed) IS NULL)";

/// Whether a node that sends by another key is open: it will send what ours is refused for, in the order of its
/// activity, which a dead letter would lose. Should that key be refused too, its gate closes, and this is asked again.
pub(super) async fn another_key_works(transaction: &mut Transaction<'_>) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(ANOTHER_KEY)
        .bind(&transaction.scope)
        .fetch_one(&mut *transaction.conn)
        .await?;
    row.try_get(0)
}

pub(super) const GATE_FOR_SHARE: &str = "SELECT closed FROM memory WHERE name = $1 FOR SHARE";

/// Whether the gate of this key is on record as open, held so until the commit. Nothing on record: it was never closed.
pub(super) async fn gate_is_open_again(transaction: &mut Transaction<'_>) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(GATE_FOR_SHARE)
        .bind(gate_of(&transaction.scope))
        .fetch_optional(&mut *transaction.conn)
        .await?;
    row.map_or(Ok(false), |row| row.try_get::<bool, _>(0).map(|closed| !closed))
}
