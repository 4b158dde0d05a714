//! `man`: the manual pages, of section 8 for the program (the manual in short) and for each command (the very text of
//! `--help`), and of section 5 for the configuration.

mod manual;
mod reference;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_mangen::Man;

use crate::config::DEFAULTS;

use super::exit::Exit;

/// Commands of a system's administrator.
const SECTION: &str = "8";

/// The options of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write every page into this directory: the program's, each command's, and that of the configuration file
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the program's page, or writes all pages.
pub fn run(args: &Args, mut tree: clap::Command, out: &mut dyn Write) -> anyhow::Result<Exit> {
    tree.build();
    match &args.dir {
        None => out.write_all(manual::page(&tree).as_bytes())?,
        Some(dir) => write_pages(&tree, dir)?,
    }
    Ok(Exit::Done)
}

fn write_pages(tree: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    for command in tree.get_subcommands().filter(|verb| verb.get_name() != "help") {
        // Set by `build`: `reten-outbox-requeue`.
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        write_page(dir, &format!("{name}.{SECTION}"), &page(command.clone())?)?;
    }
    write_page(dir, manual::FILE, manual::page(tree).as_bytes())?;
    write_page(dir, reference::FILE, reference::page(DEFAULTS).as_bytes())
}

fn write_page(dir: &Path, name: &str, page: &[u8]) -> anyhow::Result<()> {
    let path = dir.join(name);
    fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).section(SECTION).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::command::Cli;

    #[test]
    fn there_is_a_page_for_every_verb() {
        let dir = tempfile::tempdir().unwrap();
        run(
            &Args {
                dir: Some(dir.path().to_owned()),
            },
            Cli::command(),
            &mut Vec::new(),
        )
        .unwrap();
        let text = fs::read_to_string(dir.path().join("reten-outbox-requeue.8")).unwrap();
        assert!(text.contains(".TH reten-outbox-requeue 8"), "{text}");
        assert!(text.contains("retries_exhausted"), "the example: {text}");
        assert!(dir.path().join("reten-outbox.8").exists());
        assert!(!dir.path().join("reten-outbox-help.8").exists());
        let text = fs::read_to_string(dir.path().join("reten-outbox.toml.5")).unwrap();
        assert!(text.contains(".B shutdown_timeout"), "{text}");
    }
}
