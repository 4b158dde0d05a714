//! What every command that opens the outbox begins with: the options of all, the configuration, who acts, as whom, and
//! one moment that is the present.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use strum::VariantArray as _;

use crate::clock::{self, Timestamp};
use crate::config::{Config, ConfigError, Environment, Home, Level, Loaded};
use crate::model::{Actor, Address};
use crate::store::{self, OpenError, Outbox, Role, Running};

use super::output::note;
use super::owner;

/// The options of every command.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "help texts, which a terminal shows as they are")]
pub struct Global {
    /// The configuration file [default: $RETEN_OUTBOX_CONFIG, else /etc/reten-outbox/config.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        display_order = 900,
        overrides_with = "config"
    )]
    pub config: Option<PathBuf>,

    /// The least level that is logged, instead of log.level
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        display_order = 901,
        overrides_with = "log_level",
        value_parser = PossibleValuesParser::new(Level::VARIANTS.iter().map(Level::into_str))
            .try_map(|name| name.parse::<Level>())
    )]
    pub log_level: Option<Level>,
}

impl Global {
    /// The effective configuration, with what these options say over it.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Config::load(self.config.as_deref(), &Environment::of_process())?;
        if let Some(level) = self.log_level {
            loaded.config.log.level = level;
        }
        Ok(loaded)
    }

    /// The effective configuration, were the outbox elsewhere: a place, and a schema instead of the configured one.
    pub fn load_with_outbox(&self, place: &str, schema: Option<&str>) -> Result<Loaded, ConfigError> {
        let mut env = Environment::of_process().with("RETEN_OUTBOX__OUTBOX__DATABASE", place);
        if let Some(schema) = schema {
            env = env.with("RETEN_OUTBOX__OUTBOX__SCHEMA", schema);
        }
        Config::load(self.config.as_deref(), &env)
    }

    /// Of a configuration that cannot be used, what can be read of it.
    pub fn salvage(&self) -> Option<(Config, bool)> {
        Config::salvage(self.config.as_deref(), &Environment::of_process())
    }
}

#[derive(Debug, Clone)]
pub struct Context {
    pub config: Config,
    /// What of its places is made where it is missing.
    pub home: Home,
    /// Who runs the command.
    pub user: String,
}

impl Context {
    /// Reads the configuration, asks who we are, and only then, as root, becomes the outbox's owner. What else only
    /// root may read has to be read before this.
    pub fn enter(global: &Global) -> anyhow::Result<Self> {
        let loaded = global.load()?;
        let home = loaded.home();
        let Loaded { config, .. } = loaded;
        Self::of(config, home)
    }

    /// To look, and to write what was seen where root may: as root the outbox has to be read as its owner
    /// ([`owner::as_owner_of`]).
    pub fn to_look(global: &Global) -> anyhow::Result<Self> {
        let loaded = global.load()?;
        let home = loaded.home();
        Ok(Self {
            config: loaded.config,
            home,
            user: owner::invoking_user(),
        })
    }

    /// The same with a configuration that was read already.
    pub fn of(config: Config, home: Home) -> anyhow::Result<Self> {
        let user = owner::invoking_user();
        if let Some(wrong) = owner::misplaced(config.outbox.database.anchor()) {
            note(&wrong);
        }
        owner::become_owner_of(config.outbox.database.anchor())?;
        Ok(Self { config, home, user })
    }

    /// Its present. Asked after the outbox was opened: one that hosts share brings its own clock.
    #[expect(clippy::unused_self, reason = "as everything else that a command goes by")]
    pub fn now(&self) -> Timestamp {
        clock::now()
    }

    /// The operator, as history names them.
    pub fn actor(&self) -> Actor {
        Actor::User(self.user.clone())
    }

    /// The daemon of this host that holds the lock of this outbox.
    pub fn daemon(&self) -> Option<Running> {
        store::daemon_is_running(self.config.outbox.database.anchor())
    }

    /// Opens the outbox to look at it; `None` before the first start.
    pub async fn open_to_read(&self) -> anyhow::Result<Option<Outbox>> {
        match Outbox::open(self.config.outbox.address()?, Role::Reader, self.now()).await {
            Ok(outbox) => Ok(Some(outbox)),
            Err(OpenError::Missing(_)) => Ok(None),
            Err(error @ (OpenError::InUse(_) | OpenError::Busy(_) | OpenError::Unusable(_))) => Err(error.into()),
        }
    }

    /// Opens the outbox to change it, and creates it where there is none.
    pub async fn change(&self) -> anyhow::Result<Outbox> {
        self.home.make()?;
        Ok(Outbox::open(self.config.outbox.address()?, Role::Tool, self.now()).await?)
    }

    /// Opens the outbox to change what is in it; `None` before the first start, when there is nothing to change.
    pub async fn change_existing(&self) -> anyhow::Result<Option<Outbox>> {
        let path = match &self.config.outbox.database {
            Address::File(path) => path,
            Address::Server(_) => {
                let Some(outbox) = self.open_to_read().await? else {
                    return Ok(None);
                };
                outbox.close().await;
                return self.change().await.map(Some);
            }
        };
        match std::fs::metadata(path) {
            Ok(_) => self.change().await.map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(OpenError::Unusable(format!("{}: {error}", path.display()))).context("the outbox cannot be opened")
            }
        }
    }

    /// What there is to say when there is no outbox yet.
    pub fn none_yet(&self) -> String {
        format!(
            "there is no outbox yet at {}; `reten-outbox run` (or `enqueue`) makes it",
            self.config.outbox.database
        )
    }
}
