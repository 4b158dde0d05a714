//! Reads parked submissions ahead of the operator: the next ones whole, so that they are there at once, and of all
//! others what makes them alike.

use std::collections::{HashMap, HashSet, VecDeque};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::cli::render::escape::visible;
use crate::cli::render::words;
use crate::model::SubmissionId;
use crate::store::{Outbox, StoreError, Story};

use super::case::Case;

/// So many of the next ones are kept whole, each with a payload of up to `inbox.max_result_size` and that of the
/// registered one.
pub const AHEAD: usize = 8;

/// What was found of one.
#[derive(Debug)]
pub enum Found {
    Case(Box<Case>),
    /// It is not parked any more; what became of it, in words that go on from its number.
    Elsewhere(String),
}

/// A look at one of them, which goes on where it was when nobody waits for it.
type Look = BoxFuture<'static, Result<Found, StoreError>>;

pub struct Survey {
    outbox: Outbox,
    queue: VecDeque<SubmissionId>,
    waiting: HashSet<SubmissionId>,
    under_way: Option<(SubmissionId, Look)>,
    cases: HashMap<SubmissionId, Case>,
}

impl Survey {
    pub fn new(outbox: Outbox, ids: &[SubmissionId]) -> Self {
        Self {
            outbox,
            queue: ids.iter().copied().collect(),
            waiting: ids.iter().copied().collect(),
            under_way: None,
            cases: HashMap::new(),
        }
    }

    /// One more, or one that has changed.
    pub fn add(&mut self, id: SubmissionId) {
        self.cases.remove(&id);
        if self.waiting.insert(id) {
            self.queue.push_back(id);
        }
    }

    /// The case that was read ahead.
    pub fn take(&mut self, id: SubmissionId) -> Option<Case> {
        self.cases.remove(&id)
    }

    /// Keeps what comes soon, drops the rest, and looks first at those of them that are missing.
    pub fn expect(&mut self, upcoming: &[SubmissionId]) {
        self.cases.retain(|id, _| upcoming.contains(id));
        let under_way = self.under_way.as_ref().map(|(id, _)| *id);
        let is_missing = |id: &&SubmissionId| under_way != Some(**id) && !self.cases.contains_key(*id);
        let missing: Vec<SubmissionId> = upcoming.iter().filter(is_missing).copied().collect();
        if missing.iter().eq(self.queue.iter().take(missing.len())) {
            return;
        }
        for id in missing.iter().rev() {
            self.queue.retain(|one| one != id);
            self.queue.push_front(*id);
            self.waiting.insert(*id);
        }
    }

    /// The next one that was looked at; a case that comes soon is kept. Nothing is lost when this is dropped.
    pub async fn next(&mut self, upcoming: &[SubmissionId]) -> Option<(SubmissionId, Result<Found, StoreError>)> {
        if self.under_way.is_none() {
            let id = self.queue.pop_front()?;
            self.waiting.remove(&id);
            let outbox = self.outbox.clone();
            self.under_way = Some((id, async move { look(&outbox, id).await }.boxed()));
        }
        let (id, look) = self.under_way.as_mut()?;
        let (id, found) = (*id, look.await);
        self.under_way = None;
        if let Ok(Found::Case(case)) = &found
            && upcoming.contains(&id)
        {
            self.cases.insert(id, Case::clone(case));
        }
        Some((id, found))
    }
}

/// One, as it is now.
pub async fn look(outbox: &Outbox, id: SubmissionId) -> Result<Found, StoreError> {
    let Some(story) = outbox.show(id).await? else {
        return Ok(Found::Elsewhere("does not exist any more".to_owned()));
    };
    let registered = match story.delivered_last {
        Some(last) => outbox.show(last).await?,
        None => None,
    };
    let case = Case::of(&story, registered.as_ref());
    Ok(case.map_or_else(
        || Found::Elsewhere(whereabouts(&story)),
        |case| Found::Case(Box::new(case)),
    ))
}

/// What became of it and by whom, in words that go on from its number.
fn whereabouts(story: &Story) -> String {
    let state = story.listed.state.name();
    match story.history.last() {
        Some(last) => format!("is {state} by now: {}", words::event(last)),
        None => format!("is {} by now", visible(state.into_str())),
    }
}
