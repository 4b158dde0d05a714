//! Which key the daemon holds, told to those who have put another one in place: with a credential of systemd a new key
//! comes with a restart, and who forgets that is refused as before. Never the key, and nothing that a guess of it could
//! be tried on: 32 bits of a hash tell two keys apart and fit four thousand million others as well.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock;
use crate::config::{ApiKey, KeyPlace};
use crate::model::hexadecimal;
use crate::store::Outbox;

/// The name under which the outbox remembers it ([`HeldKey`] as JSON).
pub const HELD_KEY: &str = "held_key";

/// The bytes of the hash that are kept.
const PRINT_BYTES: usize = 4;
/// Between two tries to store it. That the outbox cannot be written is told by those who need it.
const RETRY: Duration = Duration::from_secs(5);

/// The key that a daemon goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    /// The daemon's process: what another one stored says nothing.
    pub pid: u32,
    /// Where it was found.
    pub place: String,
    /// What brings another one; `None` where the daemon takes it by itself.
    pub renewed_by: Option<String>,
    salt: u64,
    print: String,
}

impl HeldKey {
    /// That of this process. The salt makes the prints of two outboxes differ.
    pub fn of(key: &ApiKey, place: &KeyPlace, salt: u64) -> Self {
        Self {
            pid: std::process::id(),
            place: place.to_string(),
            renewed_by: renewed_by(place),
            salt,
            print: print(key, salt),
        }
    }

    /// Whether the daemon holds this one.
    pub fn is(&self, key: &ApiKey) -> bool {
        self.print == print(key, self.salt)
    }
}

fn print(key: &ApiKey, salt: u64) -> String {
    let hash = Sha256::new()
        .chain_update(salt.to_be_bytes())
        .chain_update(key.reveal())
        .finalize();
    hexadecimal(&hash[..PRINT_BYTES])
}

/// What brings a new key, where the daemon does not look for it by itself.
pub(super) fn renewed_by(place: &KeyPlace) -> Option<String> {
    match place {
        KeyPlace::Credential(path) => Some(format!("systemctl restart {}", unit_of(path).unwrap_or("reten-outbox"))),
        KeyPlace::File(_) => None,
        KeyPlace::Environment => Some("a restart of the daemon".to_owned()),
    }
}

/// The unit that a credential was given to: systemd names their directory by it.
fn unit_of(credential: &Path) -> Option<&str> {
    credential.parent()?.file_name()?.to_str()?.strip_suffix(".service")
}

/// Keeps what the outbox remembers true until `shutdown` says so.
pub(super) async fn run(
    outbox: Outbox,
    held: watch::Receiver<HeldKey>,
    mut shutdown: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    tokio::select! {
        kept = keep(&outbox, held) => kept,
        // An error is a sender that is gone: the end as well.
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
    }
}

async fn keep(outbox: &Outbox, mut held: watch::Receiver<HeldKey>) -> anyhow::Result<()> {
    loop {
        let text = serde_json::to_string(&*held.borrow_and_update())?;
        if outbox.remember(HELD_KEY, Some(text), clock::now()).await.is_err() {
            sleep(RETRY).await;
            // With what is held by then.
            held.mark_changed();
        }
        if held.changed().await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn two_keys_are_told_apart_and_neither_is_kept() {
        let place = KeyPlace::Credential("/run/credentials/reten-outbox@acme.service/api-key".into());
        let held = HeldKey::of(&key("rtn_sk_first"), &place, 7);
        assert!(held.is(&key("rtn_sk_first")) && !held.is(&key("rtn_sk_second")));
        let text = serde_json::to_string(&held).unwrap();
        assert!(!text.contains("rtn_sk") && held.print.len() == 8, "{text}");
        assert_ne!(held.print, HeldKey::of(&key("rtn_sk_first"), &place, 8).print);
    }

    #[test]
    fn what_brings_a_new_one_names_the_tenants_unit() {
        let renewed = |directory: &str| renewed_by(&KeyPlace::Credential(Path::new(directory).join("api-key")));
        for (directory, expected) in [
            (
                "/run/credentials/reten-outbox@acme.service",
                "systemctl restart reten-outbox@acme",
            ),
            ("/run/secrets", "systemctl restart reten-outbox"),
        ] {
            assert_eq!(renewed(directory).as_deref(), Some(expected));
        }
        assert_eq!(renewed_by(&KeyPlace::File("/etc/reten-outbox/api-key".into())), None);
    }
}
