//! The program's own page: the manual in short. The commands come from the text of `--help`; the rest lies beside this
//! file.

use std::fmt::Write as _;

/// The page's name, as it is installed.
pub const FILE: &str = "reten-outbox.8";

const TEMPLATE: &str = include_str!("reten-outbox.8");

/// The page, in roff.
pub fn page(tree: &clap::Command) -> String {
    let mut commands = String::new();
    for verb in tree.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(
            commands,
            ".TP\n.B {}\n{}.\n",
            escaped(verb.get_name()),
            escaped(about.trim_end_matches('.'))
        );
    }
    TEMPLATE
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@COMMANDS@\n", &commands)
}

/// A text that roff shows as it is, at the beginning of a line as well.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn it_is_a_whole_manual_and_names_every_command() {
        let page = page(&Cli::command());
        assert!(!page.contains('@'), "{page}");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "STATES",
            "ANSWERS",
            "GATE",
            "COMMANDS",
            "OPTIONS",
            "SIGNALS",
            "LOGS",
            "EXIT STATUS",
            "SECURITY",
            "AT 3 A.M.",
            "FILES",
            "ENVIRONMENT",
            "SEE ALSO",
        ] {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
        }
        for verb in Cli::command().get_subcommands() {
            assert!(
                page.contains(&format!("\n.B {}\n", escaped(verb.get_name()))),
                "{}",
                verb.get_name()
            );
        }
    }

    #[test]
    fn a_line_is_a_request_or_text_and_no_hyphen_of_a_command_is_left_to_the_typesetter() {
        for line in TEMPLATE.lines().filter(|line| !line.starts_with('.')) {
            assert!(
                !line.starts_with('\'') && !line.contains(" -") && !line.contains("reten-"),
                "{line}"
            );
        }
    }
}
