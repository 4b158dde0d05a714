//! Whether the rooms still turn: a room that waits for something that never comes looks alive to everybody but its own counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a room may stand still. Both turn every few seconds, idle or not, and wait for nothing longer than a database's busy timeout; the
/// longest honest step is the first pass over an enormous file.
const STILL_MAX: Duration = Duration::from_mins(10);

/// The rooms' counters.
#[derive(Debug, Default)]
pub(super) struct Progress {
    rooms: Vec<Room>,
}

#[derive(Debug)]
struct Room {
    name: &'static str,
    turns: Arc<AtomicU64>,
    seen: u64,
    since: Instant,
    told: bool,
}

impl Progress {
    /// Watches another room; what it has to count with.
    pub(super) fn of(&mut self, name: &'static str, now: Instant) -> Arc<AtomicU64> {
        let turns = Arc::new(AtomicU64::new(0));
        self.rooms.push(Room {
            name,
            turns: Arc::clone(&turns),
            seen: 0,
            since: now,
            told: false,
        });
        turns
    }

    /// The rooms that have stood still too long, each with whether that is news.
    pub(super) fn still(&mut self, now: Instant) -> Vec<(&'static str, bool)> {
        let mut still = Vec::new();
        for room in &mut self.rooms {
            let turns = room.turns.load(Ordering::Relaxed);
            if turns != room.seen {
                (room.seen, room.since, room.told) = (turns, now, false);
            } else if now.saturating_duration_since(room.since) > STILL_MAX {
                still.push((room.name, !room.told));
                room.told = true;
            }
        }
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_stands_still_is_named_until_it_turns_again() {
        let begin = Instant::now();
        let at = |minutes| begin + Duration::from_mins(minutes);
        let mut progress = Progress::default();
        let intake = progress.of("intake", begin);
        let delivery = progress.of("delivery", begin);
        intake.store(1, Ordering::Relaxed);
        delivery.store(1, Ordering::Relaxed);
        assert!(progress.still(at(1)).is_empty());
        delivery.store(2, Ordering::Relaxed);
        assert!(progress.still(at(10)).is_empty());
        assert_eq!(progress.still(at(12)), [("intake", true)]);
        assert_eq!(progress.still(at(13)), [("intake", false)]);
        intake.store(2, Ordering::Relaxed);
        assert!(progress.still(at(14)).is_empty());
        assert_eq!(progress.still(at(30)), [("intake", true), ("delivery", true)]);
    }
}
