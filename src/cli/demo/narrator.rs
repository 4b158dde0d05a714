//! The demo's words, on a terminal of 80 columns.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::cli::render::outcome::hint_of;
use crate::cli::render::table::wrap;
use crate::clock::Timestamp;
use crate::model::{Answer, Attempt};
use crate::store::Listed;
use crate::telemetry::escape::visible;

use super::stage::DemoStage;

/// How wide the story is.
const WIDTH: usize = 80;

/// Before every line of a step.
const INDENT: &str = "   ";

/// Before the further lines of an outcome.
const DEEPER: &str = "      ";

/// Tells the steps, numbered.
pub(super) struct Narrator<'a> {
    out: &'a mut dyn Write,
    number: u32,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, number: 0 }
    }

    /// A new step: what happens.
    pub(super) fn step(&mut self, what: &str) -> anyhow::Result<()> {
        self.number += 1;
        writeln!(self.out, "\n{}. {what}", self.number)?;
        Ok(self.out.flush()?)
    }

    pub(super) fn drops(&mut self, what: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{INDENT}<- {what}")?;
        Ok(self.out.flush()?)
    }

    /// A command, as an operator types it.
    pub(super) fn types(&mut self, what: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{INDENT}$ {what}")?;
        Ok(self.out.flush()?)
    }

    /// What became of a submission, and what that means.
    pub(super) fn outcome(&mut self, listed: &Listed, meaning: &str) -> anyhow::Result<()> {
        let state = listed.state.reason().map_or_else(
            || listed.state.name().to_string(),
            |reason| format!("{}, {reason}", listed.state.name()),
        );
        let tries = match listed.attempts {
            0 => "never sent".to_owned(),
            1 => "1 attempt".to_owned(),
            more => format!("{more} attempts"),
        };
        let meaning = if meaning.is_empty() {
            String::new()
        } else {
            format!(": {}", visible(meaning))
        };
        self.arrow(&format!("#{} {state} ({tries}){meaning}", listed.id))
    }

    /// The attempts, one a line, with the waits between them.
    pub(super) fn attempts(&mut self, attempts: &[Attempt]) -> anyhow::Result<()> {
        let mut ended: Option<Timestamp> = None;
        for attempt in attempts {
            let came = match (&attempt.answer, &attempt.fault) {
                (Some(answer), _) => format!("answered with {}", answer.status),
                (None, Some(fault)) => format!(
                    "no answer ({}), so the API may have it: a lost response",
                    fault.kind.into_str()
                ),
                (None, None) => "interrupted".to_owned(),
            };
            let waited = ended.map_or_else(String::new, |ended| {
                format!(" after {} ms", attempt.started_at.since(ended).as_millis())
            });
            writeln!(self.out, "{DEEPER}attempt {}{waited}: {came}", attempt.number.0)?;
            ended = Some(attempt.started_at.plus(Duration::from_millis(attempt.elapsed_ms)));
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, answer: &Answer) -> anyhow::Result<()> {
        let body = String::from_utf8_lossy(&answer.body);
        let text = format!("stored answer: {} {}", answer.status, visible(body.trim_end()));
        Ok(write!(self.out, "{}", wrap(&text, DEEPER, WIDTH))?)
    }

    /// What mends a submission.
    pub(super) fn hint(&mut self, listed: &Listed) -> anyhow::Result<()> {
        if let Some(hint) = hint_of(listed) {
            write!(self.out, "{}", wrap(&format!("hint: {hint}"), DEEPER, WIDTH))?;
        }
        Ok(())
    }

    /// What was put aside, and why.
    pub(super) fn rejected(&mut self, file: &str, report: &Value) -> anyhow::Result<()> {
        let text = |value: &Value| visible(value.as_str().unwrap_or_default()).into_owned();
        self.arrow(&format!("{file} holds what was rejected: {}", text(&report["reason"])))?;
        for bad in report["lines"].as_array().into_iter().flatten() {
            write!(self.out, "{}", wrap(&text(&bad["error"]), DEEPER, WIDTH))?;
        }
        Ok(())
    }

    fn arrow(&mut self, text: &str) -> anyhow::Result<()> {
        // The first line hangs out by its arrow.
        let wrapped = wrap(text, DEEPER, WIDTH);
        writeln!(self.out, "{INDENT}-> {}", wrapped.trim_start().trim_end())?;
        Ok(self.out.flush()?)
    }
}

pub(super) fn opening(stage: &DemoStage, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "The whole job on this machine: results are dropped, kept safe, and delivered.\n"
    )?;
    writeln!(out, "{INDENT}simulated API  {}", stage.sandbox().base_url())?;
    writeln!(out, "{INDENT}everything in  {}", stage.dir().display())?;
    Ok(())
}

pub(super) fn closing(stage: &DemoStage, took: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let stats = stage.sandbox().stats();
    writeln!(
        out,
        "\nDone in {:.1} s: {} requests, {} activities with a result, none registered twice.",
        took.as_secs_f64(),
        stats.requests,
        stats.registered
    )?;
    Ok(out.flush()?)
}

/// `--keep`: what can be done now.
pub(super) fn invitation(stage: &DemoStage, out: &mut dyn Write) -> anyhow::Result<()> {
    // As it was called: from a fresh clone it is not on the path.
    let program = std::env::args().next().unwrap_or_else(|| "reten-outbox".to_owned());
    let config = stage.path("config.toml").display().to_string();
    let inbox = stage.path("inbox").display().to_string();
    let sample = "{\"provider_activity_id\": \"mine-1\", \"commerce_external_id\": \"COM-1\", \"occurred_at\": \
         \"2026-11-23T10:00:00Z\", \"status\": \"EFFECTIVE\", \"task_result\": {\"result\": \"SALE_COMPLETED\"}}";
    writeln!(out, "\nIt stays up until Ctrl-C. In another terminal:\n")?;
    writeln!(out, "  echo '{sample}' > {inbox}/mine.json")?;
    for command in ["status", "list", "show 4", "list --state dead --json"] {
        writeln!(out, "  {program} --config {config} {command}")?;
    }
    writeln!(
        out,
        "\nWith \"external_status\": \"sim:503x2\" (or sim:409, sim:hang, …) in a result the API fails on it."
    )?;
    writeln!(out, "The daemon's log:\n")?;
    Ok(out.flush()?)
}
