//! A few connections that read, each taken out while it is used. It comes back only when its work is done: what was
//! dropped half-way, or took longer than its limit, leaves a connection that nobody uses again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::store::StoreError;

use super::connect::{Connector, Purpose};
use super::trouble;

/// How long a query of a reader may take.
pub(super) const READ_MAX: Duration = Duration::from_secs(30);
/// The same of one that the loops wait for.
pub(super) const GLANCE_MAX: Duration = Duration::from_secs(5);
/// Readers at a time.
const READERS: usize = 4;

/// The readers.
#[derive(Debug)]
pub(super) struct Readers {
    connector: Connector,
    name: String,
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
}

/// A reader, taken out.
#[derive(Debug)]
pub(super) struct Reader<'r> {
    conn: PgConnection,
    readers: &'r Readers,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(connector: Connector, name: &str) -> Self {
        Self {
            connector,
            name: name.to_owned(),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Takes one, made where none is idle.
    pub(super) async fn take(&self) -> Result<Reader<'_>, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.make().await.map_err(|error| trouble::store_error(&error))?,
        };
        Ok(Reader {
            conn,
            readers: self,
            _permit: permit,
        })
    }

    async fn make(&self) -> Result<PgConnection, sqlx::Error> {
        self.connector.connect(Purpose::Reading, &self.name).await
    }

    /// No more are given out.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Reader<'_> {
    /// What was read; the connection goes back where it is still good. Of one that broke the others are suspect too:
    /// the server has ended, or the way to it.
    pub(super) fn done<T>(self, outcome: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        let Self { conn, readers, _permit } = self;
        let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = &outcome
            && trouble::is_of_connection(error)
        {
            idle.clear();
        } else if !readers.permits.is_closed() {
            idle.push(conn);
        }
        outcome.map_err(|error| trouble::store_error(&error))
    }
}

impl Deref for Reader<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

/// Ends what takes longer than this.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work)
        .await
        .map_err(|_| trouble::timed_out(what, limit))?
}
