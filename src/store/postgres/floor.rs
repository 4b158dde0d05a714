//! Where a claim begins to look for what is due.
//!
//! Each claim leaves dead entries at the beginning of the index that it reads. While somebody's old transaction holds the
//! vacuum back they stay, and every further claim would walk over all of them: so it begins behind what was claimed last.
//! What lies before that can only be what came back to its old place; where this process put it there it is known at
//! once, and once a second a claim begins at the beginning all the same.

use std::time::Duration;

use tokio::time::Instant;

/// How often a claim begins at the beginning.
const FROM_THE_BEGINNING_EVERY: Duration = Duration::from_secs(1);

/// A place in the order of what is due: by its time, then its number.
pub(super) type Place = (i64, i64);

/// Before everything.
pub(super) const BEGINNING: Place = (i64::MIN, i64::MIN);

/// What is remembered from one claim to the next.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// The last one claimed; `None`: the next claim begins at the beginning.
    last: Option<Place>,
    /// When a claim last did.
    began: Option<Instant>,
}

impl Floor {
    /// Where the next claim begins.
    pub(super) fn place(&mut self, now: Instant) -> Place {
        let is_time = self
            .began
            .is_none_or(|began| now.duration_since(began) >= FROM_THE_BEGINNING_EVERY);
        match self.last {
            Some(last) if !is_time => last,
            Some(_) | None => {
                self.began = Some(now);
                BEGINNING
            }
        }
    }

    /// A claim that began there has come so far. One that found nothing leaves it where it was.
    pub(super) fn claimed(&mut self, up_to: Option<Place>) {
        self.last = up_to.or(self.last);
    }

    /// Something is due there.
    pub(super) fn lower_to(&mut self, place: Place) {
        self.last = self.last.map(|last| last.min(place));
    }

    /// What was claimed last was not: its transaction failed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_begins_behind_the_last_one() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        assert_eq!(floor.place(now), BEGINNING);
        floor.claimed(Some((10, 5)));
        assert_eq!(floor.place(now), (10, 5));
        floor.claimed(None);
        assert_eq!(floor.place(now), (10, 5), "an empty one changes nothing");
    }

    #[test]
    fn once_a_second_it_begins_at_the_beginning() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.place(now);
        floor.claimed(Some((10, 5)));
        let later = now + FROM_THE_BEGINNING_EVERY;
        assert_eq!(floor.place(later), BEGINNING);
        floor.claimed(Some((20, 7)));
        assert_eq!(floor.place(later), (20, 7));
    }

    #[test]
    fn what_comes_back_before_it_is_not_passed_over() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.place(now);
        floor.claimed(Some((10, 5)));
        floor.lower_to((10, 9));
        assert_eq!(floor.place(now), (10, 5), "what lies behind is found anyway");
        floor.lower_to((10, 2));
        floor.lower_to((3, 8));
        assert_eq!(floor.place(now), (3, 8));
        floor.forget();
        assert_eq!(floor.place(now), BEGINNING);
    }
}
