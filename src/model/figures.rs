//! What happened in a stretch of time, in numbers: how many results came in and from where, how many attempts ended how,
//! and how long answers took. Figures of several stretches add up.

use std::collections::BTreeMap;
use std::time::Duration;

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::ending::EndingName;

/// By which way a result came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Door {
    /// The inbox directory.
    File,
    /// The row inbox.
    Row,
    /// `enqueue`.
    User,
}

/// What a status says at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub enum StatusClass {
    #[strum(serialize = "1xx")]
    Informational,
    #[strum(serialize = "2xx")]
    Success,
    #[strum(serialize = "3xx")]
    Redirection,
    #[strum(serialize = "4xx")]
    ClientError,
    #[strum(serialize = "5xx")]
    ServerError,
    /// A status that no standard knows.
    #[strum(serialize = "other")]
    Other,
    /// No answer came.
    #[strum(serialize = "none")]
    NoAnswer,
}

impl StatusClass {
    /// Of an answer's status; none where there was no answer.
    pub const fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::NoAnswer,
            Some(100..=199) => Self::Informational,
            Some(200..=299) => Self::Success,
            Some(300..=399) => Self::Redirection,
            Some(400..=499) => Self::ClientError,
            Some(500..=599) => Self::ServerError,
            Some(_) => Self::Other,
        }
    }
}

/// One thing that is counted. [`Figure::name`] is what the outbox keeps, and never changes once it is in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Results taken in, invalid ones included.
    Taken(Door),
    /// Of these, those that local validation made dead letters of.
    Invalid,
    /// Results dropped, because their key is kept with the same object.
    Duplicate,
    /// Attempts that ended, sent or interrupted.
    Attempt(EndingName, StatusClass),
    /// Answers by the time they took: the place of [`ANSWER_MS`] that is the first not below it; the last place, which
    /// has no limit, is [`ANSWER_MS`]'s length.
    Answer(usize),
    /// The times of all answers together, in milliseconds.
    AnswerMs,
}

/// The upper limits of the buckets of answer times, in milliseconds: fine enough that a percentile is off by less than
/// half of itself, and few enough to be kept for every minute.
pub const ANSWER_MS: [u64; 25] = [
    1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, 200, 300, 500, 700, 1_000, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000,
    30_000, 50_000, 70_000,
];

impl Figure {
    /// Of an answer that took so long.
    pub fn of_answer(elapsed: Duration) -> Self {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self::Answer(ANSWER_MS.partition_point(|limit| *limit < millis))
    }

    /// As it is stored: `taken.file`, `attempt.delivered.2xx`, `answer.100`, …
    pub fn name(self) -> String {
        match self {
            Self::Taken(door) => format!("taken.{}", door.into_str()),
            Self::Invalid => "invalid".to_owned(),
            Self::Duplicate => "duplicate".to_owned(),
            Self::Attempt(ending, class) => format!("attempt.{}.{}", ending.into_str(), class.into_str()),
            Self::Answer(place) => ANSWER_MS
                .get(place)
                .map_or_else(|| "answer.inf".to_owned(), |limit| format!("answer.{limit}")),
            Self::AnswerMs => "answer_ms".to_owned(),
        }
    }

    /// Out of its name; none where another version counts something that this one does not know.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let figure = match (parts.next()?, parts.next(), parts.next()) {
            ("taken", Some(door), None) => Self::Taken(door.parse().ok()?),
            ("invalid", None, None) => Self::Invalid,
            ("duplicate", None, None) => Self::Duplicate,
            ("attempt", Some(ending), Some(class)) => Self::Attempt(ending.parse().ok()?, class.parse().ok()?),
            ("answer", Some("inf"), None) => Self::Answer(ANSWER_MS.len()),
            ("answer", Some(limit), None) => {
                let limit: u64 = limit.parse().ok()?;
                Self::Answer(ANSWER_MS.iter().position(|known| *known == limit)?)
            }
            ("answer_ms", None, None) => Self::AnswerMs,
            _ => return None,
        };
        parts.next().is_none().then_some(figure)
    }
}

/// Figures with how often each was met; one that is not in it is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures(BTreeMap<Figure, u64>);

impl Figures {
    pub fn add(&mut self, figure: Figure, count: u64) {
        if count > 0 {
            let sum = self.0.entry(figure).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    pub fn add_all(&mut self, others: &Self) {
        for (figure, count) in &others.0 {
            self.add(*figure, *count);
        }
    }

    pub fn get(&self, figure: Figure) -> u64 {
        self.0.get(&figure).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Figure, u64)> {
        self.0.iter().map(|(figure, count)| (*figure, *count))
    }

    /// Results taken in by any way.
    pub fn taken(&self) -> u64 {
        Door::VARIANTS.iter().map(|door| self.get(Figure::Taken(*door))).sum()
    }

    /// Attempts that ended in one of these ways.
    pub fn attempts(&self, endings: &[EndingName]) -> u64 {
        self.iter()
            .filter_map(|(figure, count)| match figure {
                Figure::Attempt(ending, _) if endings.contains(&ending) => Some(count),
                Figure::Attempt(..)
                | Figure::Taken(_)
                | Figure::Invalid
                | Figure::Duplicate
                | Figure::Answer(_)
                | Figure::AnswerMs => None,
            })
            .sum()
    }

    /// Submissions that the API has taken.
    pub fn delivered(&self) -> u64 {
        self.attempts(&[EndingName::Delivered, EndingName::Accepted])
    }

    /// Attempts after which another one follows.
    pub fn retried(&self) -> u64 {
        self.attempts(&[EndingName::Retry, EndingName::Interrupted])
    }

    /// Submissions that became dead letters, by an answer or at intake.
    pub fn dead(&self) -> u64 {
        self.attempts(&[EndingName::Dead]) + self.get(Figure::Invalid)
    }

    /// Submissions that wait for a person.
    pub fn parked(&self) -> u64 {
        self.attempts(&[EndingName::Parked])
    }

    /// How many answers took at most as long as each bucket's limit, and more than the one before.
    pub fn answers(&self) -> Vec<u64> {
        (0..=ANSWER_MS.len())
            .map(|place| self.get(Figure::Answer(place)))
            .collect()
    }

    /// The time, in milliseconds, that so many of a hundred answers did not exceed, as if they lay evenly within their
    /// bucket; none where there was no answer.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts and milliseconds far below 2^52"
    )]
    pub fn percentile(&self, of_hundred: u64) -> Option<u64> {
        let answers = self.answers();
        let total: u64 = answers.iter().sum();
        let wanted = (total.saturating_mul(of_hundred)).div_ceil(100).max(1);
        let mut before = 0;
        for (place, count) in answers.iter().enumerate() {
            if *count > 0 && before + count >= wanted {
                let low = place.checked_sub(1).map_or(0, |below| ANSWER_MS[below]);
                let Some(high) = ANSWER_MS.get(place) else {
                    return Some(low);
                };
                let share = (wanted - before) as f64 / *count as f64;
                return Some(low + ((high - low) as f64 * share).ceil() as u64);
            }
            before += count;
        }
        None
    }

    /// By name, for the outbox.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        self.iter().map(|(figure, count)| (figure.name(), count)).collect()
    }

    /// Out of what [`Figures::by_name`] wrote; what another version counted is left out.
    pub fn of_names<'a>(names: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut figures = Self::default();
        for (name, count) in names {
            if let Some(figure) = Figure::parse(name) {
                figures.add(figure, count);
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Figure> {
        let mut all: Vec<Figure> = Door::VARIANTS.iter().map(|door| Figure::Taken(*door)).collect();
        all.extend([Figure::Invalid, Figure::Duplicate, Figure::AnswerMs]);
        all.extend((0..=ANSWER_MS.len()).map(Figure::Answer));
        for ending in EndingName::VARIANTS {
            all.extend(
                StatusClass::VARIANTS
                    .iter()
                    .map(|class| Figure::Attempt(*ending, *class)),
            );
        }
        all
    }

    #[test]
    fn every_figure_is_found_again_by_its_name_and_no_other_text_is_one() {
        for figure in all() {
            assert_eq!(Figure::parse(&figure.name()), Some(figure));
        }
        for text in [
            "",
            "taken",
            "taken.moon",
            "attempt.delivered",
            "answer.4",
            "invalid.x",
            "answer.10.1",
            "answer_ms.1",
        ] {
            assert_eq!(Figure::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_that_are_in_outboxes_stay() {
        let names = [
            Figure::Taken(Door::User),
            Figure::Attempt(EndingName::Retry, StatusClass::NoAnswer),
            Figure::Attempt(EndingName::Delivered, StatusClass::Success),
            Figure::Answer(10),
            Figure::Answer(ANSWER_MS.len()),
        ]
        .map(Figure::name);
        let kept = [
            "taken.user",
            "attempt.retry.none",
            "attempt.delivered.2xx",
            "answer.100",
            "answer.inf",
        ];
        assert_eq!(names, kept);
    }

    #[test]
    fn an_answer_counts_where_its_limit_is_the_first_not_below_it() {
        let place = |millis| Figure::of_answer(Duration::from_millis(millis));
        assert_eq!(place(0), Figure::Answer(0));
        assert_eq!(place(1), Figure::Answer(0));
        assert_eq!(place(2), Figure::Answer(1));
        assert_eq!(place(100), Figure::Answer(10));
        assert_eq!(place(101), Figure::Answer(11));
        assert_eq!(place(70_001), Figure::Answer(ANSWER_MS.len()));
    }

    #[test]
    fn percentiles_lie_in_the_bucket_of_the_answer_that_they_name() {
        let mut figures = Figures::default();
        assert_eq!(figures.percentile(50), None);
        figures.add(Figure::of_answer(Duration::from_millis(80)), 98);
        figures.add(Figure::of_answer(Duration::from_millis(900)), 2);
        let known = [50, 95, 99].map(|of_hundred| figures.percentile(of_hundred).unwrap_or_default());
        assert!(known[0] > 70 && known[0] <= 100 && known[1] <= 100, "{known:?}");
        assert!(known[2] > 700 && known[2] <= 1000, "{known:?}");
        figures.add(Figure::of_answer(Duration::from_hours(1)), 900);
        assert_eq!(
            figures.percentile(50),
            Some(70_000),
            "beyond the last limit only that is known"
        );
    }

    #[test]
    fn sums_are_of_both_and_never_overflow() {
        let mut figures = Figures::of_names([("taken.file", 3), ("taken.row", 1), ("of another version", 9)]);
        let mut others = Figures::default();
        others.add(Figure::Taken(Door::File), u64::MAX);
        others.add(Figure::Attempt(EndingName::Accepted, StatusClass::ClientError), 2);
        figures.add_all(&others);
        assert_eq!(figures.get(Figure::Taken(Door::File)), u64::MAX);
        assert_eq!((figures.delivered(), figures.dead()), (2, 0));
        assert_eq!(figures.by_name().len(), 3);
    }
}
