//! `move`: the outbox carried over into PostgreSQL, or back into a file, while every daemon is stopped.

use std::io::Write;

use crate::clock;
use crate::config::{ApiKey, Environment, Loaded};
use crate::delivery;
use crate::model::Address;
use crate::store::{self, Moved};

use super::context::Global;
use super::database_file::describe;
use super::exit::{CliError, Exit};
use super::owner;
use super::render::escape::visible;
use super::terminal::ProgressLine;

/// The options of `move`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it goes: postgres://…, or a file that is not there yet
    #[arg(long, value_name = "PLACE")]
    to: String,

    /// The schema there, instead of outbox.schema
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
}

/// Moves. Crash at any point: the old outbox is as it was, and the new place has nothing of it, or all.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let old = global.load()?;
    let new = global.load_with_outbox(&args.to, args.schema.as_deref())?;
    let from = old.config.outbox.address()?.clone();
    let to = new.config.outbox.address()?.clone();
    refuse_one_kind(&from, &to)?;
    if args.schema.is_some() && to.server().is_none() {
        return Err(CliError::Usage("--schema is for a move into PostgreSQL".to_owned()).into());
    }
    // What only root may read is read by now.
    let scope = scope(&old);
    match &to {
        Address::File(file) => owner::become_owner_of_directory(file)?,
        Address::Server(_) => owner::become_owner_of(from.anchor())?,
    }
    old.home().make()?;
    let progress = ProgressLine::new("rows");
    let mut at = |done, total| progress.at(done, total);
    let moved = store::move_outbox(&from, &to, &scope, clock::now(), &mut at).await?;
    drop(progress);
    report(&moved, &from, &to, scope.is_empty(), out)?;
    Ok(Exit::Done)
}

fn refuse_one_kind(from: &Address, to: &Address) -> Result<(), CliError> {
    let instead = match (from, to) {
        (Address::File(_), Address::File(_)) => "`reten-outbox backup` and `restore` copy one file to another",
        (Address::Server(_), Address::Server(_)) => "pg_dump and pg_restore copy one schema to another",
        (Address::File(_), Address::Server(_)) | (Address::Server(_), Address::File(_)) => return Ok(()),
    };
    Err(CliError::Usage(format!(
        "`move` carries an outbox from a SQLite file into PostgreSQL or back, and outbox.database is {from}; {instead}"
    )))
}

/// Of the key that is sent by. Without one what waits for a working key waits for a person: it is told.
fn scope(loaded: &Loaded) -> String {
    let api = &loaded.config.api;
    let key = ApiKey::load(&api.key_file, &Environment::of_process());
    key.map_or_else(|_| String::new(), |(key, _)| delivery::key_scope(api, &key))
}

fn report(
    moved: &Moved,
    from: &Address,
    to: &Address,
    is_without_key: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let (old, new) = (from.to_string(), to.to_string());
    let (old, new) = (visible(&old), visible(&new));
    let total: u64 = moved.counts.values().sum();
    let what = if moved.was_there {
        "is there already, from an earlier move, and nothing was written"
    } else {
        "was carried over, read again and found equal"
    };
    writeln!(out, "the outbox {old} {what}\n  now in {new}")?;
    writeln!(out, "  {total} submissions: {}", describe(&moved.counts))?;
    if moved.recovered > 0 {
        writeln!(
            out,
            "  {} of them were in flight when a daemon last ended: they are pending, and maybe sent",
            moved.recovered
        )?;
    }
    if moved.refused > 0 && is_without_key && to.server().is_some() {
        writeln!(
            out,
            "  {} were refused with the API key, which could not be read here, and do not come back by themselves:\n  \
             reten-outbox requeue --state dead --reason unauthorized",
            moved.refused
        )?;
    }
    writeln!(out, "\nWhat to do next")?;
    match to {
        Address::Server(server) => {
            writeln!(out, "  outbox.database = \"{}\"", visible(&server.uri()))?;
            writeln!(out, "  outbox.schema = \"{}\"", server.schema)?;
        }
        Address::File(_) => writeln!(out, "  outbox.database = \"{new}\"")?,
    }
    writeln!(
        out,
        "      in the configuration of every daemon and of whoever calls `reten-outbox`\n  \
         systemctl start reten-outbox\n\n\
         Never start a daemon on {old} again, nor put anything into it: what it still\n\
         holds would be sent twice. It stays as it is, until you delete it."
    )
}
