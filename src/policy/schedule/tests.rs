use proptest::prelude::*;

use super::*;

fn settings() -> RetrySettings {
    RetrySettings {
        initial_interval: Duration::from_secs(1),
        multiplier: 2.0,
        randomization_factor: 0.5,
        max_interval: Duration::from_mins(10),
        max_age: None,
        max_attempts: None,
    }
}

fn wait(settings: &RetrySettings, tries: u32, not_earlier: Option<Duration>, roll: f64) -> Duration {
    match next(settings, tries, Duration::ZERO, not_earlier, roll) {
        Some(wait) => wait,
        None => panic!("exhausted without a limit"),
    }
}

#[test]
fn the_waits_grow_by_the_multiplier_up_to_the_maximum() {
    let middle: Vec<u64> = (1..=12)
        .map(|tries| wait(&settings(), tries, None, 0.5).as_secs())
        .collect();
    // The last ones spread below the maximum instead of sitting on it.
    assert_eq!(middle, [1, 2, 4, 8, 16, 32, 64, 128, 256, 428, 450, 450]);
}

#[test]
fn a_roll_moves_the_wait_by_the_factor_to_both_sides() {
    let ends = [0.0, 1.0].map(|roll| wait(&settings(), 3, None, roll).as_millis());
    assert_eq!(ends, [2000, 6000]);
}

#[test]
fn at_the_maximum_the_waits_still_differ() {
    let mut waits: Vec<Duration> = (0..100)
        .map(|roll| wait(&settings(), 50, None, f64::from(roll) / 100.0))
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits.len(), 100);
}

#[test]
fn retry_after_is_a_floor_and_no_herd_waits_exactly_for_it() {
    let asked = Some(Duration::from_secs(30));
    let waits = [0.0, 0.5, 1.0].map(|roll| wait(&settings(), 1, asked, roll).as_millis());
    assert_eq!(waits, [30_000, 30_250, 30_500]);
    assert_eq!(wait(&settings(), 1, Some(Duration::MAX), 0.3), Duration::from_mins(10));
}

#[test]
fn the_number_of_attempts_and_the_age_have_their_limits() {
    let limited = RetrySettings {
        max_attempts: Some(3),
        max_age: Some(Duration::from_hours(1)),
        ..settings()
    };
    let next = |tries, waited| next(&limited, tries, waited, None, 0.5);
    assert!(next(2, Duration::ZERO).is_some());
    assert_eq!(next(3, Duration::ZERO), None);
    assert!(next(1, Duration::from_secs(3599)).is_some());
    assert_eq!(next(1, Duration::from_hours(1)), None);
}

#[test]
fn a_multiplier_of_one_and_an_interval_of_nothing_are_no_trouble() {
    let flat = RetrySettings {
        multiplier: 1.0,
        randomization_factor: 0.0,
        ..settings()
    };
    assert_eq!(wait(&flat, 100_000, None, 0.7), Duration::from_secs(1));
    let nothing = RetrySettings {
        initial_interval: Duration::ZERO,
        ..settings()
    };
    assert_eq!(wait(&nothing, 5, None, 0.7), Duration::ZERO);
}

fn any_settings() -> impl Strategy<Value = RetrySettings> {
    (1_u64..100_000, 1.0_f64..10.0, 0.0_f64..=1.0, 1_u64..10_000_000).prop_map(|(initial, multiplier, factor, max)| {
        RetrySettings {
            initial_interval: Duration::from_millis(initial),
            multiplier,
            randomization_factor: factor,
            max_interval: Duration::from_millis(max),
            max_age: None,
            max_attempts: None,
        }
    })
}

proptest! {
    #[test]
    fn every_wait_is_bounded_at_any_attempt(
        settings in any_settings(), tries in 0_u32..=100_000, asked in proptest::option::of(0_u64..u64::MAX), roll in 0.0_f64..=1.0,
    ) {
        let asked = asked.map(Duration::from_millis);
        let wait = wait(&settings, tries, asked, roll);
        prop_assert!(wait <= settings.max_interval);
        prop_assert!(wait >= asked.unwrap_or_default().min(settings.max_interval));
    }

    #[test]
    fn with_the_same_roll_a_later_attempt_never_waits_less(
        settings in any_settings(), tries in 1_u32..100, more in 1_u32..100_000, asked in proptest::option::of(0_u64..1_000_000), roll in 0.0_f64..=1.0,
    ) {
        let asked = asked.map(Duration::from_millis);
        prop_assert!(wait(&settings, tries, asked, roll) <= wait(&settings, tries + more, asked, roll));
    }

    #[test]
    fn the_same_roll_gives_the_same_wait(settings in any_settings(), tries in 1_u32..1000, roll in 0.0_f64..=1.0) {
        prop_assert_eq!(wait(&settings, tries, None, roll), wait(&settings, tries, None, roll));
    }
}
