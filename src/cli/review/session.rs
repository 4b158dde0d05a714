//! What the operator has before them, what was decided and what is held: the whole state of a review, without a
//! terminal and without an outbox.
//!
//! A decision is *held* first: it is carried out with the next one, after [`HOLD`], or at the end. Until then it is
//! nowhere but here, so that taking it back leaves no trace, and a terminal that dies leaves the submission parked. What
//! was carried out can still be taken back by an act of the outbox, as long as nothing came of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Decision, Entry, Payload, SubmissionId};

use super::case::{Case, Seen};

/// How long a decision is held: an operator who has pressed the wrong key knows it by then.
pub const HOLD: Duration = Duration::from_secs(10);
/// What was decided is kept so far back, to be taken back.
const PAST_MAX: usize = 1000;

/// What was done about some submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Decided(Decision),
    /// With the corrected payload.
    Edited(Box<Entry>),
    Skipped,
}

impl What {
    /// The word for it, as the command is called.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Decided(decision) => decision.act().into_str(),
            Self::Edited(_) => "edit",
            Self::Skipped => "skip",
        }
    }

    const fn fate(&self) -> Fate {
        match self {
            Self::Decided(Decision::Override) => Fate::Overridden,
            Self::Decided(Decision::Accept) => Fate::Accepted,
            Self::Decided(Decision::Dismiss) => Fate::Dismissed,
            Self::Edited(_) => Fate::Edited,
            Self::Skipped => Fate::Skipped,
        }
    }
}

/// One decision, about one or about many that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub what: What,
    pub seen: Vec<Seen>,
    /// Of a single one, what the operator saw: another payload is not decided by this.
    pub payload: Option<Payload>,
    /// When it was carried out.
    pub at: Option<Timestamp>,
}

impl Deed {
    /// `12: override`, `40 alike: override`.
    pub fn name(&self) -> String {
        match self.seen.as_slice() {
            [one] => format!("{}: {}", one.id, self.what.word()),
            many => format!("{} alike: {}", many.len(), self.what.word()),
        }
    }
}

/// What became of one in this review; those without are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    Overridden,
    Accepted,
    Dismissed,
    Edited,
    Skipped,
    /// Somebody else's doing.
    Gone,
}

/// What is over the case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Panel {
    #[default]
    None,
    Help,
    /// Whether all of these are meant.
    Asking {
        decision: Decision,
        ids: Vec<SubmissionId>,
        /// Open ones that nobody has compared yet: more of them may be alike.
        unknown: usize,
    },
}

/// What a key asks to be done with the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Decide(Decision, Vec<SubmissionId>),
    Edit,
    Skip,
    Undo,
    Quit,
}

/// What has to be asked of the outbox to take the last decision back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Last {
    /// Nothing: it is done, or there was none.
    Settled,
    CarriedOut(Deed, Decision),
}

#[derive(Debug, Default)]
pub struct Session {
    order: Vec<SubmissionId>,
    /// Whose turn it is; past the end where none is open.
    at: usize,
    fates: HashMap<SubmissionId, Fate>,
    seen: HashMap<SubmissionId, Seen>,
    case: Option<Box<Case>>,
    held: Option<(Deed, Instant)>,
    past: Vec<Deed>,
    panel: Panel,
    everything: bool,
    scroll: usize,
    message: String,
    /// The case was drawn: a key that was pressed before is for what stood there then.
    is_shown: bool,
}

impl Session {
    pub fn new(order: Vec<SubmissionId>) -> Self {
        Self {
            order,
            ..Self::default()
        }
    }

    /// Whose case it is.
    pub fn current(&self) -> Option<SubmissionId> {
        self.order.get(self.at).copied()
    }

    pub fn case(&self) -> Option<&Case> {
        self.case.as_deref()
    }

    /// Whose case has to be brought.
    pub fn wanted(&self) -> Option<SubmissionId> {
        self.current().filter(|_| self.case.is_none())
    }

    /// Brings a case, of the current one or of any other: it is known by then which are alike.
    pub fn bring(&mut self, case: Case) {
        self.learn(case.seen);
        if self.current() == Some(case.seen.id) {
            if self.case().is_none_or(|shown| shown.seen != case.seen) {
                (self.scroll, self.is_shown) = (0, false);
            }
            self.case = Some(Box::new(case));
        }
    }

    /// Learns of one what has to be remembered of all.
    pub fn learn(&mut self, seen: Seen) {
        self.seen.insert(seen.id, seen);
    }

    /// The next open ones after the current.
    pub fn upcoming(&self) -> impl Iterator<Item = SubmissionId> {
        let later = self.order.iter().skip(self.at + 1);
        later.copied().filter(|id| self.is_open(*id))
    }

    pub fn panel(&self) -> &Panel {
        &self.panel
    }

    pub fn everything(&self) -> bool {
        self.everything
    }

    pub fn scroll(&self) -> usize {
        self.scroll
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says something to the operator, until the next key. It must be safe for a terminal.
    pub fn tell(&mut self, message: impl Into<String>) {
        self.message = message.into();
    }

    /// What is held, and for how long yet.
    pub fn held(&self) -> Option<(&Deed, Instant)> {
        self.held.as_ref().map(|(deed, until)| (deed, *until))
    }

    /// What was drawn; `scroll` is how far down it went, which may be less than was asked for.
    pub fn drawn(&mut self, scroll: usize) {
        self.scroll = scroll;
        self.is_shown = self.case.is_some();
    }

    /// How many are open.
    pub fn left(&self) -> usize {
        self.order.iter().filter(|id| self.is_open(**id)).count()
    }

    pub fn count(&self, fate: Fate) -> usize {
        self.fates.values().filter(|one| **one == fate).count()
    }

    /// How many were decided.
    pub fn decided(&self) -> usize {
        let decided = [Fate::Overridden, Fate::Accepted, Fate::Dismissed, Fate::Edited];
        decided.into_iter().map(|fate| self.count(fate)).sum()
    }

    /// The open ones that are like the current, itself included.
    pub fn alike(&self) -> Vec<SubmissionId> {
        let Some(case) = self.case() else { return Vec::new() };
        let is_alike = |id: &&SubmissionId| {
            let seen = self.seen.get(id);
            self.is_open(**id) && seen.is_some_and(|seen| seen.likeness == case.seen.likeness)
        };
        self.order.iter().filter(is_alike).copied().collect()
    }

    /// What of these is known.
    pub fn seen(&self, ids: &[SubmissionId]) -> Vec<Seen> {
        ids.iter().filter_map(|id| self.seen.get(id).copied()).collect()
    }

    /// Whether nothing was decided about it.
    pub fn is_open(&self, id: SubmissionId) -> bool {
        !self.fates.contains_key(&id)
    }

    /// What a key does; the outbox is the caller's to ask.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        self.message.clear();
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return Wish::Nothing;
        }
        match std::mem::take(&mut self.panel) {
            Panel::None => self.key_on_case(key.code),
            Panel::Help => Wish::Nothing,
            Panel::Asking { decision, ids, .. } => {
                if key.code == KeyCode::Char('y') {
                    return Wish::Decide(decision, ids);
                }
                self.tell("nothing was decided");
                Wish::Nothing
            }
        }
    }

    fn key_on_case(&mut self, code: KeyCode) -> Wish {
        match code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('u') => return Wish::Undo,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.panel = Panel::Help,
            KeyCode::Char('v') => (self.everything, self.scroll) = (!self.everything, 0),
            KeyCode::Char('r') => self.take_up_skipped(),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll = self.scroll.saturating_add(10),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX / 2,
            KeyCode::Char(letter @ ('o' | 'a' | 'd' | 'O' | 'A' | 'D' | 'e' | 's')) => return self.decide(letter),
            _ => self.tell("no key of this screen: ? shows them"),
        }
        Wish::Nothing
    }

    fn decide(&mut self, letter: char) -> Wish {
        let Some(id) = self.current() else {
            self.tell("none is open: u takes the last decision back, r shows the skipped ones again, q ends");
            return Wish::Nothing;
        };
        if !self.is_shown {
            self.tell("it was not on the screen yet when that key was pressed: once more, please");
            return Wish::Nothing;
        }
        let decision = match letter.to_ascii_lowercase() {
            'o' => Decision::Override,
            'a' => Decision::Accept,
            'd' => Decision::Dismiss,
            'e' => return Wish::Edit,
            _ => return Wish::Skip,
        };
        if letter.is_ascii_lowercase() {
            return Wish::Decide(decision, vec![id]);
        }
        let unknown = self
            .order
            .iter()
            .filter(|id| self.is_open(**id) && !self.seen.contains_key(id))
            .count();
        self.panel = Panel::Asking {
            decision,
            ids: self.alike(),
            unknown,
        };
        Wish::Nothing
    }

    /// Holds a decision, and goes on to the next one.
    pub fn hold(&mut self, deed: Deed, now: Instant) {
        for seen in &deed.seen {
            self.fates.insert(seen.id, deed.what.fate());
        }
        self.held = Some((deed, now + HOLD));
        self.advance();
    }

    /// Passes over the current one.
    pub fn skip(&mut self) {
        if let Some(seen) = self.case().map(|case| case.seen) {
            self.fates.insert(seen.id, Fate::Skipped);
            self.remember(Deed {
                what: What::Skipped,
                seen: vec![seen],
                payload: None,
                at: None,
            });
            self.advance();
        }
    }

    /// The held decision, to be carried out.
    pub fn release(&mut self) -> Option<Deed> {
        self.held.take().map(|(deed, _)| deed)
    }

    /// It was carried out, as far as it goes: what is not named in it any more was refused.
    pub fn carried_out(&mut self, deed: Deed) {
        if !deed.seen.is_empty() {
            self.remember(deed);
        }
    }

    fn remember(&mut self, deed: Deed) {
        if self.past.len() == PAST_MAX {
            self.past.remove(0);
        }
        self.past.push(deed);
    }

    /// Somebody else decided it, or took it away.
    pub fn gone(&mut self, id: SubmissionId) {
        self.fates.insert(id, Fate::Gone);
        if self.current() == Some(id) {
            self.advance();
        }
    }

    /// It is open again, and comes once more after the others: what was decided could not be carried out.
    pub fn comes_again(&mut self, id: SubmissionId) {
        let current = self.current();
        if current == Some(id) {
            // It is before the operator already.
            self.fates.remove(&id);
            return;
        }
        if let Some(place) = self.order.iter().position(|one| *one == id) {
            self.order.remove(place);
            self.at -= usize::from(place < self.at);
        }
        self.fates.remove(&id);
        self.order.push(id);
        if current.is_none() {
            self.go_to(self.order.len() - 1);
        }
    }

    /// One that is parked, as it was found since `parked_at`: new, parked again, or known. Whether its case has to be
    /// made (again).
    pub fn arrived(&mut self, id: SubmissionId, parked_at: Timestamp) -> bool {
        let Some(known) = self.seen.get(&id) else {
            if !self.order.contains(&id) {
                self.comes_again(id);
                return true;
            }
            return false;
        };
        if known.parked_at == parked_at
            || self
                .held()
                .is_some_and(|(deed, _)| deed.seen.iter().any(|one| one.id == id))
        {
            return false;
        }
        self.seen.remove(&id);
        match self.fates.get(&id) {
            // The same one, back from a request that met another conflict, or put back by somebody.
            Some(Fate::Overridden | Fate::Accepted | Fate::Dismissed | Fate::Edited | Fate::Gone) => {
                self.comes_again(id);
            }
            Some(Fate::Skipped) | None => {}
        }
        if self.current() == Some(id) {
            self.case = None;
        }
        true
    }

    /// Takes the last decision back, as far as that is possible without the outbox.
    pub fn take_back(&mut self) -> Last {
        if let Some(deed) = self.release() {
            self.tell(format!("{} taken back; nothing of it was carried out", deed.name()));
            self.reopen(&deed.seen.iter().map(|seen| seen.id).collect::<Vec<_>>());
            return Last::Settled;
        }
        let Some(deed) = self.past.pop() else {
            self.tell("there is nothing to take back");
            return Last::Settled;
        };
        match deed.what {
            What::Skipped => self.reopen(&deed.seen.iter().map(|seen| seen.id).collect::<Vec<_>>()),
            What::Edited(_) => self.tell(format!(
                "{}, which is carried out and stays; the payload before it is in the history of `show`",
                deed.name()
            )),
            What::Decided(decision) => return Last::CarriedOut(deed, decision),
        }
        Last::Settled
    }

    /// These are open again, and the first of them is the current one.
    pub fn reopen(&mut self, ids: &[SubmissionId]) {
        for id in ids {
            self.fates.remove(id);
        }
        let again: HashSet<&SubmissionId> = ids.iter().collect();
        if let Some(place) = self.order.iter().position(|id| again.contains(id)) {
            self.go_to(place);
        }
    }

    fn take_up_skipped(&mut self) {
        let before = self.left();
        self.fates.retain(|_, fate| *fate != Fate::Skipped);
        if self.left() == before {
            self.tell("none was skipped");
        } else if self.current().is_none() {
            self.advance();
        }
    }

    /// The next open one: after the current, else from the beginning.
    fn advance(&mut self) {
        let is_open = |place: &usize| self.is_open(self.order[*place]);
        let later = (self.at + 1).min(self.order.len())..self.order.len();
        let place = later.chain(0..self.order.len()).find(is_open);
        self.go_to(place.unwrap_or(self.order.len()));
    }

    fn go_to(&mut self, place: usize) {
        (self.at, self.case, self.scroll, self.is_shown) = (place, None, 0, false);
    }

    /// How it went, in a line for the end.
    pub fn summary(&self) -> String {
        let told = [
            (Fate::Overridden, "overridden"),
            (Fate::Accepted, "accepted"),
            (Fate::Dismissed, "dismissed"),
            (Fate::Edited, "edited"),
            (Fate::Skipped, "skipped"),
        ];
        let mut parts: Vec<String> = told
            .iter()
            .map(|(fate, word)| format!("{} {word}", self.count(*fate)))
            .collect();
        match self.count(Fate::Gone) {
            0 => {}
            gone => parts.push(format!("{gone} decided by others")),
        }
        parts.push(format!("{} left", self.left()));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests;
