//! Medians, and ratios of medians with their spread.

use std::time::Duration;

/// Of the same thing, measured several times.
#[derive(Debug, Clone)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The value below which this share of them lies; of an even number the upper of the two in the middle.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a few thousand figures"
    )]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn spread(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }
}

/// Prints the ratio of the medians, and that of each round: what one side gained when the machine's speed changed.
pub fn tell_ratio(name: &str, ours: &Figures, yardstick: &Figures) {
    let mut rounds = Figures::new();
    for (ours, yardstick) in ours.0.iter().zip(&yardstick.0) {
        rounds.push(ours / yardstick);
    }
    let (low, high) = rounds.spread();
    println!(
        "  {name}: {:.2} ({low:.2}-{high:.2})",
        ours.median() / yardstick.median()
    );
}

/// Prints the ratio of the medians, and that of the slowest twentieths: of a thing that was measured many times.
pub fn tell_ratio_of_many(name: &str, ours: &Figures, yardstick: &Figures) {
    let [median, slow] = [0.5, 0.95].map(|share| ours.quantile(share) / yardstick.quantile(share));
    println!("  {name}: {median:.2} (at p95 {slow:.2})");
}

/// Prints the median and the spread.
pub fn tell(name: &str, figures: &Figures, unit: &str) {
    let (low, high) = figures.spread();
    let digits = usize::from(high < 100.0) + usize::from(high < 1.0);
    println!(
        "  {name}: {:.digits$}{unit} ({low:.digits$}-{high:.digits$})",
        figures.median()
    );
}

/// So many a second.
pub fn rate(number: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(number).unwrap()) / took.as_secs_f64()
}

/// Microseconds for each of so many.
pub fn micros_each(number: u64, took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(u32::try_from(number).unwrap())
}

/// KiB as MiB.
pub fn mebibytes(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) / 1024.0
}
