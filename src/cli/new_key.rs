//! A new key that the daemon does not hold yet: what `resume` says of it.

use anyhow::Context as _;

use crate::config::{ApiKey, Environment, KeyError};
use crate::daemon::{HELD_KEY, HeldKey};
use crate::store::Outbox;

use super::context::{Context, Global};
use super::gate::remembered;
use super::render::escape::visible;

/// What `api.key_file` holds, as far as it can be read.
#[derive(Debug)]
pub struct Placed {
    file: String,
    key: Result<ApiKey, KeyError>,
}

impl Placed {
    /// Before [`Context::enter`], after which root is the outbox's owner, who may not read the file. The
    /// environment is the operator's, not the daemon's, and says nothing.
    pub fn read(global: &Global) -> anyhow::Result<Self> {
        let config = global.load()?.config;
        let key = ApiKey::load(&config.api.key_file, &Environment::default()).map(|(key, _)| key);
        Ok(Self {
            file: config.api.key_file.display().to_string(),
            key,
        })
    }

    /// What there is to say; nothing where no daemon runs, or it holds what is in place and the gate is open.
    pub async fn compare(
        &self,
        outbox: &Outbox,
        context: &Context,
        is_unauthorized: bool,
    ) -> anyhow::Result<Option<String>> {
        let held = remembered::<HeldKey>(outbox, HELD_KEY)
            .await
            .context("which key the daemon holds cannot be told")?;
        let pid = context.daemon().and_then(|daemon| daemon.pid);
        let held = held.filter(|held| pid == Some(held.pid));
        Ok(held.and_then(|held| self.differs_from(&held, is_unauthorized)))
    }

    fn differs_from(&self, held: &HeldKey, is_unauthorized: bool) -> Option<String> {
        let file = visible(&self.file);
        let renewed_by = held.renewed_by.as_deref().map(|command| visible(command).to_string());
        match (&self.key, renewed_by) {
            (Ok(key), Some(command)) if !held.is(key) => Some(format!(
                "the daemon still holds the key of its start, and {file} has another one: \
                 `{command}` brings it into force"
            )),
            (Ok(key), None) if !held.is(key) => Some(format!(
                "the daemon still holds the key that {file} had before; it looks every few seconds, \
                 and its log says what hinders it"
            )),
            (Ok(_), _) if is_unauthorized => Some(format!("the daemon holds the very key that is in {file}")),
            (Err(wrong @ (KeyError::Malformed { .. } | KeyError::Unreadable { .. })), _) => {
                Some(format!("a new key? {}", visible(&wrong.to_string())))
            }
            // Only root may read it, or it lies elsewhere, encrypted maybe.
            (Err(KeyError::Missing { .. } | KeyError::Forbidden { .. }), Some(command)) if is_unauthorized => Some(
                format!("the daemon holds the key of its start; one that was put in place since needs `{command}`"),
            ),
            (Ok(_) | Err(KeyError::Missing { .. } | KeyError::Forbidden { .. }), _) => None,
        }
    }
}
