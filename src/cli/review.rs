//! `review`: parked conflicts, side by side with what is registered, decided one by one or by group.
//!
//! The state is [`session`], without a terminal and an outbox; [`view`] draws it, [`survey`] reads ahead, and [`deeds`]
//! does in the outbox what was decided. Here they meet the terminal.

mod case;
mod compare;
mod deeds;
mod session;
mod survey;
mod view;

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::{self, Timestamp};
use crate::model::{ActName, Decision, StateName, SubmissionId};
use crate::store::{Acted, Filter, StoreError};

use super::act::refusal;
use super::context::{Context, Global};
use super::edit::{Typed, checked, laid_out, type_in_editor};
use super::exit::{CliError, Exit};
use super::filter::FilterArgs;
use super::output::note;
use super::render::escape::visible;
use super::screen::{Input, Screen};
use deeds::Clerk;
use session::{Deed, Last, Session, What, Wish};
use survey::{AHEAD, Found, Survey, look};

/// Between two looks at what came in, and at what others did to the one on the screen.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What was parked so long before the last look is looked at again: another node's clock may be slow.
const LOOK_BACK: Duration = Duration::from_mins(1);
/// New ones are read in pages of so many, at most so many pages a look.
const PAGE: u32 = 500;
const PAGES_MAX: usize = 20;
/// While others are read ahead, the screen is drawn so often.
const FRAME_EVERY: Duration = Duration::from_millis(200);
/// What to do without a terminal.
const INSTEAD: &str = "use `reten-outbox list --state parked`, and then `override`, `accept` or `dismiss`";

/// The options of `review`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if args.filter.state.iter().any(|state| *state != StateName::Parked) {
        return Err(CliError::Usage("review is for what is parked; leave --state out".to_owned()).into());
    }
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let filter = Filter {
        states: vec![StateName::Parked],
        ..args.filter.at(context.now())
    };
    let ids = outbox.select(&filter).await?;
    if ids.is_empty() {
        let which = if args.filter.is_empty() {
            "nothing is parked"
        } else {
            "nothing that is parked matches"
        };
        note(which);
        outbox.close().await;
        return Ok(Exit::Done);
    }
    let mut screen = Screen::enter(INSTEAD)?;
    let mut desk = Desk {
        clerk: Clerk {
            outbox: &outbox,
            context: &context,
        },
        survey: Survey::new(outbox.clone(), &ids),
        session: Session::new(ids),
        looked_at: context.now(),
        filter,
        drafts: HashMap::new(),
        trouble: None,
    };
    let ended = desk.run(&mut screen).await;
    drop(screen);
    let Desk {
        survey,
        mut session,
        drafts,
        ..
    } = desk;
    // A look under way holds a connection, for which the closing outbox would wait.
    drop(survey);
    let dropped = session.release();
    if let Some(deed) = &dropped {
        session.reopen(&deed.seen.iter().map(|seen| seen.id).collect::<Vec<_>>());
    }
    outbox.close().await;
    writeln!(out, "{}", session.summary())?;
    if let Some(deed) = dropped {
        note(&format!("{} was not carried out: it stays parked", deed.name()));
    }
    for (id, typed) in drafts {
        note(&typed.keep(id)?);
    }
    // Why it ended early, or what was refused of the last decision.
    if !session.message().is_empty() && ended.is_ok() {
        note(session.message());
    }
    ended.map(|()| Exit::Done)
}

/// A review under way.
struct Desk<'a> {
    clerk: Clerk<'a>,
    survey: Survey,
    session: Session,
    filter: Filter,
    /// When it was last looked what came in.
    looked_at: Timestamp,
    /// What was typed and refused, to be opened again.
    drafts: HashMap<SubmissionId, Typed>,
    /// Why the outbox did not answer: nothing is read ahead until the next look.
    trouble: Option<String>,
}

/// What there is to do next.
enum Next {
    Input(Input),
    Looked(SubmissionId, Result<Found, StoreError>),
    HeldLongEnough,
    Tick,
    /// The time that is left of what is held goes down.
    Second,
}

impl Desk<'_> {
    async fn run(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let mut looks = interval(LOOK_EVERY);
        let mut seconds = interval(Duration::from_secs(1));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drawn_at: Option<Instant> = None;
        loop {
            let expected = self.expect();
            if drawn_at.is_none_or(|at| at.elapsed() >= FRAME_EVERY) {
                self.draw(screen)?;
                drawn_at = Some(Instant::now());
            }
            let held_until = self.session.held().map(|(_, until)| until);
            let next = tokio::select! {
                biased;
                input = screen.next() => Next::Input(input),
                () = wait_until(held_until) => Next::HeldLongEnough,
                _ = looks.tick() => Next::Tick,
                _ = seconds.tick(), if held_until.is_some() => Next::Second,
                Some((id, found)) = self.survey.next(&expected), if self.trouble.is_none() => Next::Looked(id, found),
            };
            // What comes of the survey is drawn now and then, everything else at once.
            match next {
                Next::Looked(id, found) => {
                    if self.session.wanted() == Some(id) {
                        drawn_at = None;
                    }
                    self.found(id, found);
                    continue;
                }
                Next::Input(Input::Key(key)) => {
                    let wish = self.session.key(key);
                    if wish == Wish::Quit {
                        return self.clerk.carry_out(&mut self.session).await;
                    }
                    let done = self.fulfil(wish, screen).await;
                    self.told(done);
                }
                Next::Input(Input::Stop) => return Ok(()),
                Next::HeldLongEnough => {
                    let done = self.clerk.carry_out(&mut self.session).await;
                    self.told(done);
                }
                Next::Tick => match self.look_around().await {
                    Ok(()) => self.answers_again(),
                    Err(error) => self.troubled(&error),
                },
                Next::Input(Input::Redraw) | Next::Second => {}
            }
            drawn_at = None;
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let mut drawn = None;
        screen.draw(|frame| drawn = Some(view::draw(&self.session, clock::now(), Instant::now(), frame)))?;
        if let Some(scroll) = drawn {
            self.session.drawn(scroll);
        }
        Ok(())
    }

    /// Brings the case that is wanted, where it was read ahead; which are to be read next, that one first.
    fn expect(&mut self) -> Vec<SubmissionId> {
        if let Some(case) = self.session.wanted().and_then(|id| self.survey.take(id)) {
            self.session.bring(case);
        }
        let mut expected: Vec<SubmissionId> = self.session.wanted().into_iter().collect();
        expected.extend(self.session.upcoming().take(AHEAD));
        self.survey.expect(&expected);
        expected
    }

    /// What was looked at.
    fn found(&mut self, id: SubmissionId, found: Result<Found, StoreError>) {
        match found {
            Ok(Found::Case(case)) => self.session.bring(*case),
            Ok(Found::Elsewhere(words)) => self.elsewhere(id, &words),
            Err(error) => self.troubled(&error),
        }
    }

    /// The outbox does not answer. What is said already is more than that, and goes with the next key.
    fn troubled(&mut self, error: &StoreError) {
        let text = visible(&error.to_string()).into_owned();
        if self.session.message().is_empty() {
            self.session.tell(text.clone());
        }
        self.trouble = Some(text);
    }

    fn answers_again(&mut self) {
        if self.trouble.take().is_some_and(|told| told == self.session.message()) {
            self.session.tell("");
        }
    }

    /// Somebody else decided it, or took it away.
    fn elsewhere(&mut self, id: SubmissionId, words: &str) {
        if self.session.is_open(id) {
            self.session.gone(id);
            self.session.tell(format!("submission {id} {words}"));
        }
    }

    fn told(&mut self, done: anyhow::Result<()>) {
        if let Err(error) = done {
            self.session.tell(visible(&format!("{error:#}")));
        }
    }

    async fn fulfil(&mut self, wish: Wish, screen: &mut Screen) -> anyhow::Result<()> {
        match wish {
            Wish::Nothing | Wish::Quit => {}
            Wish::Skip => {
                self.clerk.carry_out(&mut self.session).await?;
                self.session.skip();
            }
            Wish::Undo => {
                if let Last::CarriedOut(deed, decision) = self.session.take_back() {
                    self.clerk.take_back(&mut self.session, deed, decision).await?;
                }
            }
            Wish::Decide(decision, ids) => self.decide(decision, &ids).await?,
            Wish::Edit => self.edit(screen).await?,
        }
        Ok(())
    }

    /// Carries out what was held, and holds this, as far as the outbox would do it.
    async fn decide(&mut self, decision: Decision, ids: &[SubmissionId]) -> anyhow::Result<()> {
        let payload = match (ids, self.session.case()) {
            ([one], Some(case)) if case.seen.id == *one => Some(case.payload.clone()),
            _ => None,
        };
        let deed = Deed {
            what: What::Decided(decision),
            seen: self.session.seen(ids),
            payload,
            at: None,
        };
        self.clerk.carry_out(&mut self.session).await?;
        self.hold(deed, decision.act()).await
    }

    /// Holds a decision; what the outbox would refuse of it is told.
    async fn hold(&mut self, mut deed: Deed, act: ActName) -> anyhow::Result<()> {
        let refused = self.clerk.rehearse(&deed).await?;
        deed.seen.retain(|seen| refused.iter().all(|(id, _)| *id != seen.id));
        let count = refused.len();
        if !deed.seen.is_empty() {
            self.session.hold(deed, Instant::now());
        }
        for (id, why) in &refused {
            self.clerk.refused(&mut self.session, *id, act, why).await;
        }
        if let (Some((id, why)), true) = (refused.first(), count > 1) {
            let others = format!("{count} are left out, as submission {id}, which {}", refusal(act, why));
            self.session.tell(others);
        }
        Ok(())
    }

    /// Ours in the operator's editor, checked as `edit` does.
    async fn edit(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let Some(case) = self.session.case() else { return Ok(()) };
        let (id, payload, seen) = (case.seen.id, case.payload.clone(), case.seen);
        if let Some(later) = case.superseded_by {
            let why = refusal(ActName::Edit, &Acted::Superseded(later));
            self.session.tell(format!("submission {id} {why}"));
            return Ok(());
        }
        // An operator may type for an hour; what is held is not held that long.
        self.clerk.carry_out(&mut self.session).await?;
        let before = laid_out(&payload);
        let start = self
            .drafts
            .get(&id)
            .map_or_else(|| before.clone(), |typed| typed.text.clone());
        let typed = screen.outside(|| type_in_editor(id, &start))??;
        if typed.text == before {
            self.session.tell(format!("submission {id} unchanged"));
            return Ok(());
        }
        match checked(self.clerk.outbox, self.clerk.context, id, &typed.text).await {
            Ok((entry, warning)) => {
                let deed = Deed {
                    what: What::Edited(Box::new(entry)),
                    seen: vec![seen],
                    payload: Some(payload),
                    at: None,
                };
                self.drafts.remove(&id);
                self.hold(deed, ActName::Edit).await?;
                if let Some(warning) = warning {
                    self.session.tell(format!("warning: {}", visible(&warning)));
                }
            }
            Err(why) => {
                self.drafts.insert(id, typed);
                self.session
                    .tell(format!("{}; e opens your text again", visible(&why.to_string())));
            }
        }
        Ok(())
    }

    /// What came in since the last look, and what became of the one on the screen.
    async fn look_around(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let since = self.looked_at.minus(LOOK_BACK);
        let filter = Filter {
            changed_since: Some(self.filter.changed_since.map_or(since, |asked| asked.max(since))),
            ..self.filter.clone()
        };
        let mut arrived = Vec::new();
        for _ in 0..PAGES_MAX {
            let before = arrived.last().map(|(id, _)| *id);
            let page = self.clerk.outbox.list(&filter, before, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            arrived.extend(page.iter().map(|listed| (listed.id, listed.updated_at)));
            if is_last {
                break;
            }
        }
        // Oldest first, as they were before.
        for (id, parked_at) in arrived.into_iter().rev() {
            if self.session.arrived(id, parked_at) {
                self.survey.add(id);
            }
        }
        self.looked_at = now;
        if let Some(id) = self.session.current()
            && let Found::Elsewhere(words) = look(self.clerk.outbox, id).await?
        {
            self.elsewhere(id, &words);
        }
        Ok(())
    }
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
