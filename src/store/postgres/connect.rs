//! Connections to the server: how they are made, what is set on each, and what is looked at before any of it is trusted.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::{Instant, timeout};

use crate::clock::{self, Timestamp};
use crate::model::{Host, Server, SslMode};
use crate::store::OpenError;

use super::trouble;

/// How long a connection may take to be made and set up.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Writing,
    Reading,
    /// Signs of life and hints: losing the last of them in a crash of the server costs nothing.
    Beating,
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    pub(super) schema: String,
    /// As a message names it, without a password.
    pub(super) place: String,
}

/// On every connection. No `statement_timeout`: it would cut a COMMIT that waits for a synchronous standby, which then
/// reports success although it is not replicated. Limits of time are ours ([`super::link`]).
const ON_ALL: &str = "SET client_encoding = 'UTF8'; SET idle_in_transaction_session_timeout = '5s'; \
     SET lock_timeout = '5s'; SET statement_timeout = 0; SET jit = off; SET max_parallel_workers_per_gather = 0; \
     SET default_transaction_isolation = 'read committed'; SET standard_conforming_strings = on; \
     SET client_min_messages = error; SET timezone = 'UTC'";

/// Only over a network; the server's side of it (ours is [`super::link`]'s limits).
const ON_NETWORK: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; \
     SET tcp_user_timeout = '5s'";

/// Plans that hold whatever the statistics say: a statement that was planned while the tables were small must not walk
/// them whole when they are large.
const ON_WRITERS: &str = "SET synchronous_commit = on; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off; \
     SET enable_material = off";

/// Each of theirs is planned for what it asks.
const ON_READERS: &str = "SET default_transaction_read_only = on; SET plan_cache_mode = force_custom_plan; \
     SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
     SET enable_sort = off";

const ON_BEAT: &str =
    "SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";

/// The files of certificates and keys that are named can be read: what comes of one that cannot, while connecting, does
/// not say which.
pub(super) fn check_files(server: &Server) -> Result<(), OpenError> {
    for (name, path) in [
        ("sslrootcert", &server.sslrootcert),
        ("sslcert", &server.sslcert),
        ("sslkey", &server.sslkey),
    ] {
        if let Some(path) = path
            && let Err(error) = std::fs::File::open(path)
        {
            return Err(OpenError::Unusable(format!(
                "{}: {name} in outbox.database cannot be read: {error}; the daemon's user must be able to",
                path.display()
            )));
        }
    }
    Ok(())
}

impl Connector {
    /// To this server. Every part is named, so that nothing of libpq's environment stands in for it.
    pub(super) fn to(server: &Server) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(server.port)
            .username(&server.user)
            .database(&server.database)
            .password(server.password.as_ref().map_or("", |password| password.reveal()))
            .ssl_mode(ssl_mode(server))
            .application_name("reten-outbox")
            // Nothing here is a floating-point number, and some poolers refuse what they do not know.
            .extra_float_digits(None)
            .disable_statement_logging();
        options = match &server.host {
            Host::Network(host) => options.host(host),
            Host::Socket(directory) => options.socket(directory),
        };
        if let Some(file) = &server.sslrootcert {
            options = options.ssl_root_cert(file);
        }
        if let (Some(certificate), Some(key)) = (&server.sslcert, &server.sslkey) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        Self {
            options,
            schema: server.schema.clone(),
            place: server.to_string(),
        }
    }

    /// A connection for this, under a name that says whose it is (seen in `pg_stat_activity`, and what a take-over ends
    /// the sessions of a lost node by).
    pub(super) async fn connect(&self, purpose: Purpose, name: &str) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut conn = self.options.clone().application_name(name).connect().await?;
            self.set_up(&mut conn, purpose).await?;
            Ok(conn)
        };
        timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| trouble::timed_out("connecting", CONNECT_MAX))?
    }

    /// The same, of a process that writes, before all its others: the server's sessions have to be ours alone. What a
    /// connection sets would else be undone, and be set on others'.
    pub(super) async fn connect_first(&self, name: &str) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let options = self.options.clone().application_name(name);
            let (mut conn, mut other) = (options.connect().await?, options.connect().await?);
            let looked = is_pooled(&mut conn, &mut other).await;
            drop(other.close().await);
            if looked? {
                return Err(trouble::pooled());
            }
            self.set_up(&mut conn, Purpose::Writing).await?;
            Ok(conn)
        };
        timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| trouble::timed_out("connecting", CONNECT_MAX))?
    }

    async fn set_up(&self, conn: &mut PgConnection, purpose: Purpose) -> Result<(), sqlx::Error> {
        let of_purpose = match purpose {
            Purpose::Writing => ON_WRITERS,
            Purpose::Reading => ON_READERS,
            Purpose::Beating => ON_BEAT,
        };
        // The schema's name was checked when the configuration was: lower case, digits and underscores.
        let schema = &self.schema;
        let mut sql = format!("{ON_ALL}; SET search_path = \"{schema}\"; {of_purpose}");
        if self.options.get_socket().is_none() {
            sql = format!("{sql}; {ON_NETWORK}");
        }
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await?;
        let row = sqlx::query(
            "SELECT pg_is_in_recovery(), current_setting('synchronous_commit'), current_setting('search_path')",
        )
        .fetch_one(&mut *conn)
        .await?;
        if row.try_get::<bool, _>(0)? {
            return Err(trouble::standby());
        }
        let (commit, path): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        if path.trim_matches('"') != schema || (purpose == Purpose::Writing && commit != "on") {
            return Err(trouble::pooled());
        }
        Ok(())
    }
}

/// How often is looked. A pooler that others use too may hand both connections what they had, by chance.
const LOOKS: u32 = 3;

/// Whether one session serves both connections in turn, or one connection has several: a pooler that gives a session
/// away after each transaction. With nobody else there it has one session for both; with others, one that is busy with
/// the one connection cannot serve the other. Nothing is prepared or set for it: that would stay with somebody else's.
async fn is_pooled(conn: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    for _ in 0..LOOKS {
        let alone = session(conn).await?;
        sqlx::raw_sql("BEGIN").execute(&mut *other).await?;
        let is_shared = session(other).await? == alone || session(conn).await? != alone;
        sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
        if is_shared {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn session(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(conn)
        .await?
        .try_get(0)
}

/// How far a clock may be off before that is told from the way there and back.
const CLOCK_OFF: u64 = 1000;

/// From here on this process goes by the server's clock, whatever this host's shows. `now`, by that clock.
pub(super) async fn follow_clock(conn: &mut PgConnection, now: Timestamp) -> Result<Timestamp, sqlx::Error> {
    let began = Instant::now();
    let row = sqlx::query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .fetch_one(conn)
        .await?;
    let shared = Timestamp::from_millis(row.try_get(0)?).plus(began.elapsed() / 2);
    let later = clock::follow(shared);
    Ok(if later.unsigned_abs() < CLOCK_OFF {
        now
    } else {
        Timestamp::from_millis(now.millis().saturating_add(later))
    })
}

fn ssl_mode(server: &Server) -> PgSslMode {
    match server.sslmode {
        // A socket has no TLS, and no wire to listen at.
        _ if matches!(server.host, Host::Socket(_)) => PgSslMode::Disable,
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Allow => PgSslMode::Allow,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    }
}
