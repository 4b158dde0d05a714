//! How a closed gate finds out whether the key works again: by the question, or by a submission on trial.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::Client;
use crate::model::SubmissionId;
use crate::policy::gate::KeyVerdict;
use crate::store::ClaimOrder;

/// How many refused trials are remembered.
const REFUSED_MAX: usize = 15;
/// The longest pause between two dead letters that are put back: an attempt of each is kept, for as long as nobody
/// grants the permission.
const REVIVE_PAUSE_MAX: Duration = Duration::from_mins(10);

/// The key question (after a 401).
pub(super) async fn ask(client: Arc<Client>) -> KeyVerdict {
    KeyVerdict::of(&client.ask_of_key().await)
}

/// What is remembered of trials (after a 403), in this process only.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// Those that were refused, the latest last.
    refused: Vec<SubmissionId>,
    /// The dead letter that was put back to be the trial; it is one again when it is refused.
    revived: Option<SubmissionId>,
    /// No submission is looked for before this.
    quiet_until: Option<Instant>,
    /// No other dead letter is put back before this.
    revive_at: Option<Instant>,
    /// The pause after the next one that is put back.
    revive_pause: Duration,
}

impl Trials {
    /// Whom to claim: one that was not refused yet (a submission that the key may never touch must not hold the gate
    /// shut), and none that would overtake a dead letter, where the opening requeues those.
    pub(super) fn order(&self, spare_dead: bool) -> ClaimOrder {
        ClaimOrder::Trial {
            refused: self.refused.clone(),
            spare_dead,
        }
    }

    /// Those that were refused, the latest last.
    pub(super) fn all_refused(&self) -> Vec<SubmissionId> {
        self.refused.clone()
    }

    /// Whether this one was refused on trial.
    pub(super) fn was_refused(&self, id: SubmissionId) -> bool {
        self.refused.contains(&id)
    }

    /// This one was refused on trial. Whether it was a dead letter before, and becomes one again.
    pub(super) fn refused(&mut self, id: SubmissionId) -> bool {
        self.refused.retain(|known| *known != id);
        if self.refused.len() == REFUSED_MAX {
            self.refused.remove(0);
        }
        self.refused.push(id);
        self.revived.take_if(|revived| *revived == id).is_some()
    }

    /// When a dead letter may be put back; `None`: now.
    pub(super) fn revive_wait(&self, now: Instant) -> Option<Duration> {
        self.revive_at
            .map(|at| at.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero())
    }

    /// This one was put back. The next one follows after `pause_min` at first, and then ever less often.
    pub(super) fn revived(&mut self, id: SubmissionId, now: Instant, pause_min: Duration) {
        let pause = self.revive_pause.max(pause_min);
        self.quiet_until = None;
        self.revived = Some(id);
        self.revive_at = Some(now + pause);
        self.revive_pause = pause.saturating_mul(2).min(REVIVE_PAUSE_MAX);
    }

    /// Nothing of what is pending may go on trial: the next look follows after this.
    pub(super) fn found_none(&mut self, now: Instant, pause: Duration) {
        self.quiet_until = Some(now + pause);
    }

    /// How long there is nothing to look for.
    pub(super) fn quiet(&self, now: Instant) -> Option<Duration> {
        self.quiet_until
            .map(|until| until.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero())
    }

    /// Somebody asks, or the gate has opened: the pauses begin anew.
    pub(super) fn begin_anew(&mut self) {
        self.quiet_until = None;
        self.revive_at = None;
        self.revive_pause = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_refused_trials_is_bounded() {
        let mut trials = Trials::default();
        for id in 0..100 {
            trials.refused(SubmissionId(id));
        }
        assert_eq!(trials.all_refused().len(), REFUSED_MAX);
        assert!(trials.was_refused(SubmissionId(99)) && !trials.was_refused(SubmissionId(0)));
    }

    #[test]
    fn a_dead_letter_that_was_put_back_and_refused_is_one_again_and_the_next_follows_ever_later() {
        let (mut trials, start, minute) = (Trials::default(), Instant::now(), Duration::from_mins(1));
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(trials.revive_wait(now), None);
            trials.revived(SubmissionId(1), now, minute);
            assert!(trials.refused(SubmissionId(1)));
            assert!(!trials.refused(SubmissionId(1)), "only once");
            let pause = trials.revive_wait(now).unwrap();
            pauses.push(pause.as_secs() / 60);
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        trials.revived(SubmissionId(1), now, minute);
        trials.begin_anew();
        assert_eq!(trials.revive_wait(now), None);
    }
}
