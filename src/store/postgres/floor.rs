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
#[derive(Debug)]
pub(super) struct Floor {
    /// The last one claimed.
    last: Place,
    /// Where something was put back since the last claim began: it may not have seen that.
    lowered: Option<Place>,
    /// When a claim last began at the beginning.
    began: Option<Instant>,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            last: BEGINNING,
            lowered: None,
            began: None,
        }
    }
}

impl Floor {
    /// Where the claim begins that begins now.
    pub(super) fn place(&mut self, now: Instant) -> Place {
        let is_time = self
            .began
            .is_none_or(|began| now.duration_since(began) >= FROM_THE_BEGINNING_EVERY);
        let lowered = self.lowered.take().unwrap_or(self.last);
        self.last = if is_time { BEGINNING } else { self.last.min(lowered) };
        if self.last == BEGINNING {
            self.began = Some(now);
        }
        self.last
    }

    /// A claim that began there has come so far. One that found nothing leaves it where it was.
    pub(super) fn claimed(&mut self, up_to: Option<Place>) {
        self.last = up_to.unwrap_or(self.last);
    }

    /// Something may be due there: the next claim sees it, also where one is under way.
    pub(super) fn lower_to(&mut self, place: Place) {
        self.lowered = Some(self.lowered.map_or(place, |lowered| lowered.min(place)));
    }

    /// Something may be due anywhere, or what was claimed last was not.
    pub(super) fn forget(&mut self) {
        self.lower_to(BEGINNING);
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

    #[test]
    fn what_comes_back_while_a_claim_is_under_way_is_seen_by_the_next_one() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.place(now);
        floor.claimed(Some((10, 5)));
        floor.place(now);
        floor.lower_to((8, 1));
        floor.claimed(Some((20, 7)));
        assert_eq!(floor.place(now), (8, 1));
        floor.forget();
        floor.claimed(Some((30, 9)));
        assert_eq!(floor.place(now), BEGINNING);
    }
}
