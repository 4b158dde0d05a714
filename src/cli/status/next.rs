//! What happens next with the whole queue, and what an operator can do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::render::time::due;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::policy::gate::GateName;
use crate::telemetry::hindrance::Cause;

use super::snapshot::{RUNNING, Status};

/// What happens next, in a sentence or two.
pub fn sentence(status: &Status) -> String {
    if status.counts.is_none() {
        return "How the queue stands cannot be told while the outbox cannot be read. Nothing is lost by that."
            .to_owned();
    }
    let waiting = status.unsent();
    let wait = if waiting == 1 {
        "1 result waits".to_owned()
    } else {
        format!("{waiting} results wait")
    };
    let others = status.nodes.iter().filter(|node| !node.is_lost()).count();
    if status.daemon != RUNNING && others > 0 {
        let others = if others == 1 {
            "Another host's daemon sends".to_owned()
        } else {
            format!("{others} other hosts' daemons send")
        };
        return format!(
            "No daemon runs on this host, and nothing is taken in here until it is started. {others} what is in the \
             outbox; {wait}."
        );
    }
    if status.daemon != RUNNING {
        return match waiting {
            0 => "The daemon is stopped: nothing is taken in or sent until it is started.".to_owned(),
            _ => format!("The daemon is stopped: {wait} until it is started, and nothing is lost."),
        };
    }
    match (status.gate.state, waiting) {
        (Some(GateName::Paused), _) => format!(
            "Nothing is sent until a person says `resume`; {wait}. \
             Taking in goes on."
        ),
        (Some(GateName::Unauthorized), _) => {
            format!(
                "Nothing is sent until the key works, which is asked again and again; {wait}, unharmed. \
                 Taking in goes on."
            )
        }
        (Some(GateName::Probing), _) => {
            format!(
                "One at a time is tried until the API answers again, and then the rest follows by itself; {wait}. \
                 Nothing is lost: each result is \
                 tried for retry.max_age before it is given up, and the time that it only waits here does not count."
            )
        }
        (Some(GateName::Rejecting), _) => {
            format!(
                "One a minute is tried until the API takes one, or a person says `resume`; {wait}. \
                 What was refused is among the dead."
            )
        }
        _ if storage_waits(status) => format!(
            "Nothing is sent until the outbox can be written again; {wait}, \
             and nothing is lost."
        ),
        (_, 0) if !status.hindrances.is_empty() => {
            "Nothing in the outbox waits to be sent. What lies in the inbox stays there until that is mended, \
             and nothing is lost."
                .to_owned()
        }
        (_, 0) if status.waiting_files.unwrap_or(0) + status.waiting_rows.unwrap_or(0) > 0 => {
            "Nothing in the outbox waits to be sent. What lies in the inbox is taken within moments.".to_owned()
        }
        (_, 0) => "Nothing waits. What comes in is sent at once.".to_owned(),
        (gate, _) => {
            let pace = if gate == Some(GateName::Throttled) {
                ", fewer at a time than usual, as the API asks for"
            } else {
                ""
            };
            match status.next_due_at.filter(|at| *at > status.at) {
                Some(at) => format!("The next is sent {}{pace}.", when(at, status.at)),
                None => format!("What is due is being sent{pace}."),
            }
        }
    }
}

/// `in 12 min`; beyond two days the date, which says more.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    const SOON: Duration = Duration::from_hours(48);
    if at.since(now) < SOON {
        return due(at, now);
    }
    let full = at.to_string();
    format!("on {}", full.split('T').next().unwrap_or(&full))
}

/// Whether nothing can be stored, so that nothing is sent either.
fn storage_waits(status: &Status) -> bool {
    let both = [Cause::Storage.what(), Cause::Lock.what()];
    status.hindrances.iter().any(|one| both.contains(&one.what.as_str()))
}

/// Whether the gate is throttled by nothing but the slow start after an outage, which goes on only with something to
/// send.
pub fn is_only_starting_slowly(status: &Status) -> bool {
    let counts = status.counts.unwrap_or_default();
    let is_due_soon = status
        .next_due_at
        .is_some_and(|at| at.since(status.at) < Duration::from_mins(1));
    let is_after_outage = status
        .gate
        .reason
        .as_deref()
        .is_some_and(|why| why.starts_with("the API answers again"));
    status.gate.state == Some(GateName::Throttled)
        && is_after_outage
        && counts.sending == 0
        && (counts.pending == 0 || !is_due_soon)
}

/// The commands that apply to the queue as it is, each with what it does.
pub fn commands(status: &Status) -> Vec<(&'static str, &'static str)> {
    let counts = status.counts.unwrap_or_default();
    let mut commands = Vec::new();
    if status.daemon != RUNNING {
        commands.push((
            "systemctl start reten-outbox",
            "starts the daemon (by hand: reten-outbox run)",
        ));
    }
    match status.gate.state {
        Some(GateName::Paused) => commands.push(("reten-outbox resume", "lets results go out again")),
        Some(GateName::Unauthorized) => {
            commands.push(("systemctl restart reten-outbox", "brings a new key into force"));
            commands.push(("reten-outbox resume", "asks at once; tells if an old one is held"));
        }
        Some(GateName::Probing) => commands.push(("reten-outbox resume", "has the API tried at once")),
        Some(GateName::Rejecting) => commands.push(("reten-outbox resume", "lets all results go out again")),
        Some(GateName::Open | GateName::Throttled) | None => {}
    }
    if counts.dead > 0 {
        commands.push(("reten-outbox list --state dead", "shows the dead letters, and why"));
    }
    if counts.parked > 0 {
        commands.push(("reten-outbox list --state parked", "shows what waits for a decision"));
    }
    if counts.dead + counts.parked > 0 {
        commands.push(("reten-outbox show ID", "tells one's story, and what can be done"));
    }
    commands
}

/// Where rejected files lie, and what to do with them.
pub fn rejected(config: &Config) -> String {
    format!(
        "in {}; each has its reason beside it, mended it can be dropped in again",
        rejected_dir(config).display()
    )
}

pub fn rejected_dir(config: &Config) -> PathBuf {
    config.inbox.dir.join("rejected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::gate::ShownGate;
    use crate::cli::status::snapshot::{STOPPED, StateCounts};

    fn status(gate: GateName, pending: u64, dead: u64) -> Status {
        Status {
            daemon: RUNNING,
            gate: ShownGate::of(gate),
            counts: Some(StateCounts {
                pending,
                dead,
                ..StateCounts::default()
            }),
            at: Timestamp::from_millis(1_000_000),
            ..Status::default()
        }
    }

    #[test]
    fn every_state_of_the_gate_has_its_sentence() {
        for (gate, word) in [
            (GateName::Open, "being sent"),
            (GateName::Throttled, "fewer at a time"),
            (GateName::Probing, "One at a time"),
            (GateName::Unauthorized, "the key works"),
            (GateName::Rejecting, "One a minute"),
            (GateName::Paused, "`resume`"),
        ] {
            assert!(
                sentence(&status(gate, 3, 0)).contains(word),
                "{gate}: {}",
                sentence(&status(gate, 3, 0))
            );
            assert_eq!(ShownGate::of(gate).obstacle().is_none(), gate.is_open());
        }
        assert!(sentence(&status(GateName::Open, 0, 0)).contains("Nothing waits"));
        for (what, pending, word) in [
            ("intake", 0, "stays there"),
            ("storage", 3, "Nothing is sent"),
            ("intake", 3, "being sent"),
        ] {
            let mut hindered = status(GateName::Open, pending, 0);
            hindered.hindrances.push(crate::cli::status::hindered::Hindered {
                what: what.to_owned(),
                why: String::new(),
                hint: None,
                since: None,
            });
            assert!(sentence(&hindered).contains(word), "{}", sentence(&hindered));
        }
        let stopped = Status {
            daemon: STOPPED,
            ..status(GateName::Open, 1, 0)
        };
        assert!(sentence(&stopped).contains("stopped: 1 result waits"));
    }

    #[test]
    fn a_slow_start_with_nothing_to_send_is_no_throttled_gate() {
        let of = |gate: GateName, why: &str, pending, due: Option<i64>| Status {
            gate: ShownGate {
                reason: Some(why.to_owned()),
                ..ShownGate::of(gate)
            },
            next_due_at: due.map(|seconds| Timestamp::from_millis(1_000_000 + seconds * 1000)),
            ..status(gate, pending, 0)
        };
        let answers = "the API answers again: a success";
        assert!(is_only_starting_slowly(&of(GateName::Throttled, answers, 0, None)));
        assert!(
            is_only_starting_slowly(&of(GateName::Throttled, answers, 1, Some(86_400))),
            "held for a day"
        );
        assert!(!is_only_starting_slowly(&of(GateName::Throttled, answers, 1, Some(-5))));
        assert!(!is_only_starting_slowly(&of(GateName::Throttled, "429", 0, None)));
        assert!(!is_only_starting_slowly(&of(GateName::Open, answers, 0, None)));
    }

    #[test]
    fn only_the_commands_that_apply_are_named() {
        let named = |status: &Status| commands(status).iter().map(|(command, _)| *command).collect::<Vec<_>>();
        assert!(named(&status(GateName::Open, 3, 0)).is_empty());
        assert_eq!(named(&status(GateName::Paused, 3, 0)), ["reten-outbox resume"]);
        assert_eq!(
            named(&status(GateName::Open, 0, 2)),
            ["reten-outbox list --state dead", "reten-outbox show ID"]
        );
    }
}
