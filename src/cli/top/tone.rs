//! How something is meant, and what that looks like.

use ratatui::style::{Color, Modifier, Style};

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Title,
    Quiet,
    Good,
    Warning,
    Bad,
}

/// Without colours what is bad is bold, and nothing is told by colour alone anyway.
pub fn style(tone: Tone, colour: bool) -> Style {
    let style = Style::new();
    match (tone, colour) {
        (Tone::Plain, _) | (Tone::Good, false) => style,
        (Tone::Title, _) | (Tone::Warning | Tone::Bad, false) => style.add_modifier(Modifier::BOLD),
        (Tone::Quiet, _) => style.add_modifier(Modifier::DIM),
        (Tone::Good, true) => style.fg(Color::Green),
        (Tone::Warning, true) => style.fg(Color::Yellow),
        (Tone::Bad, true) => style.fg(Color::Red),
    }
}
