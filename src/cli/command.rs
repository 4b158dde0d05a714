//! The tree of commands: what `--help`, the completions and the manual pages say.

#![expect(
    clippy::doc_markdown,
    reason = "the doc comments are help texts, which a terminal shows as they stand"
)]

use super::context::Global;
use super::{
    act, backup, check_config, completions, demo, edit, enqueue, export, list, man, metrics, move_outbox, pause, purge,
    report, restore, review, salvage, sandbox, show, status, validate,
};

/// The program.
#[derive(Debug, clap::Parser)]
#[command(
    name = "reten-outbox",
    version,
    max_term_width = 80,
    about = "A durable outbox between the systems that produce activity results and the Reten API",
    long_about = "A durable outbox between the systems that produce activity results and the Reten API.\n\n\
        Results are dropped as files or database rows, kept safe in the outbox, and delivered in order, once the API \
        takes them. What the API refuses stays with its answer until a person mends it.",
    after_help = "Examples:\n  reten-outbox demo                  see it work, without an account\n  \
         reten-outbox run                   the daemon\n  \
         reten-outbox status                how the queue stands\n  \
         reten-outbox list --state dead     what needs a person\n\n\
         Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such submission,\n69 unavailable (may pass by itself), \
         78 a person must mend it."
)]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: Global,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// The verbs, in the order of the overview.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the daemon, in the foreground
    ///
    /// Takes results in and delivers them until SIGTERM or SIGINT: then requests in flight finish
    /// (delivery.shutdown_timeout), and it exits with 0. SIGHUP reads configuration and key file again; if they are
    /// wrong, the old ones stay.
    #[command(after_help = "Example:\n  reten-outbox run --config /etc/reten-outbox/config.toml")]
    Run,

    /// See the whole job on this machine, without an account
    ///
    /// Starts a simulated API, the daemon and sample results in a temporary directory, shows what becomes of each, and
    /// leaves nothing behind.
    #[command(after_help = "Examples:\n  reten-outbox demo\n  \
             reten-outbox demo --keep     stays up and says where to drop files")]
    Demo(demo::Args),

    /// Simulate the API, to rehearse failures
    #[command(after_help = sandbox::AFTER_HELP)]
    Sandbox(sandbox::Args),

    /// Put results into the outbox
    ///
    /// Reads the same formats as the inbox (JSON object or array, NDJSON), checks them, and returns once they are
    /// durably in. The files stay.
    #[command(
        after_help = "Examples:\n  reten-outbox enqueue results.ndjson\n  produce-results | reten-outbox enqueue"
    )]
    Enqueue(enqueue::Args),

    /// Check results without taking them in
    #[command(
        after_help = "Examples:\n  reten-outbox validate results.ndjson\n  produce-results | reten-outbox validate"
    )]
    Validate(validate::Args),

    /// Show how the queue stands, or check it for monitoring
    #[command(after_help = "Examples:\n  reten-outbox status --watch\n  \
             reten-outbox status --check --max-pending-age 30m --max-dead 0")]
    Status(status::Args),

    /// Watch the queue live, and act on it
    ///
    /// A view of the whole terminal that looks again about once a second, with the daemon running or stopped: the gate
    /// and what mends it, the counts, how many a second, and five tabs. It only reads, unless a key acts, which asks
    /// first.
    #[command(
        after_help = "Example:\n  reten-outbox top\n\nKeys:\n  1-5    queue, failures by what went wrong, parked, producers, log\n  \
             Enter  everything about the chosen one; Esc goes back\n  \
             R D    requeue, dismiss: the chosen one, or all of a kind of failure\n  \
             O A    override, accept: a parked one\n  p r    pause, resume\n  h q    help, quit\n\n\
             It needs a terminal; without one: reten-outbox status --watch"
    )]
    Top,

    /// Decide parked conflicts, side by side with what is registered
    ///
    /// Shows each with the result that we delivered last of its activity and the API's answer, and what differs; one key
    /// decides: override, accept, dismiss, edit or skip. Capital letters decide all that are alike. The last decision is
    /// held until the next one, for ten seconds, or until the end, and u takes it back.
    #[command(after_help = "Examples:\n  reten-outbox review\n  reten-outbox review --source crm --since 24h")]
    Review(review::Args),

    /// List submissions, newest first
    #[command(after_help = "Examples:\n  reten-outbox list --state dead --since 24h\n  \
             reten-outbox list --http-status 409 --json | jq .id\n  \
             reten-outbox list --state dead --state parked --group")]
    List(list::Args),

    /// Tell everything about one submission
    #[command(after_help = "Examples:\n  reten-outbox show 12\n  reten-outbox show 12 --json | jq .payload")]
    Show(show::Args),

    /// Send dead, parked or pending submissions now
    ///
    /// Their attempts and their age start anew. They go back into the order of their activity.
    #[command(after_help = "Examples:\n  reten-outbox requeue 12 15\n  \
             reten-outbox requeue --state dead --reason retries_exhausted --dry-run\n  \
             reten-outbox list --json --source crm | jq .id | reten-outbox requeue -")]
    Requeue(act::Args),

    /// Let parked submissions replace the registered result
    ///
    /// They are sent again with "hard_override": true.
    #[command(
        after_help = "Examples:\n  reten-outbox override 12\n  reten-outbox override --state parked --source crm --yes"
    )]
    Override(act::Args),

    /// Take the registered result of parked submissions for ours
    ///
    /// Nothing is sent: they count as delivered.
    #[command(after_help = "Examples:\n  reten-outbox accept 12\n  \
             reten-outbox accept --reason conflict_after_lost_response --yes")]
    Accept(act::Args),

    /// Close dead, parked or pending submissions without delivering them
    #[command(after_help = "Examples:\n  reten-outbox dismiss 12\n  \
             reten-outbox dismiss --state dead --http-status 404 --dry-run")]
    Dismiss(act::Args),

    /// Correct the payload of a dead, parked or pending submission, or of many
    ///
    /// Opens it in $VISUAL or $EDITOR, checks what comes back, and puts it into the queue. The old payload stays in the
    /// history.
    ///
    /// With --with, for many: each payload goes through a shell command, and what that changes is checked and sent
    /// again. A command that fails, or says what is not valid, leaves its submission alone. As root the command runs as
    /// the outbox's owner.
    #[command(
        after_help = "Examples:\n  reten-outbox edit 12\n  reten-outbox edit 12 --payload corrected.json\n  \
        reten-outbox edit --state dead --http-status 404 --dry-run \\\n    --with 'jq -c \"del(.external_status)\"'\n  \
        reten-outbox show 12 --json | jq '.payload | .status = \"EFFECTIVE\"' |\n    reten-outbox edit 12 --payload -"
    )]
    Edit(edit::Args),

    /// Write submissions as NDJSON that the inbox takes
    ///
    /// With their key and other directives, oldest first: mended and dropped in again, each takes the place of its
    /// original, whether it is dead, parked or dismissed. The lines hold tokens for that, so keep the file where only
    /// you read it.
    #[command(after_help = "Example:\n  reten-outbox export --state dead > dead.ndjson")]
    Export(export::Args),

    /// Stop sending, until `resume`
    ///
    /// Taking in goes on. A pause is kept over restarts, and works while the daemon is stopped.
    #[command(after_help = "Example:\n  reten-outbox pause --why 'the CRM sends rubbish'")]
    Pause(pause::Args),

    /// Send again after `pause`, and ask a closed gate at once
    #[command(after_help = "Example:\n  reten-outbox resume")]
    Resume,

    /// Delete old submissions for good
    ///
    /// Delivered and dismissed ones leave by retention too. Dead and parked ones were never delivered: deleting them
    /// asks first.
    #[command(after_help = "Examples:\n  reten-outbox purge --state delivered --older-than 7d\n  \
             reten-outbox purge --state dead --older-than 90d --dry-run")]
    Purge(purge::Args),

    /// Copy the outbox, while the daemon runs or not
    ///
    /// The copy is consistent, checked page by page, for its owner alone (mode 0600), and gets its name once it is
    /// whole. As root it is root's; `restore` gives it back to the daemon's user.
    #[command(
        after_help = "Examples:\n  reten-outbox backup /var/backups/outbox-$(date +%F).db\n  \
             reten-outbox backup --overwrite /mnt/backup/outbox.db"
    )]
    Backup(backup::Args),

    /// Put a backup in the place of the outbox, while the daemon is stopped
    ///
    /// Checks it first. What it replaces is kept aside, with a date in its name. What was pending when the backup was
    /// made may have been sent since: it is sent again, and marked, so that a 409 says that it may be ours. A restore
    /// that was cut off is ended by the next start.
    #[command(
        after_help = "Examples:\n  reten-outbox restore /var/backups/outbox-2026-11-24.db\n  \
             reten-outbox restore --pause outbox-backup.db"
    )]
    Restore(restore::Args),

    /// Make one page of what happened, for whoever was not there
    ///
    /// An HTML page that stands alone: taken in and delivered over time, backlog, answer times, when the gate was closed,
    /// what failed and what mends it, producers, and what is open. It opens from a file, fetches nothing, and prints
    /// well. Payloads are not in it, unless --with-payloads. What is over time is known since the daemon that counts it
    /// was first started.
    #[command(after_help = "Examples:\n  \
             reten-outbox report --since 7d --out report.html\n  \
             reten-outbox report --since 2026-11-23T10:00:00Z --json")]
    Report(report::Args),

    /// Print the state of the queue and what was counted, for Prometheus
    ///
    /// In the OpenMetrics text format; with --out in that of node_exporter's textfile collector. Counters are of all that
    /// the daemons have written down, once a minute, and go on after a restart. Nothing of a result is among it.
    #[command(after_help = "Example:\n  \
             reten-outbox metrics --out /var/lib/prometheus/node-exporter/reten-outbox.prom")]
    Metrics(metrics::Args),

    /// Carry the outbox over into PostgreSQL, or back, while the daemon is stopped
    ///
    /// From the outbox of the configuration to the one that --to names: whole or not at all, read again and compared
    /// before it counts. The old one stays where it is, and a move that was cut off is done again. Then the
    /// configuration has to name the new one; never run both. The password is looked for where outbox.password_file
    /// and PGPASSFILE say.
    #[command(after_help = "Examples:\n  \
             reten-outbox move --to 'postgres://outbox@db/reten?sslmode=verify-full'\n  \
             reten-outbox move --to /var/lib/reten-outbox/outbox.db")]
    Move(move_outbox::Args),

    /// Read out of a damaged or replaced outbox what this one lacks
    ///
    /// Reads the file page by page, past what is damaged, and writes nothing to it. Prints what is not delivered or
    /// dismissed there, and not in this outbox, as NDJSON that the inbox takes. Each has a key: dropped in twice, it is
    /// taken once.
    #[command(after_help = "Example:\n  reten-outbox salvage outbox.db.replaced-20261124T031500Z > rest.ndjson")]
    Salvage(salvage::Args),

    /// Print the effective configuration, and what is wrong with it
    #[command(after_help = "Example:\n  reten-outbox check-config --config new.toml")]
    CheckConfig(check_config::Args),

    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  reten-outbox completions bash > /etc/bash_completion.d/reten-outbox")]
    Completions(completions::Args),

    /// Print the manual page, or write all of them
    #[command(after_help = "Examples:\n  reten-outbox man | man -l -\n  \
             reten-outbox man --dir pages     also that of the configuration file")]
    Man(man::Args),
}

impl Command {
    /// Whether it only shows something, so that it may stop when nobody reads any more. Of what changes something, or
    /// answers by its exit code, the work is done to its end. `enqueue` sees to its output itself.
    pub(super) fn ends_with_its_reader(&self) -> bool {
        match self {
            Self::Status(args) => !args.is_check(),
            Self::Run
            | Self::Demo(_)
            | Self::Sandbox(_)
            | Self::Enqueue(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Export(_)
            | Self::Report(_)
            | Self::Metrics(_)
            | Self::Salvage(_)
            | Self::CheckConfig(_)
            | Self::Completions(_)
            | Self::Man(_) => true,
            Self::Top
            | Self::Review(_)
            | Self::Validate(_)
            | Self::Requeue(_)
            | Self::Override(_)
            | Self::Accept(_)
            | Self::Dismiss(_)
            | Self::Edit(_)
            | Self::Pause(_)
            | Self::Resume
            | Self::Purge(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Move(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for arguments in [
            ["reten-outbox", "--config", "a.toml", "status"],
            ["reten-outbox", "status", "--config", "a.toml"],
        ] {
            assert_eq!(Cli::parse_from(arguments).global.config, Some(PathBuf::from("a.toml")));
        }
    }

    #[test]
    fn every_verb_has_an_example_and_no_help_is_wider_than_80_columns() {
        let mut tree = Cli::command();
        tree.build();
        for verb in tree.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
            let name = verb.get_name().to_owned();
            let help = verb.render_long_help().to_string();
            assert!(
                help.contains("Example") && help.contains(&format!("reten-outbox {name}")),
                "{help}"
            );
            let widest = help.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
            assert!(widest.chars().count() <= 80, "{name}: {widest}");
        }
    }
}
