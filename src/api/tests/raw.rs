//! A server that says exactly the bytes it is told to.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A server that reads one whole request a connection and then does as it is told.
pub(super) struct Raw {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Raw {
    pub(super) async fn start<F, D>(deed: F) -> Self
    where
        F: Fn(TcpStream, String) -> D + Send + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let request = read_request(&mut stream).await;
                tokio::spawn(deed(stream, request));
            }
        });
        Self {
            address,
            connections,
            serving,
        }
    }

    /// One that answers every request with these bytes and closes.
    pub(super) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |mut stream, _| {
            let bytes = bytes.clone();
            async move {
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.ok();
            }
        })
        .await
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if read.first() == Some(&0x16) {
            return "the beginning of a TLS handshake".to_owned();
        }
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if read.len() >= end + 4 + length {
                return text;
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return text,
            Ok(count) => read.extend_from_slice(&piece[..count]),
        }
    }
}

/// Serves a chunked body that never ends, in pieces of this size at this pace.
pub(super) async fn never_ending(size: usize, pace: Duration) -> Raw {
    Raw::start(move |mut stream, _| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .ok();
        let piece = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        while stream.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(pace).await;
        }
    })
    .await
}

/// Closes with unread bytes in the way, which makes a reset of it.
pub(super) fn reset(mut socket: &std::net::TcpStream) {
    socket.write_all(b"HTTP/1.1").ok();
    socket.shutdown(std::net::Shutdown::Both).ok();
}
