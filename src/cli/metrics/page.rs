//! What is measured as text. [`open_metrics`] is for whoever asks for that format; [`prometheus`] is the older one, which
//! is all that the textfile collector reads: there a counter has its full name in its description too, and no type is
//! known but the oldest. So the gate is a gauge a state, and the version one with a label, although the newer format has
//! types of their own for these.
//!
//! Names and labels are in people's dashboards: none changes once it is out.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use strum::VariantArray as _;

use crate::cli::status::Status;
use crate::clock::Timestamp;
use crate::model::{ANSWER_MS, Door, EndingName, Figure, Figures, StateName, StatusClass};
use crate::policy::gate::GateName;

/// What is shown.
#[derive(Debug, Clone)]
pub struct Measured {
    pub status: Status,
    /// Of the stored minutes.
    pub totals: Figures,
    /// Of an outbox in a file.
    pub outbox_bytes: Option<u64>,
    pub wal_bytes: Option<u64>,
    /// By what lies on that disk.
    pub free_bytes: [(&'static str, Option<u64>); 2],
    pub now: Timestamp,
}

/// In the text format of `OpenMetrics`.
pub fn open_metrics(measured: &Measured) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("reten_outbox");
    registry.register_collector(Box::new(Page(measured.clone())));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// In the text format of Prometheus.
pub fn prometheus(measured: &Measured) -> Result<String, fmt::Error> {
    let page = open_metrics(measured)?;
    let counters: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut older = String::with_capacity(page.len());
    for line in page.lines() {
        let described = line
            .strip_prefix("# HELP ")
            .map(|rest| ("HELP", rest))
            .or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        match described.and_then(|(what, rest)| Some((what, rest.split_once(' ')?))) {
            Some((what, (name, rest))) if counters.contains(name) => writeln!(older, "# {what} {name}_total {rest}")?,
            // What only the newer one knows.
            None if line.starts_with('#') => {}
            Some(_) | None => writeln!(older, "{line}")?,
        }
    }
    Ok(older)
}

#[derive(Debug)]
struct Page(Measured);

/// A value with its labels.
type Sample<const N: usize> = ([(&'static str, &'static str); N], u64);

/// Writes one family after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        self.gauge_in(name, help, None, value)
    }

    /// One that cannot be told is left out.
    fn gauge_in(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: Option<u64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = Sample<N>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<N>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.queue(&mut writer)?;
        self.counted(&mut writer)?;
        self.gate(&mut writer)?;
        self.places(&mut writer)
    }
}

impl Page {
    fn queue(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Measured { status, now, .. } = &self.0;
        let counts = status.counts.unwrap_or_default();
        let submissions = StateName::VARIANTS
            .iter()
            .map(|state| ([("state", state.into_str())], counts.of_state(*state)));
        writer.gauges("submissions", "Submissions in the outbox, by state", None, submissions)?;
        // Of what there is none the age is 0, so that a rule needs no case for that.
        let age = |since: Option<Timestamp>| Some(since.map_or(0, |since| now.since(since).as_secs()));
        let seconds = Some(&Unit::Seconds);
        writer.gauge_in(
            "oldest_pending",
            "Age of the oldest pending submission, 0 where there is none",
            seconds,
            Some(status.oldest_pending_seconds.unwrap_or(0)),
        )?;
        writer.gauge_in(
            "oldest_due",
            "For how long the earliest due submission has been due, 0 where none is",
            seconds,
            age(status.next_due_at.filter(|due| *due < *now)),
        )?;
        writer.gauge_in(
            "oldest_dead",
            "For how long the oldest dead letter has been one, 0 where there is none",
            seconds,
            Some(status.oldest_dead_seconds.unwrap_or(0)),
        )?;
        let nodes_in_flight = || status.nodes.iter().map(|node| u64::from(node.in_flight)).sum();
        let in_flight = if status.nodes.is_empty() {
            status.in_flight.unwrap_or(0)
        } else {
            nodes_in_flight()
        };
        writer.gauge("in_flight", "Requests in flight, of every node", Some(in_flight))
    }

    fn counted(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let totals = &self.0.totals;
        let taken = Door::VARIANTS
            .iter()
            .map(|door| ([("by", door.into_str())], totals.get(Figure::Taken(*door))));
        writer.counters("taken", "Results taken in, by the way that they came", taken)?;
        let plain = |figure| [([], totals.get(figure))];
        let help = "Results taken in that local validation made dead letters of";
        writer.counters::<0>("invalid", help, plain(Figure::Invalid))?;
        let help = "Results dropped because their key was taken in with the same object before";
        writer.counters::<0>("duplicates", help, plain(Figure::Duplicate))?;
        let attempts = EndingName::VARIANTS.iter().flat_map(|ending| {
            StatusClass::VARIANTS.iter().filter_map(|class| {
                let count = totals.get(Figure::Attempt(*ending, *class));
                let labels = [("outcome", ending.into_str()), ("status_class", class.into_str())];
                // Most of what can be thought of never happens; what usually does is there from the beginning.
                (count > 0 || is_usual(*ending, *class)).then_some((labels, count))
            })
        });
        writer.counters(
            "attempts",
            "Attempts that ended, by outcome and class of the answer's status",
            attempts,
        )?;
        let limits = ANSWER_MS.iter().map(|limit| seconds_of(*limit)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = limits.zip(totals.answers()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "Time from a request to its whole answer";
        writer
            .0
            .encode_descriptor("answer", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(seconds_of(totals.get(Figure::AnswerMs)), count, &buckets, None)
    }

    fn gate(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let status = &self.0.status;
        let gate = GateName::VARIANTS
            .iter()
            .map(|name| ([("gate", name.into_str())], u64::from(status.gate.state == Some(*name))));
        writer.gauges("gate", "1 for the state that the gate is in", None, gate)?;
        writer.gauge(
            "up",
            "1 where a daemon of this host runs",
            Some(u64::from(status.is_running())),
        )?;
        let hindrances = Some(status.hindrances.len() as u64);
        writer.gauge("hindrances", "What hinders intake or storage at present", hindrances)?;
        let lost = status.nodes.iter().filter(|node| node.is_lost()).count() as u64;
        let live = status.nodes.len() as u64 - lost;
        let nodes = [([("state", "live")], live), ([("state", "lost")], lost)];
        writer.gauges(
            "nodes",
            "Daemons that share the outbox, 0 where only one can",
            None,
            nodes,
        )?;
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
        writer.gauges("build_info", "1, with the version of the program", None, version)
    }

    fn places(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Measured { status, free_bytes, .. } = &self.0;
        let known = |what: [(&'static str, Option<u64>); 2]| {
            what.into_iter()
                .filter_map(|(kind, count)| Some(([("kind", kind)], count?)))
        };
        let waiting = known([("file", status.waiting_files), ("row", status.waiting_rows)]);
        writer.gauges("inbox_waiting", "Files and rows that wait in the inbox", None, waiting)?;
        let rejected = known([("file", status.rejected_files), ("row", status.rejected_rows)]);
        let help = "Files and rows that could not be taken, and wait for a person";
        writer.gauges("inbox_rejected", help, None, rejected)?;
        let oldest = [
            ("file", status.oldest_waiting_file_seconds),
            ("row", status.oldest_waiting_row_seconds),
        ];
        let oldest = known(oldest.map(|(kind, age)| (kind, Some(age.unwrap_or(0)))));
        let help = "For how long the oldest of them has waited, 0 where there is none";
        writer.gauges("inbox_oldest", help, Some(&Unit::Seconds), oldest)?;
        let bytes = Some(&Unit::Bytes);
        writer.gauge_in("file", "Size of the outbox's file", bytes, self.0.outbox_bytes)?;
        let help = "Size of the outbox's write-ahead log";
        writer.gauge_in("wal", help, bytes, self.0.wal_bytes)?;
        let free = free_bytes
            .iter()
            .filter_map(|(of, free)| Some(([("of", *of)], (*free)?)));
        writer.gauges("free", "Free room on the disk, by what lies there", bytes, free)
    }
}

/// What every outbox meets: a rate of it has a beginning.
fn is_usual(ending: EndingName, class: StatusClass) -> bool {
    matches!(
        (ending, class),
        (EndingName::Delivered, StatusClass::Success)
            | (
                EndingName::Retry,
                StatusClass::ServerError | StatusClass::NoAnswer | StatusClass::ClientError
            )
            | (EndingName::Dead | EndingName::Parked, StatusClass::ClientError)
    )
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn seconds_of(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
