//! What is asked of the process from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// The end; the signal's name.
    Stop(&'static str),
    /// To read configuration and key again.
    Reload,
}

/// The signals that are listened to. SIGPIPE is not among them: the standard library has it ignored from the first
/// instruction of `main`.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A reload was asked for while nobody could serve it.
    owes_reload: bool,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            owes_reload: false,
        })
    }

    /// The next one; first of all a reload that nobody has served yet.
    pub async fn next(&mut self) -> SignalRequest {
        if std::mem::take(&mut self.owes_reload) {
            return SignalRequest::Reload;
        }
        self.heard().await
    }

    /// The next one that asks for the end. A reload is kept for [`Signals::next`]: what was changed while a large
    /// outbox opened must not wait for another signal, which nobody would send.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            match self.heard().await {
                SignalRequest::Stop(name) => return name,
                SignalRequest::Reload => self.owes_reload = true,
            }
        }
    }

    async fn heard(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }
}
