//! What an operator types: the commands (the README, "Commands"), one thin file a verb.
//!
//! Results go to standard output, everything else to standard error. A verb returns how it ended, or an error whose
//! exit code [`exit::exit_code`] finds. Verbs decide nothing that a room below decides: they read options, call it, and
//! show what came.

mod command;
mod context;
mod database_file;
mod exit;
mod failures;
mod filter;
mod gate;
mod inbox_form;
mod input;
mod output;
mod owner;
mod paging;
mod postgres_tools;
mod render;
mod screen;
mod terminal;

mod act;
mod backup;
mod check_config;
mod completions;
mod demo;
mod draft_file;
mod edit;
mod enqueue;
mod export;
mod list;
mod man;
mod metrics;
mod move_outbox;
mod new_key;
mod pause;
mod purge;
mod report;
mod restore;
mod review;
mod run;
mod salvage;
mod sandbox;
mod show;
mod status;
mod top;
mod validate;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use render::escape;

use crate::intake::rows;
use crate::model::Act;
use crate::telemetry::journald::{self, ERROR_MARK};

use command::{Cli, Command};
use context::Global;
use exit::Exit;
use output::{Lasting, UntilClosed, note};

/// The whole program: reads the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == rows::CLERK) {
        // A child of this program, which has a configuration and a runtime of its own kind, and nobody to tell anything
        // but its parent.
        return rows::serve().map_or(Exit::Failed, |()| Exit::Done).into();
    }
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
    let mut out = output::standard_output();
    if cli.command.ends_with_its_reader() {
        let mut shown = UntilClosed::new(&mut *out);
        let exit = run_verb(cli.command, &cli.global, &mut shown).await;
        return shown.finish(exit);
    }
    let mut lasting = Lasting::new(&mut *out);
    let exit = run_verb(cli.command, &cli.global, &mut lasting).await;
    // Also when it failed: what was done is told.
    let lost = lasting.finish();
    let exit = exit?;
    match lost {
        // Nobody wants to know; what the exit code says of the work still holds.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit),
        Some(error) => {
            note(&format!(
                "what was asked for is done, but it could not be told: {}",
                output::describe(&error)
            ));
            Ok(exit.max_failed())
        }
        None => Ok(exit),
    }
}

async fn run_verb(command: Command, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Run => run::run(global).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Sandbox(args) => sandbox::run(args, out).await,
        Command::Enqueue(args) => enqueue::run(args, global, out).await,
        Command::Validate(args) => validate::run(args, global, out).await,
        Command::Status(args) => status::run(args, global, out).await,
        Command::Top => top::run(global).await,
        Command::Review(args) => review::run(args, global, out).await,
        Command::List(args) => list::run(args, global, out).await,
        Command::Show(args) => show::run(args, global, out).await,
        Command::Requeue(args) => act::run(Act::Requeue, args, global, out).await,
        Command::Override(args) => act::run(Act::Override, args, global, out).await,
        Command::Accept(args) => act::run(Act::Accept, args, global, out).await,
        Command::Dismiss(args) => act::run(Act::Dismiss, args, global, out).await,
        Command::Edit(args) => edit::run(args, global, out).await,
        Command::Report(args) => report::run(args, global, out).await,
        Command::Metrics(args) => metrics::run(args, global, out).await,
        Command::Export(args) => export::run(args, global, out).await,
        Command::Pause(args) => pause::pause(args, global, out).await,
        Command::Resume => pause::resume(global, out).await,
        Command::Purge(args) => purge::run(args, global, out).await,
        Command::Backup(args) => backup::run(args, global, out).await,
        Command::Restore(args) => restore::run(args, global, out).await,
        Command::Move(args) => move_outbox::run(args, global, out).await,
        Command::Salvage(args) => salvage::run(args, global, out).await,
        Command::CheckConfig(args) => check_config::run(&args, global, out),
        Command::Completions(args) => completions::run(&args, Cli::command(), out),
        Command::Man(args) => man::run(&args, Cli::command(), out),
    }
}

/// Tells the failure; its exit code.
fn failed(error: &anyhow::Error) -> Exit {
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
