//! `check-config`: the effective configuration, and everything that is wrong with it or that it names.

use std::io::Write;
use std::path::Path;

use crate::config::{ApiKey, Environment, KeyError, Loaded};

use super::context::Global;
use super::exit::{CliError, Exit};
use super::output::note;
use super::postgres_tools;

/// The options of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print only what is wrong
    #[arg(long, short)]
    quiet: bool,

    /// Print the SQL that prepares PostgreSQL for the outbox, for an administrator's psql: role, schema, grants
    #[arg(long, conflicts_with = "quiet")]
    sql: bool,
}

/// Prints it. What is wrong is an error with all of it; what is only missing yet is a warning.
pub fn run(args: &Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = global.load()?;
    if args.sql {
        let server = loaded.config.outbox.database.server().ok_or_else(|| {
            CliError::Usage(format!(
                "outbox.database is a file, {}, and needs no SQL; --sql is for postgres://USER@HOST/DATABASE",
                loaded.config.outbox.database
            ))
        })?;
        write!(out, "{}", postgres_tools::preparation(server))?;
        return Ok(Exit::Done);
    }
    let environment = Environment::of_process();
    if !args.quiet {
        write!(out, "{}", loaded.to_toml())?;
    }
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(missing_directories(&loaded));
    match ApiKey::load(&loaded.config.api.key_file, &environment) {
        Ok(_) => {}
        // Whether a key that only the daemon may read is right, the daemon will say. In a unit's ExecReload even its
        // own credential is hidden.
        Err(unknown @ (KeyError::Missing { .. } | KeyError::Forbidden { .. })) => warnings.push(unknown.to_string()),
        Err(wrong @ (KeyError::Unreadable { .. } | KeyError::Malformed { .. })) => return Err(wrong.into()),
    }
    match loaded.config.outbox.address() {
        Ok(_) => {}
        Err(unknown) if unknown.is_forbidden => warnings.push(unknown.to_string()),
        Err(wrong) => return Err(wrong.into()),
    }
    for warning in warnings.iter().filter(|_| !args.quiet) {
        note(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

/// The directories that `run` will want and not make.
fn missing_directories(loaded: &Loaded) -> Vec<String> {
    let (config, home) = (&loaded.config, loaded.home());
    let parents = [
        ("inbox.database", config.inbox.database.parent()),
        ("outbox.database", config.outbox.database.anchor().parent()),
    ];
    let wanted = std::iter::once(("inbox.dir", Some(config.inbox.dir.as_path()))).chain(parents);
    wanted
        .filter_map(|(key, directory)| Some((key, directory.filter(|directory| *directory != Path::new(""))?)))
        .filter(|(_, directory)| !directory.is_dir() && !home.has(directory))
        .map(|(key, directory)| format!("{key}: there is no directory {}; `run` needs it", directory.display()))
        .collect()
}
