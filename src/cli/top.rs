//! `top`: the queue, live, on the whole terminal, and what an operator does from there.
//!
//! [`watch`] looks at the outbox about once a second, [`view`] is what is shown and what a key makes of it, [`draw`] a
//! frame of that, [`deed`] does what a key asks for; this file is the edge at which they meet the terminal. Nothing is
//! drawn but after a key, a look or another size of the terminal.

mod deed;
mod draw;
mod head;
mod look;
mod rows;
mod tone;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{mpsc, watch as wishes};

use super::context::{Context, Global};
use super::exit::Exit;
use super::new_key::Placed;
use super::output::note;
use super::screen::{self, Input, Screen};
use look::{Look, Tab, Wish};
use view::{Effect, Event, View};
use watch::Watcher;

/// Looks and outcomes that wait for the view: it takes each at once, so a few are enough, and whoever sends more waits.
const WAITING_MAX: usize = 8;

pub async fn run(global: &Global) -> anyhow::Result<Exit> {
    let placed = Arc::new(Placed::read(global)?);
    let context = Arc::new(Context::enter(global)?);
    let Some(mut watcher) = Watcher::open(Arc::clone(&context)).await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let first = Wish {
        tab: Tab::Queue,
        shown: None,
        hinted: None,
    };
    let look = watcher.look(first).await;
    let mut screen = Screen::enter("use `reten-outbox status --watch`")?;
    let mut view = View::new(look, screen::has_colour());
    let (wish, wished) = wishes::channel(view.wish());
    let (looked, mut looks) = mpsc::channel::<Look>(1);
    let (done, mut outcomes) = mpsc::channel::<Event>(WAITING_MAX);
    let watching = tokio::spawn(watcher.run(wished, looked));
    loop {
        screen.draw(|frame| draw::draw(&mut view, frame))?;
        let event = tokio::select! {
            input = screen.next() => match input {
                Input::Key(key) => Event::Key(key),
                Input::Redraw => continue,
                Input::Stop => break,
            },
            Some(look) = looks.recv() => Event::Look(Box::new(look)),
            Some(event) = outcomes.recv() => event,
        };
        let is_done = matches!(event, Event::Done(_));
        match view.update(event) {
            Effect::Nothing => {}
            Effect::Quit => break,
            Effect::Do(deed) => {
                tokio::spawn(deed::perform(
                    deed,
                    Arc::clone(&context),
                    Arc::clone(&placed),
                    done.clone(),
                ));
            }
        }
        // What an act has changed is looked at at once.
        wish.send_if_modified(|known| std::mem::replace(known, view.wish()) != view.wish() || is_done);
    }
    drop(screen);
    watching.abort();
    if view.busy.is_some() {
        note("what was asked for last was still under way, and may be done in part: ask for it again");
    }
    Ok(Exit::Done)
}
