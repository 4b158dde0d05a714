//! What a person types: the commands of the contract (interface.md, "Commands"), one thin file a verb.
//!
//! Results go to standard output, everything else to standard error. A verb returns how it ended, or an error whose exit code
//! [`exit::exit_code`] finds. Verbs decide nothing that a room below decides: they read options, call it, and show what came.

mod command;
mod context;
pub mod exit;
mod filter;
mod input;
mod owner;
pub(crate) mod render;
mod terminal;

mod act;
mod check_config;
mod completions;
mod demo;
mod edit;
mod enqueue;
mod export;
pub(crate) mod list;
mod man;
mod pause;
mod purge;
mod run;
mod sandbox;
mod show;
mod status;
mod validate;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::Parser as _;
use render::escape;

use crate::telemetry::journald::{self, ERROR_MARK};

pub use command::{Cli, Command, Global};
use exit::Exit;

/// The whole program: reads the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("cannot start the runtime")).into(),
    };
    let ended = runtime.block_on(dispatch(cli));
    // A read of standard input may still be blocked in its thread: it must not hold the exit up.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| failed(&error)).into()
}

async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    let mut out = standard_output();
    let exit = match cli.command {
        Command::Run => run::run(global).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Sandbox(args) => sandbox::run(args, &mut *out).await,
        Command::Enqueue(args) => enqueue::run(args, global, &mut *out).await,
        Command::Validate(args) => validate::run(args, global, &mut *out).await,
        Command::Status(args) => status::run(args, global, &mut *out).await,
        Command::List(args) => list::run(args, global, &mut *out).await,
        Command::Show(args) => show::run(args, global, &mut *out).await,
        Command::Requeue(args) => act::run(act::Verb::Requeue, args, global, &mut *out).await,
        Command::Override(args) => act::run(act::Verb::Override, args, global, &mut *out).await,
        Command::Accept(args) => act::run(act::Verb::Accept, args, global, &mut *out).await,
        Command::Dismiss(args) => act::run(act::Verb::Dismiss, args, global, &mut *out).await,
        Command::Edit(args) => edit::run(args, global, &mut *out).await,
        Command::Export(args) => export::run(args, global, &mut *out).await,
        Command::Pause(args) => pause::pause(args, global, &mut *out).await,
        Command::Resume => pause::resume(global, &mut *out).await,
        Command::Purge(args) => purge::run(args, global, &mut *out).await,
        Command::CheckConfig(args) => check_config::run(&args, global, &mut *out),
        Command::Completions(args) => completions::run(&args, &mut *out),
        Command::Man(args) => man::run(&args, &mut *out),
    };
    // Also when it failed: what was done is told.
    let flushed = out.flush();
    let exit = exit?;
    flushed?;
    Ok(exit)
}

/// On a terminal each line comes at once, in its order with what is said on standard error; into a pipe or a file in blocks.
fn standard_output() -> Box<dyn Write> {
    let out = io::stdout();
    if out.is_terminal() {
        Box::new(out)
    } else {
        Box::new(io::BufWriter::new(out))
    }
}

/// Tells the failure; its exit code.
fn failed(error: &anyhow::Error) -> Exit {
    if exit::is_broken_pipe(error) {
        return Exit::Done;
    }
    let message = format!("{error:#}");
    if journald::is_standard_error() {
        // `journalctl -p err` must tell why a daemon did not start. Each line is an entry, which has our name already.
        for line in message.split('\n') {
            let _ = writeln!(io::stderr(), "{ERROR_MARK}{}", escape::visible(line));
        }
    } else {
        note(&message);
    }
    exit::exit_code(error)
}

/// A message for the person, on standard error. It may have lines; everything else that is hidden is escaped. Where nobody reads
/// standard error there is nobody to tell.
fn note(message: &str) {
    let _ = writeln!(io::stderr(), "reten-outbox: {}", escape::lines(message));
}
