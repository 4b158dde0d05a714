//! How a closed gate finds out whether the key works again: by the question, or by a submission on trial.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::{Catalogue, Client};
use crate::clock::Timestamp;
use crate::model::{Actor, DeadReason, StateName, SubmissionId};
use crate::policy::gate::KeyVerdict;
use crate::store::{Act, ActRequest, Acted, Claimed, Filter, Listed, Outbox, Still, StoreError};

/// How many refused trials are remembered.
const REFUSED_MAX: usize = 15;
/// The longest pause between two dead letters that are put back: an attempt of each is kept, for as long as nobody grants the permission.
const REVIVE_PAUSE_MAX: Duration = Duration::from_mins(10);
/// How many dead letters are looked at; an episode leaves at most `delivery.max_in_flight` of them.
const DEAD_LOOK_MAX: u32 = 200;
/// How many are claimed for one trial at most. All but one go back at once, uncharged.
const CLAIM_MAX: u32 = 64;

/// The key question (after a 401).
pub(super) async fn ask(client: Arc<Client>) -> KeyVerdict {
    match client.result_types().await {
        // A key that may not view activities is known all the same.
        Catalogue::Types(_) | Catalogue::Forbidden => KeyVerdict::Works,
        Catalogue::Unauthorized => KeyVerdict::Refused,
        Catalogue::NoVerdict(_) => KeyVerdict::Silent,
    }
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
    /// How many to claim, so that one may be among them that has not been refused yet (a submission which the key may never touch must not
    /// hold the gate shut) and that would not overtake a dead letter. The others go back unsent.
    pub(super) fn to_claim(&self, dead: &[Listed]) -> u32 {
        u32::try_from(self.refused.len() + dead.len() + 1)
            .unwrap_or(u32::MAX)
            .min(CLAIM_MAX)
    }

    /// Which of these goes on trial: the first that has not been refused yet, else the one whose refusal is longest ago; none of an activity
    /// that has a dead letter which the opening will requeue, because it would overtake that. The others come back, to be released.
    pub(super) fn choose(&self, mut claimed: Vec<Claimed>, dead: &[Listed]) -> (Option<Claimed>, Vec<Claimed>) {
        let overtakes = |one: &Claimed| {
            let mine = |listed: &Listed| {
                listed.id < one.id
                    && listed
                        .facts
                        .activity()
                        .is_some_and(|key| one.activity.as_deref() == Some(key.text()))
            };
            dead.iter().any(mine)
        };
        let chosen = claimed
            .iter()
            .enumerate()
            .filter(|(_, one)| !overtakes(one))
            .min_by_key(|(place, one)| (self.rank(one.id), *place))
            .map(|(place, _)| place);
        let trial = chosen.map(|place| claimed.remove(place));
        (trial, claimed)
    }

    fn rank(&self, id: SubmissionId) -> usize {
        self.refused.iter().position(|known| *known == id).map_or(0, |place| place + 1)
    }

    /// Whether this one was refused on trial.
    pub(super) fn was_refused(&self, id: SubmissionId) -> bool {
        self.rank(id) > 0
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

    /// Everything that was claimed had to go back: the next look follows after this.
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

/// The dead letters that the opening will requeue. Some of earlier episodes may be among them, which stay dead: to leave their activities
/// alone meanwhile costs nothing.
pub(super) async fn dead(outbox: &Outbox) -> Result<Vec<Listed>, StoreError> {
    let filter = Filter {
        states: vec![StateName::Dead],
        reason: Some(DeadReason::Unauthorized.name().to_owned()),
        ..Filter::default()
    };
    outbox.list(&filter, None, DEAD_LOOK_MAX).await
}

/// Where nothing is pending that could go on trial: puts the oldest of the dead letters back. Without it a permission that was granted would
/// stay unnoticed until something new is dropped in. Which one, if there was one.
pub(super) async fn revive(
    outbox: &Outbox,
    mut dead: Vec<Listed>,
    trials: &Trials,
    now: Timestamp,
) -> Result<Option<SubmissionId>, StoreError> {
    dead.sort_by_key(|one| (trials.rank(one.id), one.id));
    for one in dead {
        let request = ActRequest {
            ids: vec![one.id],
            act: Act::Requeue,
            still: Still::default(),
            actor: Actor::Daemon("gate"),
            force: false,
            dry_run: false,
            now,
        };
        let acted = outbox.act(request).await?;
        if acted.iter().any(|(_, acted)| *acted == Acted::Done) {
            return Ok(Some(one.id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptNumber, Payload};

    fn claimed(id: i64) -> Claimed {
        Claimed {
            id: SubmissionId(id),
            attempt: AttemptNumber(1),
            tries: 1,
            waited: Duration::ZERO,
            payload: Payload::from_text("{}"),
            hard_override: false,
            lost_response: false,
            was_unauthorized: false,
            key: None,
            activity: None,
            source: None,
            on_conflict: None,
            claimed_at: Timestamp::default(),
        }
    }

    #[test]
    fn one_that_was_not_refused_yet_goes_on_trial_before_those_that_were() {
        let ids = |refused: &[i64]| {
            let mut trials = Trials::default();
            for id in refused {
                trials.refused(SubmissionId(*id));
            }
            let (trial, rest) = trials.choose(vec![claimed(1), claimed(2), claimed(3)], &[]);
            (trial.map(|one| one.id.0), rest.iter().map(|one| one.id.0).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[]), (Some(1), vec![2, 3]));
        assert_eq!(ids(&[1]), (Some(2), vec![1, 3]));
        assert_eq!(ids(&[1, 2]), (Some(3), vec![1, 2]));
        assert_eq!(ids(&[2, 1, 3]), (Some(2), vec![1, 3]), "the one refused longest ago");
        assert!(Trials::default().choose(Vec::new(), &[]).0.is_none());
    }

    #[test]
    fn the_memory_of_refused_trials_is_bounded() {
        let mut trials = Trials::default();
        for id in 0..100 {
            trials.refused(SubmissionId(id));
        }
        assert_eq!(trials.to_claim(&[]), 16);
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
