//! What an operator decides, done in the outbox by the same acts as the commands do.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::cli::act::refusal;
use crate::cli::context::Context;
use crate::clock::{self, Timestamp};
use crate::model::{Act, ActName, Decision, StateName, SubmissionId, Undo};
use crate::store::{ACT_IDS_MAX, ActRequest, Acted, Filter, Outbox, Still, StoreError};

use super::case::Seen;
use super::session::{Deed, Session, What};
use super::survey::{Found, look};

/// The outbox, and who acts on it.
pub struct Clerk<'a> {
    pub outbox: &'a Outbox,
    pub context: &'a Context,
}

impl Clerk<'_> {
    /// What of this decision the outbox would refuse now, each with why; nothing is changed.
    pub async fn rehearse(&self, deed: &Deed) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        let Some(act) = act(&deed.what) else {
            return Ok(Vec::new());
        };
        let mut answers = Vec::new();
        for seen in deed.seen.chunks(ACT_IDS_MAX) {
            let request = ActRequest {
                dry_run: true,
                ..self.request(act.clone(), seen, still(deed), clock::now())
            };
            answers.extend(self.outbox.act(request).await?);
        }
        answers.retain(|(_, acted)| *acted != Acted::Done);
        Ok(answers)
    }

    /// Carries out what is held; what cannot be done is told, and open again or somebody else's.
    pub async fn carry_out(&self, session: &mut Session) -> anyhow::Result<()> {
        let Some(mut deed) = session.release() else {
            return Ok(());
        };
        let Some(act) = act(&deed.what) else { return Ok(()) };
        let now = clock::now();
        deed.at = Some(now);
        let name = deed.name();
        let all = std::mem::take(&mut deed.seen);
        let mut trouble = None;
        for seen in all.chunks(ACT_IDS_MAX) {
            let answers = match trouble {
                None => {
                    self.outbox
                        .act(self.request(act.clone(), seen, still(&deed), now))
                        .await
                }
                Some(_) => Ok(Vec::new()),
            };
            let answers: BTreeMap<SubmissionId, Acted> = match answers {
                Ok(answers) => answers.into_iter().collect(),
                Err(error) => {
                    trouble = Some(error);
                    BTreeMap::new()
                }
            };
            for one in seen {
                match answers.get(&one.id) {
                    Some(Acted::Done) => deed.seen.push(*one),
                    Some(why) => self.refused(session, one.id, ActName::from(&act), why).await,
                    None => session.comes_again(one.id),
                }
            }
        }
        session.carried_out(deed);
        match trouble {
            None => Ok(()),
            Some(error) => Err(error).with_context(|| format!("{name} was not carried out, and comes again")),
        }
    }

    /// Tells what the outbox refuses, and why; what is another's by now is not asked for again.
    pub async fn refused(&self, session: &mut Session, id: SubmissionId, act: ActName, why: &Acted) {
        match why {
            Acted::Changed | Acted::WrongState(_) | Acted::NoSuch => match look(self.outbox, id).await {
                Ok(Found::Elsewhere(words)) => {
                    session.gone(id);
                    session.tell(format!("submission {id} {words}"));
                }
                // Parked still, but not what was decided: it is looked at again.
                Ok(Found::Case(case)) => {
                    session.comes_again(id);
                    session.bring(*case);
                    session.tell(format!("submission {id} {}", refusal(act, why)));
                }
                Err(_) => {
                    session.comes_again(id);
                    session.tell(format!("submission {id} {}", refusal(act, why)));
                }
            },
            Acted::Done | Acted::Superseded(_) | Acted::HeldUntil(_) => {
                session.comes_again(id);
                session.tell(format!("submission {id} {}", refusal(act, why)));
            }
        }
    }

    /// Takes back what was carried out, as long as nothing came of it.
    pub async fn take_back(&self, session: &mut Session, mut deed: Deed, decision: Decision) -> Result<(), StoreError> {
        let Some(at) = deed.at else { return Ok(()) };
        let name = deed.name();
        let mut alike: BTreeMap<(&'static str, Option<SubmissionId>), Vec<Seen>> = BTreeMap::new();
        for seen in &deed.seen {
            let key = (seen.reason.into_str(), seen.delivered_before);
            alike.entry(key).or_default().push(*seen);
        }
        let (mut back, mut left) = (Vec::new(), Vec::new());
        for same in alike.values().flat_map(|same| same.chunks(ACT_IDS_MAX)) {
            let Some(first) = same.first() else { continue };
            let undo = Undo {
                decision,
                at,
                reason: first.reason,
                delivered_before: first.delivered_before,
            };
            let request = self.request(Act::Undo(undo), same, Still::default(), clock::now());
            let answers = match self.outbox.act(request).await {
                Ok(answers) => answers,
                Err(error) => {
                    session.reopen(&back);
                    deed.seen.retain(|seen| !back.contains(&seen.id));
                    session.carried_out(deed);
                    return Err(error);
                }
            };
            for (id, acted) in answers {
                match acted {
                    Acted::Done => back.push(id),
                    other => left.push((id, other)),
                }
            }
        }
        session.reopen(&back);
        let told = match left.as_slice() {
            [] => format!("{name} taken back: parked again"),
            [(id, why)] if back.is_empty() => format!("{name} cannot be taken back: {}", self.left(*id, why).await),
            [(id, why), ..] => format!(
                "{name} taken back for {}; {} have left, as {id}: {}",
                back.len(),
                left.len(),
                self.left(*id, why).await
            ),
        };
        session.tell(told);
        Ok(())
    }

    /// Why it cannot be taken back, in a sentence.
    async fn left(&self, id: SubmissionId, why: &Acted) -> String {
        match (why, look(self.outbox, id).await) {
            (Acted::WrongState(state), _) if state.name() == StateName::Sending => {
                "it is being sent just now".to_owned()
            }
            (Acted::WrongState(state), _) if state.name() == StateName::Delivered => "it is delivered".to_owned(),
            (_, Ok(Found::Elsewhere(words))) => format!("it {words}"),
            (_, Ok(Found::Case(_))) => "it was sent, and is parked again by another conflict".to_owned(),
            (_, Err(error)) => error.to_string(),
        }
    }

    fn request(&self, act: Act, seen: &[Seen], still: Still, now: Timestamp) -> ActRequest {
        ActRequest {
            ids: seen.iter().map(|seen| seen.id).collect(),
            still,
            act,
            actor: self.context.actor(),
            force: false,
            dry_run: false,
            now,
        }
    }
}

fn act(what: &What) -> Option<Act> {
    Some(match what {
        What::Decided(Decision::Override) => Act::Override,
        What::Decided(Decision::Accept) => Act::Accept,
        What::Decided(Decision::Dismiss) => Act::Dismiss,
        What::Edited(entry) => Act::Edit(entry.clone()),
        What::Skipped => return None,
    })
}

/// Still parked, and what the operator saw: `dismiss` and `edit` would be done to what others have sent on its way.
fn still(deed: &Deed) -> Still {
    let parked = Filter {
        states: vec![StateName::Parked],
        ..Filter::default()
    };
    Still {
        matches: Some(Box::new(parked)),
        payload: deed.payload.clone(),
    }
}
