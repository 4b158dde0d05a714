//! A local simulator of the Reten integration API: for the demo, for rehearsals, and for every end-to-end test.
//!
//! It keeps the documented contract (key, permissions, validation, result types, 409), and it can be told to fail: by a
//! script that a result carries in its `external_status` (`sim:503x2,drop-after-accept`), by chance, or for all
//! requests through the endpoints under `/_sandbox/`. It uses nothing of the daemon: a misreading of the API must not
//! be made twice in the same words.
//!
//! - `rules`: the contract, pure. `faults`: scripts and chance, pure.
//! - `shared`: options, settings and what they lead to. `server`: connections. `exchange`: one request from arrival to
//!   answer. `contract`: the API when all is well. `answer`: bodies, the broken ones too. `ledger`: what is remembered.
//! - `control`: the endpoints under `/_sandbox/`.
//!
//! It remembers in memory only: a restarted sandbox has registered nothing. No failure of a client stops it.

mod answer;
mod contract;
mod control;
mod exchange;
mod faults;
mod ledger;
mod rules;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use self::shared::SandboxState;
#[cfg(test)]
pub use self::{
    ledger::{Answered, Record},
    shared::RESULT_TYPES_PATH,
};
pub use self::{
    ledger::{Registered, Stats},
    shared::{DEFAULT_API_KEY, OnRequest, Options, Permission, SUBMIT_PATH, Settings},
};

/// A sandbox running on the current tokio runtime. Dropping it stops it.
pub struct Sandbox {
    addr: SocketAddr,
    shared: Arc<SandboxState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Binds `options.listen` and starts serving.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let (shared, outages) = SandboxState::new(options);
        let (stop, stopped) = oneshot::channel();
        let serving = server::run(Arc::clone(&shared), outages, listener, async {
            // An error is the handle that was dropped: a stop too.
            stopped.await.ok();
        });
        Ok(Self {
            addr,
            shared,
            stop,
            task: tokio::spawn(serving),
        })
    }

    /// What `api.base_url` is to be to reach it.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The registered results, in order of their first registration.
    pub fn results(&self) -> Vec<Registered> {
        self.shared.ledger.results()
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Stops listening, closes every connection, and returns when that is done.
    pub async fn stop(self) -> io::Result<()> {
        // An error is a server that ended by itself; the task knows why.
        self.stop.send(()).ok();
        self.task.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
impl Sandbox {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The kept requests, in order of arrival.
    pub fn requests(&self) -> Vec<Record> {
        self.shared.ledger.requests()
    }

    /// Replaces the settings, for the requests that come from now on.
    pub fn set(&self, settings: Settings) {
        self.shared.set(settings);
    }

    /// Lets every held request go on; returns how many there were.
    pub fn release(&self) -> usize {
        self.shared.release()
    }
}

/// Serves on `listener` until `stop` is ready; then closes every connection and returns.
pub async fn serve(options: Options, listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (shared, outages) = SandboxState::new(options);
    server::run(shared, outages, listener, stop).await
}
