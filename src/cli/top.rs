//! `top`: the queue, live, on the whole terminal.

use std::time::Duration;

use ratatui::Frame;
use ratatui::style::{Color, Style};
use ratatui::widgets::Paragraph;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;

use super::context::{Context, Global};
use super::exit::Exit;
use super::screen::{self, Input, Screen};
use super::status;

/// Between two looks at the outbox.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub async fn run(global: &Global) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let mut text = status::text(&context, context.now).await?;
    let mut screen = Screen::enter("use `reten-outbox status --watch`")?;
    let style = if screen::has_colour() {
        Style::new().fg(Color::Cyan)
    } else {
        Style::new()
    };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        screen.draw(|frame| draw(&text, style, frame))?;
        tokio::select! {
            input = screen.next() => match input {
                Input::Key(key) if key.code.as_char() == Some('q') => return Ok(Exit::Done),
                Input::Key(_) | Input::Redraw => {}
                Input::Stop => return Ok(Exit::Done),
            },
            _ = looks.tick() => text = status::text(&context, clock::now()).await?,
        }
    }
}

fn draw(text: &str, style: Style, frame: &mut Frame) {
    frame.render_widget(Paragraph::new(text).style(style), frame.area());
}
