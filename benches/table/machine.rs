//! Whether the machine was ours alone: a measurement beside other work says little.

use std::fs;

/// What others may take of the processors, writing back of our files included, before a row's figures are to be
/// doubted.
const OTHERS_MAX: f64 = 0.10;

/// Ticks of all processors since the machine began.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    all: u64,
    busy: u64,
    /// What the host took away.
    stolen: u64,
    /// Of this process and of those that it started and that have ended.
    ours: u64,
}

impl Ticks {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        // user nice system idle iowait irq softirq steal; guests are in user.
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|field| field.parse().unwrap())
            .collect();
        let all = ticks.iter().sum();
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = own.rsplit_once(')').unwrap();
        Self {
            all,
            busy: all - ticks[3] - ticks[4],
            stolen: ticks[7],
            ours: fields
                .split_whitespace()
                .skip(11)
                .take(4)
                .map(|field| field.parse::<u64>().unwrap())
                .sum(),
        }
    }

    /// Prints what others took since then.
    #[expect(clippy::cast_precision_loss, reason = "ticks of an hour")]
    pub fn tell_others(self) {
        let now = Self::now();
        let all = (now.all - self.all).max(1) as f64;
        let stolen = (now.stolen - self.stolen) as f64 / all;
        let others = ((now.busy - self.busy) as f64 - (now.ours - self.ours) as f64).max(0.0) / all;
        let doubt = if others > OTHERS_MAX {
            ": NOT IDLE, measure again"
        } else {
            ""
        };
        println!(
            "  (others had {:.0} % of the processors, {:.1} % were taken by the host{doubt})",
            others * 100.0,
            stolen * 100.0
        );
    }
}
