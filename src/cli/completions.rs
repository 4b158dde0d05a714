//! `completions`: for packaging, and for the shell's configuration.

use std::io::Write;

use clap_complete::Shell;

use super::exit::Exit;

/// The options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub fn run(args: &Args, mut tree: clap::Command, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut tree, "reten-outbox", &mut script);
    // Not straight to `out`: the generator panics where nobody reads any more.
    out.write_all(&script)?;
    Ok(Exit::Done)
}
