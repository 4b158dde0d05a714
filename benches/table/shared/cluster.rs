//! A server of our own, and databases in it with a filled outbox each.

use std::collections::HashSet;

use reten_outbox::bench::{Address, Host, Server, SslMode};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::daemon::Place;
use crate::fill::{self, Activities};
use crate::sizes::Sizes;

#[path = "../../../tests/postgres/mod.rs"]
mod postgres;

/// The tables' schema where the configuration names none.
pub const SCHEMA: &str = "reten_outbox";

/// What a server of its own would have: durable, and with room.
const SETTINGS: &[&str] = &[
    "fsync=on",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
    "wal_compression=on",
    "shared_preload_libraries=pg_stat_statements",
];

pub struct Cluster {
    pub server: postgres::Server,
    runtime: tokio::runtime::Runtime,
    filled: HashSet<String>,
    copies: u32,
}

impl Cluster {
    /// `None`, and said, where PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        Some(Self {
            server: postgres::Server::with(SETTINGS)?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            filled: HashSet::new(),
            copies: 0,
        })
    }

    /// A new database whose outbox has so many pending, written back to the disk.
    pub fn filled(&mut self, results: u64, activities: Activities) -> String {
        let full = format!("filled_{activities:?}_{results}").to_lowercase();
        if self.filled.insert(full.clone()) {
            self.run("postgres", &[&format!("CREATE DATABASE {full}")]);
            let address = self.address(&full, &std::env::temp_dir());
            self.runtime.block_on(fill::fill(address, results, activities));
            self.run(&full, &["VACUUM ANALYZE"]);
        }
        self.copies += 1;
        let copy = format!("copy_{}", self.copies);
        let create = format!("CREATE DATABASE {copy} TEMPLATE {full} STRATEGY file_copy");
        self.run("postgres", &[&create, "CHECKPOINT"]);
        fill::sync();
        copy
    }

    pub fn drop(&self, database: &str) {
        self.run("postgres", &[&format!("DROP DATABASE {database} WITH (FORCE)")]);
    }

    /// A daemon's place whose outbox is in this database; its name is its directory's.
    pub fn place(&self, sizes: &Sizes, database: &str, api: &str, in_flight: u64) -> Place {
        let mut place = Place::new(sizes, api, in_flight);
        let url = format!(
            "postgres://{}@/{database}?host={}",
            postgres::USER,
            self.server.socket_dir().display()
        );
        let address = self.address(database, &place.state());
        place.share(address, &url);
        place
    }

    pub fn address(&self, database: &str, state: &std::path::Path) -> Address {
        Address::Server(Box::new(Server {
            host: Host::Socket(self.server.socket_dir().to_owned()),
            port: 5432,
            database: database.to_owned(),
            user: postgres::USER.to_owned(),
            password: None,
            sslmode: SslMode::Disable,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            schema: SCHEMA.to_owned(),
            node: "bench".to_owned(),
            allow_insecure: false,
            anchor: state.join("outbox"),
        }))
    }

    /// Each of these statements by itself, as the server's owner.
    pub fn run(&self, database: &str, statements: &[&str]) {
        self.runtime.block_on(async {
            let mut conn = self.connected(database).await;
            for statement in statements {
                let done = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned()))
                    .execute(&mut conn)
                    .await;
                done.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            conn.close().await.unwrap();
        });
    }

    /// What one statement answers, one number.
    pub fn number(&self, database: &str, statement: &str) -> i64 {
        self.runtime.block_on(async {
            let mut conn = self.connected(database).await;
            let asked = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()));
            let number = asked.fetch_one(&mut conn).await;
            conn.close().await.unwrap();
            number.unwrap_or_else(|error| panic!("{statement}: {error}"))
        })
    }

    /// What one statement answers, a text a row.
    pub fn lines(&self, database: &str, statement: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut conn = self.connected(database).await;
            let asked = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()));
            let lines = asked.fetch_all(&mut conn).await;
            conn.close().await.unwrap();
            lines.unwrap_or_else(|error| panic!("{statement}: {error}"))
        })
    }

    /// A connection that does this and stays until it is dropped.
    pub fn holding(&self, database: &str, statements: &str) -> PgConnection {
        self.runtime.block_on(async {
            let mut conn = self.connected(database).await;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
                .execute(&mut conn)
                .await
                .unwrap();
            conn
        })
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    async fn connected(&self, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.server.socket_dir())
            .username(postgres::USER)
            .database(database);
        PgConnection::connect_with(&options).await.unwrap()
    }
}
