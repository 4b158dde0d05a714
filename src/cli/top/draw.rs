//! What the view looks like: a frame out of its state, and nothing else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cli::render::escape::visible;
use crate::cli::render::table::{Layout, truncate, wrap};
use crate::cli::render::time::full;
use crate::model::SubmissionId;

use super::head;
use super::look::{Rows, Tab};
use super::rows;
use super::tone::{Tone, style};
use super::view::{Mode, View, group};

/// The least terminal on which anything can be read.
const LEAST: (u16, u16) = (40, 10);

/// The lines that the lower part keeps, however much the head has to say: the bar, a heading and five rows.
const BELOW_MIN: u16 = 7;

/// The most lines of a message.
const MESSAGE_LINES_MAX: usize = 3;

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!("too small: {} columns and {} lines at least; q quits", LEAST.0, LEAST.1);
        let lines: Vec<Line<'_>> = wrapped(&words, usize::from(area.width.max(1)))
            .into_iter()
            .map(Line::raw)
            .collect();
        frame.render_widget(Paragraph::new(lines), area);
        return;
    }
    let mut head = head::lines(view, usize::from(area.width));
    let message = message(view, usize::from(area.width));
    let message_height = u16::try_from(message.len()).unwrap_or(1);
    // The title and the foot are lines of their own.
    let above = area.height.saturating_sub(BELOW_MIN + message_height + 2);
    head.truncate(
        usize::from(if is_reading(&view.mode) {
            above.min(area.height / 6)
        } else {
            above
        })
        .max(1),
    );
    let head_height = u16::try_from(head.len()).unwrap_or(area.height);
    line(frame, area, 0, title(view, usize::from(area.width)));
    frame.render_widget(Paragraph::new(head), Rect::new(0, 1, area.width, head_height));
    let top = 1 + head_height;
    line(frame, area, top, bar(view));
    let body = Rect::new(
        0,
        top + 1,
        area.width,
        area.height.saturating_sub(top + 2 + message_height),
    );
    view.page_height = usize::from(body.height);
    match view.mode.clone() {
        Mode::Help(_) => help(frame, body),
        mode => open(view, &mode, frame, body),
    }
    let below = Rect::new(0, area.height - 1 - message_height, area.width, message_height);
    frame.render_widget(Paragraph::new(message), below);
    line(frame, area, area.height - 1, foot(view, usize::from(area.width)));
}

fn line(frame: &mut Frame, area: Rect, row: u16, line: Line<'_>) {
    frame.render_widget(line, Rect::new(0, row, area.width, 1));
}

fn title(view: &View, width: usize) -> Line<'static> {
    let status = &view.look.status;
    let daemon = match status.daemon_pid {
        Some(pid) => format!("daemon {}, process {pid}", status.daemon),
        None => format!("daemon {}", status.daemon),
    };
    let left = format!(" reten-outbox top   {daemon}");
    // `2026-11-28T10:04:11.123Z` without the fraction.
    let at = view.look.at().to_string();
    let at = format!("{}Z ", at.split('.').next().unwrap_or(&at));
    let text = rows::filled(&left, width.saturating_sub(at.width())) + &at;
    Line::styled(truncate(&text, width), Style::new().add_modifier(Modifier::REVERSED))
}

/// The tabs, with how many there are of what they show.
fn bar(view: &View) -> Line<'static> {
    let counts = view.look.status.counts.unwrap_or_default();
    let mut spans = Vec::new();
    for (place, tab) in Tab::ALL.into_iter().enumerate() {
        let count = match tab {
            Tab::Queue => Some(counts.pending + counts.sending),
            Tab::Failures => Some(counts.dead),
            Tab::Parked => Some(counts.parked),
            Tab::Producers | Tab::Log => None,
        };
        let count = count.map(|count| format!(" ({count})")).unwrap_or_default();
        let label = format!(" {} {}{count} ", place + 1, tab.name());
        let is_open = tab == view.tab;
        let look = Style::new().add_modifier(if is_open { Modifier::REVERSED } else { Modifier::DIM });
        spans.push(Span::styled(label, look));
    }
    Line::from(spans)
}

fn open(view: &mut View, mode: &Mode, frame: &mut Frame, body: Rect) {
    match mode {
        Mode::Table | Mode::Group(_) => table(view, frame, body),
        Mode::Page { id, scroll, .. } => page(view, *id, *scroll, frame, body),
        Mode::Ask { behind, .. } | Mode::Why { behind, .. } | Mode::Help(behind) => open(view, behind, frame, body),
    }
}

fn table(view: &View, frame: &mut Frame, body: Rect) {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let width = usize::from(body.width);
    let in_group = group(&view.mode);
    if let Some(failure) = in_group.and_then(|kind| rows::find(&view.look.rows, kind)) {
        let now = view.look.at();
        let mut told = vec![
            format!("{}: {}", rows::what(&failure.kind), rows::message(&failure.kind)),
            format!(
                "{} of them, first {}, last {}",
                failure.ids.len(),
                full(failure.first_seen, now),
                full(failure.last_seen, now)
            ),
            format!("producers: {}", rows::producers(failure)),
        ];
        // Of the newest of them, which is what it names.
        let hint = view
            .look
            .hint
            .as_ref()
            .filter(|(id, _)| failure.ids.first() == Some(id));
        told.extend(hint.map(|(_, hint)| format!("hint: {}", visible(hint))));
        lines.extend(told.iter().flat_map(|text| wrapped(text, width)).map(Line::raw));
    }
    let columns = rows::columns(view.tab, in_group.is_some(), width);
    let cells: Vec<Vec<String>> = view.rows.iter().map(|row| row.cells.clone()).collect();
    let layout = Layout::fit(columns, &cells, Some(width));
    if let Some(note) = beyond(view) {
        lines.push(Line::styled(truncate(&note, width), style(Tone::Quiet, view.colour)));
    }
    if view.rows.is_empty() {
        lines.push(Line::raw(nothing(view)));
        frame.render_widget(Paragraph::new(lines), body);
        return;
    }
    let heading = truncate(&layout.heading(), width);
    lines.push(Line::styled(heading, style(Tone::Title, view.colour)));
    let height = usize::from(body.height).saturating_sub(lines.len()).max(1);
    // The chosen one stays in sight.
    let first = (view.at + 1).saturating_sub(height);
    for (place, cells) in cells.iter().enumerate().skip(first).take(height) {
        let text = truncate(&layout.row(cells), width);
        lines.push(if place == view.at {
            Line::styled(
                rows::filled(&text, width),
                Style::new().add_modifier(Modifier::REVERSED),
            )
        } else {
            Line::raw(text)
        });
    }
    frame.render_widget(Paragraph::new(lines), body);
}

/// What of a table is not there, where it is not all.
fn beyond(view: &View) -> Option<String> {
    let counts = view.look.status.counts.unwrap_or_default();
    match &view.look.rows {
        Rows::Failures { looked_at, .. } if counts.dead > *looked_at as u64 => Some(format!(
            "of the newest {looked_at} of {} dead; `reten-outbox list --group` goes through all",
            counts.dead
        )),
        Rows::Producers { looked_at, .. } if *looked_at > 0 => Some(format!(
            "of the newest {looked_at} that were taken in and are still kept"
        )),
        Rows::Failures { .. } | Rows::Producers { .. } | Rows::Log(_) | Rows::Queue(_) | Rows::Parked(_) => None,
    }
}

fn nothing(view: &View) -> &'static str {
    let is_here = matches!(
        (&view.look.rows, view.tab),
        (Rows::Queue(_), Tab::Queue)
            | (Rows::Failures { .. }, Tab::Failures)
            | (Rows::Parked(_), Tab::Parked)
            | (Rows::Producers { .. }, Tab::Producers)
            | (Rows::Log(_), Tab::Log)
    );
    match (is_here, view.tab) {
        (false, _) => "reading …",
        (true, _) if group(&view.mode).is_some() => "None of them is left.",
        (true, Tab::Queue) => "Nothing waits, and nothing is being sent.",
        (true, Tab::Failures) => "No dead letters.",
        (true, Tab::Parked) => "Nothing waits for a decision.",
        (true, Tab::Producers | Tab::Log) => "Nothing yet.",
    }
}

fn page(view: &mut View, id: SubmissionId, scroll: usize, frame: &mut Frame, body: Rect) {
    let Some(page) = view.page(id) else {
        frame.render_widget(Paragraph::new("reading …"), body);
        return;
    };
    let width = usize::from(body.width);
    let folded: Vec<String> = page.lines.iter().flat_map(|line| folded(line, width)).collect();
    let last = folded.len().saturating_sub(usize::from(body.height));
    let first = scroll.min(last);
    let shown = folded
        .into_iter()
        .skip(first)
        .take(usize::from(body.height))
        .map(Line::raw);
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), body);
    stop_at(&mut view.mode, last);
}

/// A page is not scrolled beyond its end, so that the next key upwards moves it.
fn stop_at(mode: &mut Mode, last: usize) {
    match mode {
        Mode::Page { scroll, .. } => *scroll = (*scroll).min(last),
        Mode::Ask { behind, .. } | Mode::Why { behind, .. } | Mode::Help(behind) => stop_at(behind, last),
        Mode::Table | Mode::Group(_) => {}
    }
}

/// The line in pieces that fit; what is copied from a screen may be cut, but nothing of it is hidden.
fn folded(line: &str, width: usize) -> Vec<String> {
    if line.width() <= width {
        return vec![line.to_owned()];
    }
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for letter in line.chars() {
        let wide = letter.width().unwrap_or(0);
        if used + wide > width {
            pieces.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    pieces
}

/// Whether there is something to read, which wants the room of the head.
fn is_reading(mode: &Mode) -> bool {
    match mode {
        Mode::Page { .. } | Mode::Group(_) | Mode::Help(_) => true,
        Mode::Ask { behind, .. } | Mode::Why { behind, .. } => is_reading(behind),
        Mode::Table => false,
    }
}

/// The text in lines of this width, broken at blanks; a word that is longer is broken too.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    wrap(text, "", width)
        .lines()
        .flat_map(|line| folded(line, width))
        .collect()
}

/// What is asked, what the last act came to, or what is under way: a line at least.
fn message(view: &View, width: usize) -> Vec<Line<'static>> {
    let (words, tone) = match &view.mode {
        Mode::Ask { question, .. } => (format!("{question} y: yes, any other key: no"), Tone::Warning),
        Mode::Why { typed, .. } => (
            format!("Pause. Why, for those who find it closed? {}_", visible(typed)),
            Tone::Warning,
        ),
        Mode::Table | Mode::Group(_) | Mode::Page { .. } | Mode::Help(_) => {
            let words = view.message.as_ref().or(view.busy.as_ref());
            (words.cloned().unwrap_or_default(), Tone::Title)
        }
    };
    let lines = wrapped(&words, width).into_iter().take(MESSAGE_LINES_MAX);
    lines.map(|line| Line::styled(line, style(tone, view.colour))).collect()
}

/// The keys that apply: at 80 columns all of them.
fn foot(view: &View, width: usize) -> Line<'static> {
    let keys = match &view.mode {
        Mode::Ask { .. } => "y yes  any other key no",
        Mode::Why { .. } => "Enter pauses  Esc does not",
        Mode::Help(_) => "any key goes back",
        Mode::Page { .. } => "Esc back  ↑↓  R requeue  D dismiss  O override  A accept  h help  q quit",
        Mode::Group(_) => "Esc back  Enter show  R requeue all  D dismiss all  h help  q quit",
        Mode::Table => match view.tab {
            Tab::Queue => "1-5 tabs  Enter show  R requeue  D dismiss  p pause  r resume  h help  q quit",
            Tab::Failures => "1-5 tabs  Enter open  R requeue  D dismiss  p pause  r resume  h help  q quit",
            Tab::Parked => "1-5  Enter show  O override  A accept  D dismiss  R requeue  h help  q quit",
            Tab::Producers => "1-5 tabs  p pause  r resume  h help  q quit",
            Tab::Log => "1-5 tabs  Enter show  p pause  r resume  h help  q quit",
        },
    };
    let text = rows::filled(&truncate(&format!(" {keys}"), width), width);
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
}

const HELP: &str = "\
 1-5, Tab      the tabs: queue, failures by what went wrong, parked, producers, log
 ↑ ↓ k j       the line above, below    PgUp PgDn  a screenful    g G  the ends
 Enter         everything about the chosen one; of failures, those of a kind
 Esc           back
 R requeue     send it now    D dismiss  close it undelivered
 O override    of a parked one: ours replaces the registered result
 A accept      of a parked one: the registered result is ours
               of a kind of failure R and D take all; every act asks first
 p r           pause, resume: the gate, by hand
 h q           this help, quit (Ctrl-C too; Ctrl-Z and `fg`)
 It looks about once a second and changes nothing unless a key acts.";

fn help(frame: &mut Frame, body: Rect) {
    frame.render_widget(Paragraph::new(HELP), body);
}
