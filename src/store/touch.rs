//! What hears of writes, of ours and of others, from outside: for who is at rest and would only ask.

use tokio::sync::watch;

use super::sqlite;

/// An ear on one outbox.
#[derive(Debug)]
pub struct Touch(Ear);

#[derive(Debug)]
enum Ear {
    /// On the file's WAL.
    File(sqlite::Touch),
    /// On what the beat has seen of the server; and whether it is listened to.
    Server(watch::Receiver<u64>, bool),
}

impl Touch {
    pub(super) const fn of_file(touch: sqlite::Touch) -> Self {
        Self(Ear::File(touch))
    }

    pub(super) const fn of_server(others: watch::Receiver<u64>) -> Self {
        Self(Ear::Server(others, false))
    }

    pub const fn is_listening(&self) -> bool {
        match &self.0 {
            Ear::File(touch) => touch.is_listening(),
            Ear::Server(_, is_listening) => *is_listening,
        }
    }

    /// Listens from now on; what was written before is not heard. False where there is nothing to be heard.
    pub fn listen(&mut self) -> bool {
        match &mut self.0 {
            Ear::File(touch) => touch.listen(),
            Ear::Server(others, is_listening) => {
                if !*is_listening {
                    others.mark_unchanged();
                }
                *is_listening = true;
                true
            }
        }
    }

    /// Listens no more.
    pub fn rest(&mut self) {
        match &mut self.0 {
            Ear::File(touch) => touch.rest(),
            Ear::Server(_, is_listening) => *is_listening = false,
        }
    }

    /// Waits until something is written, and listens no more; for ever where it does not listen. Cancel safe.
    pub async fn heard(&mut self) {
        match &mut self.0 {
            Ear::File(touch) => touch.heard().await,
            Ear::Server(others, is_listening) => {
                if !*is_listening || others.changed().await.is_err() {
                    return std::future::pending().await;
                }
                *is_listening = false;
            }
        }
    }
}
