//! An outbox for one test, in either kind of store, and the few steps that most tests are made of.

use super::*;
use crate::model::address::PORT;
use crate::model::{Host, Server, SslMode};

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty outbox of its own, opened as the daemon.
pub(in crate::store) struct Bench {
    /// What is beside the outbox, and of SQLite the outbox itself.
    pub(in crate::store) directory: TempDir,
    pub(in crate::store) address: Address,
    pub(in crate::store) outbox: Outbox,
}

/// A directory in memory where there is one: these tests are about what is committed, not about the disk.
pub(in crate::store) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A schema that does not exist yet, on the server of the tests; `None` where there is none.
pub(super) fn shared(directory: &TempDir) -> Option<Address> {
    let server = postgres::Server::get()?;
    Some(Address::Server(Box::new(Server {
        host: Host::Socket(server.socket_dir().to_owned()),
        port: PORT,
        database: "postgres".to_owned(),
        user: postgres::USER.to_owned(),
        password: None,
        sslmode: SslMode::Disable,
        sslrootcert: None,
        sslcert: None,
        sslkey: None,
        schema: server.fresh_schema(),
        node: "here".to_owned(),
        allow_insecure: false,
        anchor: directory.path().join("outbox"),
    })))
}

async fn open(address: &Address, role: Role, now: Timestamp) -> Result<Outbox, OpenError> {
    Outbox::open(address, role, now).await
}

impl Bench {
    /// `None` where this kind of store cannot be had here.
    pub(in crate::store) async fn fresh(kind: Kind) -> Option<Self> {
        let directory = directory();
        let address = match kind {
            Sqlite => Address::File(directory.path().join("outbox.db")),
            Postgres => shared(&directory)?,
        };
        let outbox = open(&address, Role::Daemon, NOW).await.unwrap();
        Some(Self {
            directory,
            address,
            outbox,
        })
    }

    /// For what is about the file.
    pub(in crate::store) async fn sqlite() -> Self {
        Self::fresh(Sqlite).await.unwrap()
    }

    /// The file of [`Bench::sqlite`].
    pub(in crate::store) fn path(&self) -> PathBuf {
        self.address.anchor().to_owned()
    }

    /// This record of its daemon as it is read again.
    pub(in crate::store) fn stored(&self, record: Attempt) -> Attempt {
        let node = self.address.server().map(|server| server.node.clone());
        Attempt { node, ..record }
    }

    /// Opens it once more, beside the daemon.
    pub(in crate::store) async fn open(&self, role: Role, now: Timestamp) -> Result<Outbox, OpenError> {
        open(&self.address, role, now).await
    }

    /// Ends as a crash would (nothing is finished that was begun), and opens again at `now`.
    pub(in crate::store) async fn reopen(mut self, now: Timestamp) -> Self {
        self.outbox.close().await;
        self.outbox = self.open(Role::Daemon, now).await.unwrap();
        self
    }

    /// Admits one, which must be accepted or invalid; its number.
    pub(in crate::store) async fn admit(&self, entry: Entry) -> SubmissionId {
        let admission = Admission {
            entries: vec![entry],
            receipts: Vec::new(),
        };
        match self.outbox.admit(admission, NOW).await.unwrap().remove(0) {
            Admitted::Accepted(id) | Admitted::Invalid { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub(in crate::store) async fn claim_at(&self, limit: u32, now: Timestamp) -> Vec<Claimed> {
        let request = ClaimRequest {
            limit,
            order: ClaimOrder::Due,
            now,
            wait_max: WAIT_MAX,
        };
        self.outbox.claim(request).await.unwrap()
    }

    pub(in crate::store) async fn claim(&self) -> Vec<Claimed> {
        self.claim_at(100, NOW).await
    }

    pub(in crate::store) async fn settle(&self, claimed: &Claimed, ending: Ending) -> Settled {
        self.outbox.settle(settlement(claimed, ending), NOW).await.unwrap()
    }

    pub(in crate::store) async fn act(&self, id: SubmissionId, act: Act) -> Acted {
        self.act_with(id, act, false).await
    }

    pub(in crate::store) async fn act_with(&self, id: SubmissionId, act: Act, force: bool) -> Acted {
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

    pub(in crate::store) async fn state(&self, id: SubmissionId) -> State {
        self.outbox.show(id).await.unwrap().unwrap().listed.state
    }
}
