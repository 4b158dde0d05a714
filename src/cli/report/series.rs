//! The stored minutes over a time, put together into few enough points to draw, and what the gate went through meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::{Figures, StateName};
use crate::policy::gate::{GateChange, GateName};
use crate::store::{Minute, Standing};

/// More points than this no eye tells apart on a page.
const POINTS_MAX: i64 = 144;
/// The spans that a point may stand for, in minutes.
const SPANS: [i64; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 360, 1440];
/// Between two rows of a node that are further apart than this nobody counted, in milliseconds.
const GAP_MS: i64 = 90_000;
/// Episodes that are kept of a node; of more the newest.
const EPISODES_MAX: usize = 500;
/// Nodes whose gates are shown.
const NODES_MAX: usize = 16;

/// How it went in one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its end.
    pub at: Timestamp,
    pub taken: u64,
    pub delivered: u64,
    pub retried: u64,
    pub dead: u64,
    pub parked: u64,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    /// How the queue stood at its end; none where no daemon said.
    pub backlog: Option<Backlog>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// What is being sent is among it.
    pub pending: u64,
    pub dead: u64,
    pub parked: u64,
    /// For how long the earliest due one had been due; 0: none was.
    pub oldest_due_seconds: u64,
}

/// The gate of one node, over the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Band {
    /// Empty where there is only one.
    pub node: String,
    /// Oldest first; between two that do not touch no daemon counted.
    pub episodes: Vec<Episode>,
}

/// A time in which the gate was in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Episode {
    #[serde(serialize_with = "by_name")]
    pub gate: GateName,
    pub from: Timestamp,
    pub to: Timestamp,
    pub why: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn by_name<S: serde::Serializer>(gate: &GateName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(gate.into_str())
}

/// Puts minutes together as they come, oldest first: in bounded memory, however many there are.
#[derive(Debug)]
pub struct Series {
    from: Timestamp,
    to: Timestamp,
    span_ms: i64,
    points: BTreeMap<i64, (Figures, Option<Backlog>)>,
    bands: BTreeMap<String, (Band, Option<Timestamp>)>,
    pub totals: Figures,
    /// When the first of the minutes began.
    pub counted_since: Option<Timestamp>,
}

impl Series {
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        let minutes = (to.millis() - from.millis()).max(0) / 60_000;
        let widest = SPANS[SPANS.len() - 1];
        let wide = (minutes / POINTS_MAX / widest + 1) * widest;
        let span = SPANS
            .into_iter()
            .find(|span| minutes / span <= POINTS_MAX)
            .unwrap_or(wide);
        Self {
            from,
            to,
            span_ms: span * 60_000,
            points: BTreeMap::new(),
            bands: BTreeMap::new(),
            totals: Figures::default(),
            counted_since: None,
        }
    }

    /// What one point stands for.
    pub fn span(&self) -> Duration {
        Duration::from_millis(self.span_ms.unsigned_abs())
    }

    pub fn add(&mut self, minute: &Minute) {
        self.totals.add_all(&minute.figures);
        let since = self.counted_since.get_or_insert(minute.since);
        *since = minute.since.min(*since);
        let last = self.place(minute.until);
        self.points.entry(last).or_default().0.add_all(&minute.figures);
        let Some(standing) = &minute.standing else { return };
        // A quiet stretch stood all the time as it stands at its end.
        let first = if minute.figures.is_empty() {
            self.place(minute.since.max(self.from))
        } else {
            last
        };
        for place in first..=last {
            let end = Timestamp::from_millis((place + 1) * self.span_ms).min(minute.until);
            self.points.entry(place).or_default().1 = Some(backlog(standing, end));
        }
        self.go_through(minute, standing);
    }

    /// A row that ends with a stretch belongs to it, and not to the next.
    fn place(&self, at: Timestamp) -> i64 {
        (at.millis().min(self.to.millis()) - 1).div_euclid(self.span_ms)
    }

    fn go_through(&mut self, minute: &Minute, standing: &Standing) {
        if !self.bands.contains_key(&minute.node) && self.bands.len() >= NODES_MAX {
            return;
        }
        let (band, seen) = self.bands.entry(minute.node.clone()).or_insert_with(|| {
            let band = Band {
                node: minute.name.clone(),
                episodes: Vec::new(),
            };
            (band, None)
        });
        let is_gap = seen.is_none_or(|seen| minute.since.millis() - seen.millis() > GAP_MS);
        if is_gap && standing.gate_changes.is_empty() {
            band.begin(standing.gate, minute.since.max(self.from), "");
        }
        for GateChange { at, to, why } in &standing.gate_changes {
            if let Some(present) = band.episodes.last_mut().filter(|_| !is_gap || *at > minute.since) {
                present.to = present.to.max(*at);
            }
            band.begin(*to, (*at).max(self.from), why);
        }
        if let Some(present) = band.episodes.last_mut() {
            present.to = present.to.max(minute.until);
        }
        *seen = Some(minute.until);
    }

    pub fn points(&self) -> Vec<Point> {
        let points = self.points.iter().map(|(place, (figures, backlog))| Point {
            at: Timestamp::from_millis((place + 1) * self.span_ms),
            taken: figures.taken(),
            delivered: figures.delivered(),
            retried: figures.retried(),
            dead: figures.dead(),
            parked: figures.parked(),
            p50_ms: figures.percentile(50),
            p95_ms: figures.percentile(95),
            p99_ms: figures.percentile(99),
            backlog: *backlog,
        });
        points.collect()
    }

    pub fn bands(&self) -> Vec<Band> {
        self.bands.values().map(|(band, _)| band.clone()).collect()
    }
}

impl Band {
    /// The same state again goes on.
    fn begin(&mut self, gate: GateName, from: Timestamp, why: &str) {
        if let Some(present) = self
            .episodes
            .last_mut()
            .filter(|one| one.gate == gate && one.to >= from)
        {
            if present.why.is_empty() {
                why.clone_into(&mut present.why);
            }
            return;
        }
        if self.episodes.len() >= EPISODES_MAX {
            self.episodes.remove(0);
        }
        self.episodes.push(Episode {
            gate,
            from,
            to: from,
            why: why.to_owned(),
        });
    }
}

fn backlog(standing: &Standing, end: Timestamp) -> Backlog {
    let tally = &standing.tally;
    Backlog {
        pending: tally.count(StateName::Pending) + tally.count(StateName::Sending),
        dead: tally.count(StateName::Dead),
        parked: tally.count(StateName::Parked),
        oldest_due_seconds: tally.oldest_due.map_or(0, |due| end.since(due).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Door, Figure};
    use crate::store::Tally;

    const DAY: i64 = 86_400_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(20_000 * DAY + minute * 60_000)
    }

    fn minute(since: i64, until: i64, taken: u64, gate: GateName, changes: &[(i64, GateName)]) -> Minute {
        let mut figures = Figures::default();
        figures.add(Figure::Taken(Door::Row), taken);
        Minute {
            since: at(since),
            until: at(until),
            node: String::new(),
            name: String::new(),
            figures,
            standing: Some(Standing {
                tally: Tally {
                    counts: vec![(StateName::Pending, taken)],
                    oldest_due: Some(at(since)),
                    ..Tally::default()
                },
                in_flight: 0,
                gate,
                gate_changes: changes
                    .iter()
                    .map(|(minute, to)| GateChange {
                        at: at(*minute),
                        to: *to,
                        why: "so".to_owned(),
                    })
                    .collect(),
            }),
        }
    }

    #[test]
    fn points_are_few_and_lose_nothing() {
        for days in [1, 7, 30, 3000] {
            let mut series = Series::new(at(0), at(days * 1440));
            for hour in 0..days.min(30) * 24 {
                series.add(&minute(hour * 60, hour * 60 + 60, 3, GateName::Open, &[]));
            }
            let points = series.points();
            assert!(
                i64::try_from(points.len()).unwrap() <= POINTS_MAX + 1,
                "{days}: {}",
                points.len()
            );
            let taken: u64 = points.iter().map(|point| point.taken).sum();
            assert_eq!(
                (taken, series.totals.taken()),
                (72 * days.min(30).unsigned_abs(), taken)
            );
        }
    }

    #[test]
    fn a_quiet_stretch_stands_in_every_point_and_a_stop_in_none() {
        let mut series = Series::new(at(0), at(60));
        series.add(&minute(0, 1, 5, GateName::Open, &[]));
        series.add(&minute(1, 10, 0, GateName::Open, &[]));
        series.add(&minute(30, 31, 7, GateName::Open, &[]));
        let points = series.points();
        let with_backlog = points.iter().filter(|point| point.backlog.is_some()).count();
        assert_eq!((points.len(), with_backlog), (11, 11));
        assert_eq!((points[10].at, points[10].taken), (at(31), 7));
        let band = &series.bands()[0];
        let known: Vec<_> = band.episodes.iter().map(|one| (one.from, one.to)).collect();
        assert_eq!(known, [(at(0), at(10)), (at(30), at(31))]);
    }

    #[test]
    fn the_gate_goes_through_its_states_to_the_minute_and_within_it() {
        let mut series = Series::new(at(0), at(60));
        series.add(&minute(0, 1, 1, GateName::Open, &[(0, GateName::Open)]));
        let changes = [(1, GateName::Probing), (2, GateName::Throttled)];
        series.add(&minute(1, 3, 1, GateName::Throttled, &changes));
        series.add(&minute(3, 4, 1, GateName::Throttled, &[]));
        let bands = series.bands();
        let known: Vec<_> = bands[0]
            .episodes
            .iter()
            .map(|one| (one.gate, one.from, one.to))
            .collect();
        let expected = [
            (GateName::Open, at(0), at(1)),
            (GateName::Probing, at(1), at(2)),
            (GateName::Throttled, at(2), at(4)),
        ];
        assert_eq!(known, expected);
    }
}
