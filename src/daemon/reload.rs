//! A reload: the whole new configuration with its key, or the old one stays as it is.

use std::path::PathBuf;

use crate::api::client::{Client, ClientError};
use crate::config::{ApiKey, Config, ConfigError, Environment, KeyError, Level, Loaded, PasswordError};
use crate::model::{Address, Server};

use super::key::KeyFile;

/// Where the configuration comes from, so that it can be loaded again the same way.
#[derive(Clone, Default)]
pub struct Source {
    pub explicit: Option<PathBuf>,
    /// The process's environment; a service's cannot change while it runs.
    pub environment: Environment,
    /// What `--log-level` said: goes before `log.level`, at a reload too.
    pub level: Option<Level>,
}

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The new one is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A place for the outbox's password has none that could be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There is no key to go with it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It names something that is open, and stays open as long as the process lives.
    #[error("{} cannot change while the daemon runs", .0.join(", "))]
    Restart(Vec<&'static str>),
    /// No request could be made with it (a certificate that cannot be read, for instance).
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ReloadError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Password(_) | Self::Client(_) => {
                "the old configuration stays in force; `reten-outbox check-config` shows what is wrong, \
                 SIGHUP tries again"
            }
            Self::Key(_) => "the old key stays in force; SIGHUP tries again, as does every change of the key file",
            Self::Restart(_) => "the old configuration stays in force as a whole; restart the daemon to change these",
        }
    }
}

impl Source {
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Config::load(self.explicit.as_deref(), &self.environment)?;
        if let Some(level) = self.level {
            loaded.config.log.level = level;
        }
        Ok(loaded)
    }

    /// Loads everything again, and proves that it can be used, before anything of it is in force.
    pub(super) fn reload(&self, old: &Config) -> Result<(Loaded, ApiKey, KeyFile), ReloadError> {
        let loaded = self.load()?;
        loaded.config.outbox.address()?;
        let fixed = fixed_that_differ(old, &loaded.config);
        if !fixed.is_empty() {
            return Err(ReloadError::Restart(fixed));
        }
        let (key_file, key) = KeyFile::load(&loaded.config.api.key_file, &self.environment)?;
        Client::new(&loaded.config.api, &key)?;
        Ok((loaded, key, key_file))
    }
}

/// The settings that are open files, locks and watches for the life of the process, where the two differ.
fn fixed_that_differ(old: &Config, new: &Config) -> Vec<&'static str> {
    let fixed = [
        ("inbox.dir", &old.inbox.dir, &new.inbox.dir),
        ("inbox.database", &old.inbox.database, &new.inbox.database),
    ];
    let differ = fixed.into_iter().filter(|(_, old, new)| old != new);
    let mut differ: Vec<_> = differ.map(|(key, _, _)| key).collect();
    differ.extend(of_outbox_that_differ(&old.outbox.database, &new.outbox.database));
    differ
}

/// Of where the outbox is.
fn of_outbox_that_differ(old: &Address, new: &Address) -> Vec<&'static str> {
    let (Address::Server(old), Address::Server(new)) = (old, new) else {
        return if old == new {
            Vec::new()
        } else {
            vec!["outbox.database"]
        };
    };
    let of_url = Server {
        password: old.password.clone(),
        schema: old.schema.clone(),
        node: old.node.clone(),
        allow_insecure: old.allow_insecure,
        ..Server::clone(new)
    };
    let parts = [
        ("outbox.database", of_url != **old),
        ("the outbox's password", old.password != new.password),
        ("outbox.schema", old.schema != new.schema),
        ("outbox.node", old.node != new.node),
        ("outbox.allow_insecure", old.allow_insecure != new.allow_insecure),
    ];
    parts
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn source(dir: &Path, settings: &str) -> Source {
        let path = dir.join("config.toml");
        let key = dir.join("api-key");
        fs::write(&path, format!("[api]\nkey_file = {key:?}\n{settings}")).unwrap();
        Source {
            explicit: Some(path),
            ..Source::default()
        }
    }

    #[test]
    fn a_reload_is_all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let first = source(dir.path(), "").load().unwrap().config;
        let reload = |settings: &str| source(dir.path(), settings).reload(&first);
        assert!(matches!(reload(""), Err(ReloadError::Key(KeyError::Missing { .. }))));
        fs::write(dir.path().join("api-key"), "rtn_sk_test").unwrap();
        assert!(matches!(
            reload("[retry]\nmultiplier = 0.5\n"),
            Err(ReloadError::Config(_))
        ));
        let refused =
            reload("[inbox]\ndir = \"/elsewhere/inbox\"\n[outbox]\ndatabase = \"/elsewhere/outbox/outbox.db\"\n")
                .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "inbox.dir, outbox.database cannot change while the daemon runs"
        );
        let outbox_at_url = |rest: &str| format!("[outbox]\ndatabase = \"postgres://me@localhost/db{rest}");
        let on_server = source(dir.path(), &outbox_at_url("\"\n")).load().unwrap().config;
        let changes = [
            ("?sslmode=require\"\n", "outbox.database"),
            (
                "\"\nschema = \"other\"\nnode = \"other\"\n",
                "outbox.schema, outbox.node",
            ),
        ];
        for (rest, expected) in changes {
            let refused = source(dir.path(), &outbox_at_url(rest)).reload(&on_server).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("{expected} cannot change while the daemon runs")
            );
        }
        let password = "keep_delivered = \"1d\"\npassword_file = ";
        let password = outbox_at_url(&format!("\"\n{password}{:?}\n", dir.path().join("api-key")));
        let refused = source(dir.path(), &password).reload(&on_server).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the outbox's password cannot change while the daemon runs"
        );
        assert!(
            source(dir.path(), &outbox_at_url("\"\nkeep_delivered = \"1d\"\n"))
                .reload(&on_server)
                .is_ok()
        );
        let (loaded, key, _) = reload("[retry]\nmax_interval = \"5m\"\n").unwrap();
        assert_eq!(loaded.config.retry.max_interval.as_secs(), 300);
        assert_eq!(key.reveal(), "rtn_sk_test");
    }

    #[test]
    fn the_level_of_the_command_line_stays_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = source(dir.path(), "[log]\nlevel = \"error\"\n");
        source.level = Some(Level::Debug);
        assert_eq!(source.load().unwrap().config.log.level, Level::Debug);
    }
}
