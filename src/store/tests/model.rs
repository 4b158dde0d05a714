//! The outbox as a map: what the contract says, in the plainest words, for the state machine to compare with.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{Decision, StateName, Undo};

/// One submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct One {
    pub(super) lane: Option<u8>,
    pub(super) state: State,
    pub(super) due: Timestamp,
    /// What of `not_before` still has to be waited for, and `not_before` as it is shown.
    pub(super) held: Option<Timestamp>,
    pub(super) asked: Option<Timestamp>,
    pub(super) attempt: u32,
    pub(super) tries: u32,
    pub(super) waited: Duration,
    pub(super) lost: bool,
    /// By whom: a policy or a person.
    pub(super) overriding: Option<Who>,
    pub(super) was_unauthorized: bool,
    pub(super) requeued: bool,
    pub(super) updated: Timestamp,
    /// What was decided of it while it was parked, where nothing was written into its history since.
    pub(super) last_word: Option<Word>,
}

/// A decision that can be taken back, and what was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) undo: Undo,
    pub(super) overriding: Option<Who>,
}

/// Who wants to override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Policy,
    Person,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) all: BTreeMap<SubmissionId, One>,
    pub(super) delivered_last: BTreeMap<u8, SubmissionId>,
    pub(super) episode: BTreeSet<SubmissionId>,
    pub(super) last_id: i64,
    /// Who gets the odd place of a claim.
    pub(super) odd_one_to_requeued: bool,
}

impl Model {
    pub(super) fn admit(
        &mut self,
        lane: Option<u8>,
        invalid: bool,
        held: Option<Timestamp>,
        now: Timestamp,
    ) -> SubmissionId {
        self.last_id += 1;
        let asked = held;
        let held = held.filter(|until| *until > now && !invalid);
        let due = held.unwrap_or(now);
        let one = One {
            lane,
            state: if invalid {
                State::Dead(DeadReason::Invalid)
            } else {
                State::Pending { due }
            },
            due,
            held,
            asked,
            attempt: 0,
            tries: 0,
            waited: Duration::ZERO,
            lost: false,
            overriding: None,
            was_unauthorized: false,
            requeued: false,
            updated: now,
            last_word: None,
        };
        self.all.insert(SubmissionId(self.last_id), one);
        SubmissionId(self.last_id)
    }

    /// Those that may be sent: of each lane the smallest pending one, where none is sending; and all without a lane.
    fn heads(&self) -> Vec<SubmissionId> {
        let blocked = |id: SubmissionId, one: &One| {
            self.all.iter().any(|(other, known)| {
                let earlier = known.state.name() == StateName::Pending && *other < id;
                one.lane.is_some() && known.lane == one.lane && (earlier || known.state == State::Sending)
            })
        };
        let pending = self
            .all
            .iter()
            .filter(|(_, one)| one.state.name() == StateName::Pending);
        pending
            .filter(|(id, one)| !blocked(**id, one))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn claim(&mut self, limit: usize, order: ClaimOrder, now: Timestamp) -> Vec<SubmissionId> {
        let mut held: Vec<SubmissionId> = self.heads();
        held.retain(|id| self.all[id].held.is_some_and(|until| until <= now));
        held.sort_by_key(|id| (self.all[id].held, *id));
        for id in held.into_iter().take(limit) {
            self.one(id).held = None;
        }
        let mut turn = self.heads();
        turn.retain(|id| self.all[id].held.is_none());
        let beyond = now.plus(WAIT_MAX);
        let wait = |one: &One| Some(one.due).filter(|due| *due > now && *due <= beyond);
        match order {
            ClaimOrder::Due => {
                turn.retain(|id| self.all[id].due <= now || self.all[id].due > beyond);
                turn.sort_by_key(|id| (self.all[id].due > beyond, self.all[id].due, *id));
                turn = self.share(&turn, limit);
            }
            ClaimOrder::LeastTried => turn.sort_by_key(|id| (wait(&self.all[id]), self.all[id].tries, *id)),
            ClaimOrder::Lead => turn.sort_by_key(|id| {
                (
                    self.all[id].was_unauthorized,
                    wait(&self.all[id]),
                    self.all[id].tries,
                    *id,
                )
            }),
            ClaimOrder::Trial { refused, spare_dead } => {
                turn.retain(|id| !spare_dead || !self.overtakes_dead(*id));
                turn.sort_by_key(|id| (wait(&self.all[id]), self.all[id].tries, *id));
                turn = not_refused(&turn, &refused);
            }
            ClaimOrder::This(one) => turn.retain(|id| *id == one),
        }
        turn.truncate(limit);
        for id in &turn {
            let one = self.one(*id);
            one.state = State::Sending;
            if one.tries > 0 {
                // What was waited, and no more than was to be waited.
                one.waited += one.due.since(one.updated).min(now.since(one.updated));
            }
            one.attempt += 1;
            one.tries += 1;
            one.updated = now;
        }
        turn
    }

    /// Whether an older one of its activity is a dead letter that the opening will requeue.
    fn overtakes_dead(&self, id: SubmissionId) -> bool {
        let lane = self.all[&id].lane;
        lane.is_some() && self.of_episode().any(|dead| dead < id && self.all[&dead].lane == lane)
    }

    /// What the opening requeues.
    fn of_episode(&self) -> impl Iterator<Item = SubmissionId> {
        self.episode.iter().copied().filter(|id| {
            let Some(one) = self.all.get(id) else { return false };
            let last = one.lane.and_then(|lane| self.delivered_last.get(&lane));
            one.state == State::Dead(DeadReason::Unauthorized) && last.is_none_or(|last| last < id)
        })
    }

    pub(super) fn revive(&mut self, refused: &[SubmissionId], now: Timestamp) -> Option<SubmissionId> {
        let may: Vec<SubmissionId> = self.of_episode().filter(|id| !self.overtakes_dead(*id)).collect();
        let id = *not_refused(&may, refused).first()?;
        self.put_back(id, None, now);
        self.episode.remove(&id);
        Some(id)
    }

    /// Half for those that were put back, half for the others; where one kind is short, more of the other.
    fn share(&mut self, turn: &[SubmissionId], limit: usize) -> Vec<SubmissionId> {
        let (back, fresh): (Vec<SubmissionId>, Vec<SubmissionId>) = turn.iter().partition(|id| self.all[id].requeued);
        let odd = limit % 2;
        let half = limit / 2 + if self.odd_one_to_requeued { odd } else { 0 };
        self.odd_one_to_requeued ^= odd == 1;
        let of_back = back.len().min(half.max(limit.saturating_sub(fresh.len())));
        let of_fresh = fresh.len().min(limit - of_back);
        [&fresh[..of_fresh], &back[..of_back]].concat()
    }

    pub(super) fn settle(&mut self, id: SubmissionId, ending: Ending, lost: bool, now: Timestamp) {
        let one = self.one(id);
        one.updated = now;
        one.lost |= lost && ending != Ending::Released;
        match ending {
            Ending::Delivered | Ending::Accepted => return self.deliver(id),
            Ending::Retry { wait } | Ending::Interrupted { wait } => one.due = now.plus(wait),
            Ending::Override => {
                one.due = one.due.min(now);
                // A person's word stays a person's.
                one.overriding = one.overriding.or(Some(Who::Policy));
            }
            Ending::Released => one.tries -= 1,
            Ending::Dead { reason, .. } => {
                one.state = State::Dead(reason);
                if reason == DeadReason::Unauthorized {
                    self.episode.insert(id);
                }
                return;
            }
            Ending::Parked(reason) => {
                one.state = State::Parked(reason);
                return;
            }
        }
        one.state = State::Pending { due: one.due };
    }

    fn deliver(&mut self, id: SubmissionId) {
        self.one(id).state = State::Delivered;
        if let Some(lane) = self.all[&id].lane {
            let last = self.delivered_last.entry(lane).or_insert(id);
            *last = (*last).max(id);
        }
    }

    /// `edited`: where an edit moves it, and the `not_before` that it brings, were it to bring any.
    pub(super) fn act(
        &mut self,
        id: SubmissionId,
        act: &Act,
        edited: (Option<u8>, Option<Timestamp>),
        force: bool,
        now: Timestamp,
    ) -> Acted {
        let Some(one) = self.all.get(&id).cloned() else {
            return Acted::NoSuch;
        };
        let (allowed, sends): (&[StateName], bool) = match act {
            Act::Requeue | Act::Edit(_) => (&[StateName::Pending, StateName::Dead, StateName::Parked], true),
            Act::Revalidate if one.state == State::Dead(DeadReason::Invalid) => (&[StateName::Dead], true),
            Act::Revalidate => (&[], true),
            Act::Dismiss => (&[StateName::Pending, StateName::Dead, StateName::Parked], false),
            Act::Override => (&[StateName::Parked], true),
            Act::Accept => (&[StateName::Parked], false),
            Act::Undo(undo) => return self.undo(id, undo, now),
        };
        if !allowed.contains(&one.state.name()) {
            return Acted::WrongState(one.state);
        }
        let is_edit = matches!(act, Act::Edit(_));
        let lanes = [one.lane, edited.0.filter(|_| is_edit)];
        let later = lanes
            .into_iter()
            .flatten()
            .filter_map(|lane| self.delivered_last.get(&lane))
            .max()
            .copied();
        if let Some(later) = later.filter(|later| *later > id && sends && !force) {
            return Acted::Superseded(later);
        }
        let is_pending = one.state.name() == StateName::Pending;
        if let Some(until) = one
            .held
            .filter(|until| is_pending && *until > now && *act == Act::Requeue && !force)
        {
            return Acted::HeldUntil(until);
        }
        self.episode.remove(&id);
        let decision = match act {
            Act::Override => Some(Decision::Override),
            Act::Accept => Some(Decision::Accept),
            Act::Dismiss => Some(Decision::Dismiss),
            Act::Requeue | Act::Revalidate | Act::Edit(_) | Act::Undo(_) => None,
        };
        let delivered_before = one.lane.and_then(|lane| self.delivered_last.get(&lane)).copied();
        let word = |decision| Word {
            undo: Undo {
                decision,
                at: now,
                reason: ParkReason::Conflict,
                delivered_before,
            },
            overriding: one.overriding,
        };
        let is_parked = one.state.name() == StateName::Parked;
        let word = decision.filter(|_| is_parked).map(word);
        self.one(id).updated = now;
        if force && matches!(act, Act::Requeue | Act::Override) {
            let one = self.one(id);
            one.held = None;
            one.asked = one.asked.filter(|asked| *asked <= now);
        }
        match act {
            Act::Requeue | Act::Revalidate => self.put_back(id, None, now),
            Act::Override => self.put_back(id, Some(Who::Person), now),
            Act::Accept => self.deliver(id),
            Act::Dismiss => self.one(id).state = State::Dismissed,
            Act::Undo(_) => unreachable!("answered above"),
            Act::Edit(_) => {
                if edited.1.is_some() {
                    let one = self.one(id);
                    (one.asked, one.held) = (edited.1, edited.1.filter(|until| *until > now));
                }
                self.put_back_edited(id, edited, now);
            }
        }
        self.one(id).last_word = word;
        Acted::Done
    }

    fn undo(&mut self, id: SubmissionId, undo: &Undo, now: Timestamp) -> Acted {
        let one = self.all[&id].clone();
        let Some(word) = one.last_word.filter(|word| word.undo == *undo) else {
            return Acted::Changed;
        };
        if one.state.name() != undo.decision.leads_to() {
            return Acted::WrongState(one.state);
        }
        if one.state.name() == StateName::Pending && one.tries > 0 {
            return Acted::Changed;
        }
        let parked = self.one(id);
        (parked.state, parked.updated, parked.last_word) = (State::Parked(undo.reason), now, None);
        if undo.decision == Decision::Override {
            parked.overriding = word.overriding.filter(|who| *who == Who::Person);
        }
        if let Some(lane) = one.lane
            && undo.decision == Decision::Accept
            && self.delivered_last.get(&lane) == Some(&id)
        {
            let kept = self
                .all
                .iter()
                .filter(|(_, one)| one.lane == Some(lane) && one.state == State::Delivered);
            let last = kept.map(|(id, _)| *id).max().max(undo.delivered_before);
            self.delivered_last.remove(&lane);
            self.delivered_last.extend(last.map(|last| (lane, last)));
        }
        Acted::Done
    }

    /// What it has to wait for when it begins anew: nothing that it waited for once.
    fn holds(&mut self, id: SubmissionId, now: Timestamp) {
        let one = self.one(id);
        let is_new = one.state.name() == StateName::Dead && one.attempt == 0;
        one.held = if is_new {
            one.asked.filter(|until| *until > now)
        } else {
            one.held
        };
    }

    fn put_back_edited(&mut self, id: SubmissionId, edited: (Option<u8>, Option<Timestamp>), now: Timestamp) {
        self.put_back(id, None, now);
        let one = self.one(id);
        (one.lane, one.lost, one.overriding) = (edited.0, false, None);
        one.was_unauthorized = false;
    }

    fn put_back(&mut self, id: SubmissionId, overriding: Option<Who>, now: Timestamp) {
        self.holds(id, now);
        let one = self.one(id);
        one.last_word = None;
        one.was_unauthorized |= one.state == State::Dead(DeadReason::Unauthorized);
        one.due = one.held.map_or(now, |until| until.max(now));
        one.state = State::Pending { due: one.due };
        (one.tries, one.waited, one.updated) = (0, Duration::ZERO, now);
        one.overriding = overriding.or(one.overriding.filter(|who| *who == Who::Person));
        one.requeued = true;
    }

    pub(super) fn open_gate(&mut self, requeue: bool, now: Timestamp) -> u64 {
        let back: Vec<SubmissionId> = self.of_episode().filter(|_| requeue).collect();
        self.episode.clear();
        for id in &back {
            self.put_back(*id, None, now);
        }
        back.len() as u64
    }

    pub(super) fn sweep(&mut self, state: StateName, older_than: Timestamp) -> u64 {
        // What was delivered before an accepted one is not known for certain any more.
        for one in self.all.values_mut().filter(|one| one.state == State::Delivered) {
            one.last_word = None;
        }
        let before = self.all.len();
        let leaves = |one: &One| state != StateName::Sending && one.state.name() == state && one.updated <= older_than;
        self.all.retain(|_, one| !leaves(one));
        self.episode.retain(|id| self.all.contains_key(id));
        let kept: BTreeSet<u8> = self.all.values().filter_map(|one| one.lane).collect();
        self.delivered_last.retain(|lane, _| kept.contains(lane));
        (before - self.all.len()) as u64
    }

    pub(super) fn crash(&mut self, now: Timestamp) {
        self.odd_one_to_requeued = false;
        for one in self.all.values_mut().filter(|one| one.state == State::Sending) {
            (one.due, one.lost, one.updated, one.last_word) = (one.due.min(now), true, now, None);
            one.state = State::Pending { due: one.due };
        }
    }

    fn one(&mut self, id: SubmissionId) -> &mut One {
        self.all.get_mut(&id).unwrap()
    }
}

/// Those that are not among the refused; where there are none, the one that was refused longest ago is allowed, then
/// the next.
fn not_refused(ids: &[SubmissionId], mut refused: &[SubmissionId]) -> Vec<SubmissionId> {
    loop {
        let left: Vec<SubmissionId> = ids.iter().copied().filter(|id| !refused.contains(id)).collect();
        match refused.split_first() {
            Some((_, later)) if left.is_empty() => refused = later,
            Some(_) | None => return left,
        }
    }
}
