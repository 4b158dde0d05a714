//! The tables: made at the first start, by whichever daemon comes first, and moved forward by migrations.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::model::Digest;
use crate::store::{NodeEvent, OpenError, Role};

use super::connect::Connector;
use super::trouble;

/// What `schema_version` says of a schema that is ours.
const APPLICATION: &str = "reten-outbox";
/// The version of the tables that this program knows.
const VERSION: i32 = 2;

/// Each leads to the version of its number; the first one makes the tables.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../../migrations/outbox-postgres/0001_outbox.sql"),
    include_str!("../../../migrations/outbox-postgres/0002_minutes.sql"),
];
/// Debian's and most clouds' oldest that is still kept; its btree removes dead entries by itself.
const SERVER_MIN: i32 = 140_000;

/// Sees to it that the tables are there and of a version that we know. `Role::Reader` writes nothing.
pub(super) async fn prepare(conn: &mut PgConnection, connector: &Connector, role: Role) -> Result<(), OpenError> {
    let place = &connector.place;
    let failed = |error: sqlx::Error| trouble::open_error(place, &error);
    let server = sqlx::query("SELECT current_setting('server_version_num')::int4")
        .fetch_one(&mut *conn)
        .await
        .and_then(|row| row.try_get::<i32, _>(0))
        .map_err(failed)?;
    if server < SERVER_MIN {
        return Err(OpenError::Unusable(format!(
            "{place}: its version {server} is older than PostgreSQL 14, the oldest that this program works with"
        )));
    }
    let schema = &connector.schema;
    if !is_there(conn, schema).await.map_err(failed)? {
        if role == Role::Reader {
            return Err(OpenError::Missing(format!("there is no outbox yet at {place}")));
        }
        create(conn, schema).await.map_err(failed)?;
    }
    let Versions {
        application,
        version,
        oldest,
    } = versions(conn).await.map_err(failed)?;
    if application != APPLICATION {
        return Err(OpenError::Unusable(format!(
            "{place}: its schema {schema} belongs to {application:?}; name another one in outbox.schema"
        )));
    }
    if version < VERSION && role != Role::Reader {
        upgrade(conn, connector).await.map_err(failed)?;
    }
    beyond(version, oldest).map_or(Ok(()), |why| Err(OpenError::Unusable(format!("{place}: {why}"))))
}

struct Versions {
    application: String,
    version: i32,
    oldest: i32,
}

pub(super) const VERSIONS: &str = "SELECT application, version, oldest_version FROM schema_version";

async fn versions(conn: &mut PgConnection) -> Result<Versions, sqlx::Error> {
    let row = sqlx::query(VERSIONS).fetch_one(conn).await?;
    Ok(Versions {
        application: row.try_get(0)?,
        version: row.try_get(1)?,
        oldest: row.try_get(2)?,
    })
}

/// Why this program may not go on with these tables, if so. A migration that only adds leaves `oldest` as it is: the
/// daemons of the release before run on until their hosts' turn.
fn beyond(version: i32, oldest: i32) -> Option<String> {
    (oldest > VERSION).then(|| {
        format!(
            "its tables have version {version} and are understood from version {oldest} on; this program knows version {VERSION}: install the newer one"
        )
    })
}

/// The same of a daemon that runs, while another host's newer program may have moved the tables on.
pub(super) async fn outgrown(conn: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let now = versions(conn).await?;
    Ok(beyond(now.version, now.oldest))
}

/// Of the catalogue itself: what `to_regclass` answers within a transaction may be of before it waited for the lock.
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = 'schema_version')";

/// Settings under which what is committed can be lost. How many standbys there are only a role that may look
/// (`pg_monitor`) is told of those of others; our own walsender is none.
pub(super) const SAFETY: &str = "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on', \
     current_setting('synchronous_standby_names') = '' AND EXISTS (SELECT 1 FROM pg_stat_replication)";

/// What an operator should know of this server at the start.
pub(super) async fn warnings(conn: &mut PgConnection) -> Result<Vec<NodeEvent>, sqlx::Error> {
    let row = sqlx::query(SAFETY).fetch_one(conn).await?;
    let (is_durable, is_behind): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let mut warnings = Vec::new();
    if !is_durable {
        warnings.push(NodeEvent::Unsafe {
            what: "the database server runs with fsync or full_page_writes off: a power cut can lose or damage what was taken in".to_owned(),
            hint: "set both to on in postgresql.conf and reload the server",
        });
    }
    if is_behind {
        warnings.push(NodeEvent::Unsafe {
            what: "the database server has standbys and waits for none: a failover can lose results that were taken in, and their files are gone".to_owned(),
            hint: "name a standby in synchronous_standby_names, or know that a failover may repeat and lose results",
        });
    }
    Ok(warnings)
}

/// What keeps dead rows where they are, for longer than `$1` seconds: a transaction, prepared or not, or a replication
/// slot that nobody reads. Not what it asked: that may hold anything. Of another role's sessions only a role that may look
/// (`pg_monitor`) is told.
const HELD_BY: &str = "SELECT by FROM ( \
     SELECT xact_start AS since, 'the session ' || pid || ' of ' || coalesce(usename, '?') || ' (' || coalesce(application_name, '') || '), in a transaction since ' \
            || to_char(xact_start, 'YYYY-MM-DD HH24:MI:SS') || ' UTC: end it, or SELECT pg_terminate_backend(' || pid || ')' AS by \
       FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL \
            AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid() \
     UNION ALL SELECT prepared, 'the prepared transaction ' || quote_literal(gid) || ' of ' || owner || ': COMMIT PREPARED or ROLLBACK PREPARED it' \
       FROM pg_prepared_xacts WHERE database = current_database() \
     UNION ALL SELECT NULL, 'the replication slot ' || slot_name || ', which nobody reads: start its reader, or SELECT pg_drop_replication_slot(' \
            || quote_literal(slot_name) || ')' FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL) AS holders \
     WHERE since IS NULL OR since < now() - $1 * interval '1 s' ORDER BY since NULLS LAST LIMIT 1";

/// Who holds the server's vacuum back for longer than this, and what ends it.
pub(super) async fn held_by(conn: &mut PgConnection, longer: Duration) -> Result<Option<String>, sqlx::Error> {
    let holder = sqlx::query(HELD_BY).bind(longer.as_secs_f64());
    let row = holder.fetch_optional(conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

async fn is_there(conn: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    sqlx::query(IS_THERE).bind(schema).fetch_one(conn).await?.try_get(0)
}

/// Makes the tables, or brings them to the newest version. Under a lock of this schema's: who comes second waits, looks
/// again and finds it done. `IF NOT EXISTS` alone is no lock. A crash anywhere leaves what was there.
async fn create(conn: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("BEGIN; SET LOCAL lock_timeout = '30s'")
        .execute(&mut *conn)
        .await?;
    let made = async {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(advisory_key(schema))
            .execute(&mut *conn)
            .await?;
        make(conn, schema).await?;
        migrate(conn).await
    };
    let made = made.await;
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::raw_sql(end).execute(conn).await;
    made?;
    ended.map(drop)
}

async fn make(conn: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    if is_there(conn, schema).await? {
        return Ok(());
    }
    let known: bool = sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *conn)
        .await?
        .try_get(0)?;
    if !known {
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
            .execute(&mut *conn)
            .await?;
    }
    sqlx::raw_sql(MIGRATIONS[0]).execute(conn).await.map(drop)
}

/// Brings tables that are there to the newest version.
pub(super) async fn upgrade(conn: &mut PgConnection, connector: &Connector) -> Result<(), sqlx::Error> {
    create(conn, &connector.schema).await
}

/// The steps that are still to be made. Tables of other hands, or of a newer version, are left as they are.
async fn migrate(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT application, version FROM schema_version")
        .fetch_one(&mut *conn)
        .await?;
    let (application, version): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
    if application != APPLICATION {
        return Ok(());
    }
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(*migration).execute(&mut *conn).await?;
    }
    Ok(())
}

/// One a schema: tenants on one server do not wait for one another.
fn advisory_key(schema: &str) -> i64 {
    let digest = Digest::of(format!("reten-outbox {schema}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Server};
    use crate::store::postgres::connect::Purpose;
    use crate::store::tests::{Bench, Kind};

    #[tokio::test]
    async fn who_holds_the_vacuum_back_is_named_with_what_ends_it() {
        let Some(bench) = Bench::fresh(Kind::Postgres).await else {
            return;
        };
        let Address::Server(server) = &bench.address else {
            unreachable!("a file has no sessions")
        };
        // A database in which nobody else is.
        let database = format!("held_{}", server.schema);
        bench.by_hand(&format!("CREATE DATABASE {database}")).await.unwrap();
        let server = Server {
            database,
            schema: "public".to_owned(),
            ..Server::clone(server)
        };
        let connector = Connector::to(&server);
        let mut forgotten = connector.connect(Purpose::Writing, "a report").await.unwrap();
        let mut conn = connector.connect(Purpose::Beating, "beat").await.unwrap();
        assert_eq!(held_by(&mut conn, Duration::ZERO).await.unwrap(), None);
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'secret'";
        sqlx::raw_sql(begin).execute(&mut forgotten).await.unwrap();
        let by = held_by(&mut conn, Duration::ZERO).await.unwrap().unwrap();
        assert!(by.contains("of postgres (a report), in a transaction since "), "{by}");
        assert!(by.contains("pg_terminate_backend("), "{by}");
        assert!(!by.contains("secret"), "{by}");
        assert_eq!(held_by(&mut conn, Duration::from_mins(5)).await.unwrap(), None);
    }
}
