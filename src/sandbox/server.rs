//! The server: connections, from the first to the last, and what they share.
//!
//! A client may vanish at any point: hyper then drops the request's future, and what was registered stays registered.

use std::{io, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use super::{answer::Hangup, exchange, shared::SandboxState};

/// Connections served at once; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// After an error of `accept` (no descriptor is free, say): a loop without a pause would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Before an outage closes all connections: the answer to the request that ordered it is still to be sent.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` is ready, then closes them all.
pub(super) async fn run(
    shared: Arc<SandboxState>,
    mut outages: mpsc::Receiver<Duration>,
    mut listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut stop = pin!(stop);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Some(span) = outages.recv() => {
                let addr = listener.local_addr()?;
                drop(listener);
                sleep(LAST_WORDS).await;
                connections.shutdown().await;
                tokio::select! {
                    () = &mut stop => return Ok(()),
                    () = sleep(span) => listener = TcpListener::bind(addr).await?,
                }
            }
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&shared)));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    connections.shutdown().await;
    Ok(())
}

/// Serves one connection. Its errors are the client's leaving, or a hang-up that was asked for: neither is news.
async fn converse(stream: TcpStream, shared: Arc<SandboxState>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { exchange::respond(&shared, request).await }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else { return };
    let hangup = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Hangup>());
    if hangup == Some(&Hangup::Reset) {
        connection.into_parts().io.into_inner().set_zero_linger().ok();
    }
}
