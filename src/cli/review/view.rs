//! How a review looks: a pure function of its state and the time. Without colour throughout, so that it is the same on
//! every terminal; what differs has a sign before it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::render::escape::visible;
use crate::cli::render::table::{truncate, wrap};
use crate::cli::render::time::{ago, span};
use crate::clock::Timestamp;
use crate::model::Decision;

use super::case::{Case, Registered};
use super::compare::{Mark, Row, from_where_they_differ};
use super::session::{Fate, HOLD, Panel, Session};

/// The lines above and below the comparison.
const HEAD: u16 = 5;
const FOOT: u16 = 8;
/// The widest column of names.
const MEMBER_MAX: usize = 40;
/// Before the name: its sign and a blank.
const SIGN: usize = 2;
/// Between two columns.
const GAP: usize = 2;

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

const HELP: &[&str] = &[
    "o override  ours replaces the registered one: sent with \"hard_override\": true",
    "a accept    the registered one is ours: it counts as delivered, nothing is sent",
    "d dismiss   the registered one stays: ours is closed without being delivered",
    "e edit      ours in $VISUAL or $EDITOR; what is valid is sent instead of it",
    "s skip      leaves it parked and goes on; r shows the skipped ones again",
    "O A D       the same for all that are alike, after a question: same source and",
    "            reason, as much known of the registered one, same members differ",
    "u undo      takes the last decision back, then the one before it, and so on",
    "v           shows all members, or only those that differ",
    "arrows, j k, PgUp PgDn, space, Home End    move through the members",
    "q quit      carries out the last decision, and says how it went",
    "",
    "A decision is held until the next one, for ten seconds, or until q. So long it",
    "is nowhere but on this screen: u takes it back without a trace, and after",
    "Ctrl-C, or when the terminal dies, it stays parked. After that u parks again",
    "what nothing came of: accepted and dismissed ones, and an override until it is",
    "sent. An edit stays. All of it is in `reten-outbox show`, with your name.",
    "",
    "~ differs, + only ours, - only theirs. REGISTERED is what we delivered last of",
    "this activity; what the API has may have been changed by others since.",
];

/// Draws the whole screen; how far down the comparison went.
pub fn draw(session: &Session, now: Timestamp, instant: Instant, frame: &mut Frame) -> usize {
    let [title, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(FOOT.min(frame.area().height.saturating_sub(1))),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title_line(session, title.width)).style(REVERSED), title);
    let scroll = match (session.panel(), session.case()) {
        (Panel::Help, _) => {
            help(frame, body.union(foot));
            return session.scroll();
        }
        (Panel::None | Panel::Asking { .. }, Some(case)) => draw_case(session, case, now, frame, body),
        (Panel::None | Panel::Asking { .. }, None) => {
            let text = if session.current().is_some() {
                "\n Reading it …".to_owned()
            } else {
                let width = usize::from(body.width).max(20);
                let told = [&session.summary(), at_the_end(session)].map(|text| wrap(text, " ", width));
                format!("\n Nothing is left to decide.\n\n{}", told.join("\n"))
            };
            frame.render_widget(Paragraph::new(text), body);
            0
        }
    };
    draw_foot(session, instant, frame, foot);
    scroll
}

fn at_the_end(session: &Session) -> &'static str {
    if session.count(Fate::Skipped) > 0 {
        "r shows the skipped ones again, u takes the last decision back, q ends. New ones appear by themselves."
    } else {
        "u takes the last decision back, q ends. New ones appear by themselves."
    }
}

fn title_line(session: &Session, width: u16) -> String {
    let skipped = session.count(Fate::Skipped);
    let left = format!(
        " reten-outbox review   {} left, {} decided, {skipped} skipped",
        session.left(),
        session.decided()
    );
    let right = "? help  q quit ";
    let width = usize::from(width);
    let gap = width.saturating_sub(left.width() + right.width());
    if gap == 0 {
        return truncate(&left, width);
    }
    format!("{left}{}{right}", " ".repeat(gap))
}

fn help(frame: &mut Frame, area: Rect) {
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(format!(" {line}"))).collect();
    let mut all = vec![Line::styled(" Any key goes back", BOLD)];
    all.extend(lines);
    frame.render_widget(Paragraph::new(all), area);
}

/// The case; how far down its comparison went.
fn draw_case(session: &Session, case: &Case, now: Timestamp, frame: &mut Frame, area: Rect) -> usize {
    let [head, table] = Layout::vertical([Constraint::Length(HEAD.min(area.height)), Constraint::Min(0)]).areas(area);
    let width = usize::from(area.width);
    let tries = if case.attempts == 1 { "attempt" } else { "attempts" };
    let source = case.source.as_deref().map(|source| format!(", source {source}"));
    let alike = match session.alike().len() {
        0 | 1 => String::new(),
        many => format!(" ({many} alike)"),
    };
    let likely = match &case.likely {
        Some(likely) => format!("likely {likely}"),
        None => case.why.clone(),
    };
    let lines = [
        Line::styled(
            truncate(
                &format!(
                    "Submission {}{alike}, activity {}{}",
                    case.seen.id,
                    case.activity,
                    source.unwrap_or_default()
                ),
                width,
            ),
            BOLD,
        ),
        Line::raw(truncate(
            &format!(
                "parked {} after {} {tries}: {}",
                ago(case.seen.parked_at, now),
                case.attempts,
                case.seen.reason.into_str()
            ),
            width,
        )),
        Line::raw(truncate(&format!("the API: {}", case.answer), width)),
        Line::raw(truncate(&likely, width)),
    ];
    frame.render_widget(Paragraph::new(lines.to_vec()), head);
    draw_table(
        session,
        case,
        now,
        frame,
        Rect {
            y: head.y + HEAD.saturating_sub(1).min(head.height),
            height: table.height + u16::from(head.height == HEAD),
            ..table
        },
    )
}

/// Ours and the registered one, side by side.
fn draw_table(session: &Session, case: &Case, now: Timestamp, frame: &mut Frame, area: Rect) -> usize {
    let differs = !case.comparison.difference.is_empty();
    let rows: Vec<&Row> = if differs && !session.everything() {
        case.comparison.differing().collect()
    } else {
        case.comparison.rows.iter().collect()
    };
    let columns = Columns::of(&rows, usize::from(area.width));
    let mut lines = side_by_side(case, &rows, &columns);
    if let Registered::Kept(..) = case.registered {
        let hidden = case.comparison.rows.len() - rows.len();
        match (differs, hidden) {
            (false, _) => lines.insert(0, Line::raw("  no member differs")),
            (true, 0) => {}
            (true, 1) => lines.push(Line::raw("  1 more member is the same: v shows it")),
            (true, hidden) => lines.push(Line::raw(format!("  {hidden} more members are the same: v shows them"))),
        }
        if !case.answer_lines.is_empty() {
            lines.push(Line::styled("  the API said", BOLD));
            lines.extend(
                case.answer_lines
                    .iter()
                    .map(|line| Line::raw(format!("  {}", truncate(line, columns.all)))),
            );
        }
    }
    let mut height = usize::from(area.height.saturating_sub(1));
    let is_long = lines.len() > height;
    height -= usize::from(is_long && height > 0);
    let scroll = session.scroll().min(lines.len().saturating_sub(height));
    let below = lines.len().saturating_sub(scroll + height);
    let ours = format!("OURS, taken in {}", ago(case.taken_in, now));
    let heading = columns.line(' ', "MEMBER", &ours, &case.registered_heading(now));
    let mut shown = vec![Line::styled(heading, BOLD.add_modifier(Modifier::UNDERLINED))];
    shown.extend(lines.into_iter().skip(scroll).take(height));
    if is_long {
        let more = format!("  {scroll} lines above, {below} below: arrows, PgUp and PgDn");
        shown.push(Line::raw(more));
    }
    frame.render_widget(Paragraph::new(shown), area);
    scroll
}

/// The lines of the comparison; where the registered one is not known, the API's answer stands in its place.
fn side_by_side(case: &Case, rows: &[&Row], columns: &Columns) -> Vec<Line<'static>> {
    let is_known = matches!(case.registered, Registered::Kept(..));
    let said = |place: usize| match place {
        0 => Some("the API said".to_owned()),
        place => case.answer_lines.get(place - 1).cloned(),
    };
    let count = if is_known {
        rows.len()
    } else {
        rows.len().max(case.answer_lines.len() + 1)
    };
    let line = |place: usize| {
        let row = rows.get(place);
        let sign = row.map_or(' ', |row| row.mark.sign());
        let member = row.map_or("", |row| row.member.as_str());
        let (ours, theirs) = match row {
            Some(row) => from_where_they_differ(row.ours.clone(), row.theirs.clone(), columns.value),
            None => (None, None),
        };
        let theirs = if is_known { theirs } else { said(place) };
        let text = columns.line(sign, member, &ours.unwrap_or_default(), &theirs.unwrap_or_default());
        let is_other = row.is_some_and(|row| row.mark != Mark::Same);
        Line::styled(text, if is_other { BOLD } else { Style::new() })
    };
    (0..count).map(line).collect()
}

/// The widths of the columns.
struct Columns {
    member: usize,
    value: usize,
    all: usize,
}

impl Columns {
    /// Names take what they need, up to a third; the values share the rest.
    fn of(rows: &[&Row], width: usize) -> Self {
        let all = width.saturating_sub(SIGN);
        let widest = rows.iter().map(|row| row.member.width()).max().unwrap_or(0);
        let member = widest.clamp(6, MEMBER_MAX).min(all / 3);
        Self {
            member,
            value: all.saturating_sub(member + 2 * GAP) / 2,
            all,
        }
    }

    fn line(&self, sign: char, member: &str, ours: &str, theirs: &str) -> String {
        let cell = |text: &str, width: usize| {
            let cut = truncate(text, width);
            let blanks = " ".repeat(width.saturating_sub(cut.width()));
            cut + &blanks
        };
        // Of a long name the end tells more: what is in which object is seen above.
        let name = if member.width() > self.member {
            tail(member, self.member)
        } else {
            member.to_owned()
        };
        let gap = " ".repeat(GAP);
        format!(
            "{sign} {}{gap}{}{gap}{}",
            cell(&name, self.member),
            cell(ours, self.value),
            truncate(theirs, self.value)
        )
    }
}

/// The end of a text that is wider than `width`.
fn tail(text: &str, width: usize) -> String {
    let mut kept = String::new();
    for character in text.chars().rev() {
        let longer = format!("{character}{kept}");
        if longer.width() + 1 > width {
            break;
        }
        kept = longer;
    }
    format!("…{kept}")
}

/// What each decision does, what is held, and what there is to say.
fn draw_foot(session: &Session, instant: Instant, frame: &mut Frame, area: Rect) {
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'_>> = match (session.panel(), session.case()) {
        (Panel::Asking { decision, ids, unknown }, Some(case)) => asking(*decision, ids.len(), *unknown, case, width),
        (Panel::None | Panel::Help, Some(_)) => vec![
            key_line("o", "override", "ours is sent again and replaces the registered one"),
            key_line("a", "accept", "the registered one is ours: delivered, nothing is sent"),
            key_line("d", "dismiss", "the registered one stays: ours is closed, not sent"),
            Line::raw("e edit   s skip   u undo   O A D all that are alike   v all members   ? help"),
        ],
        (Panel::None | Panel::Help | Panel::Asking { .. }, None) => vec![Line::raw(""); 4],
    };
    let held = session.held().map(|(deed, until)| {
        let left = until.saturating_duration_since(instant).min(HOLD);
        let seconds = span(std::time::Duration::from_secs(
            left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
        ));
        format!(
            "{} held for {seconds} or until the next decision; u takes it back",
            deed.name()
        )
    });
    let until_then = match held {
        Some(_) => "Until then it is parked, and stays so when this terminal dies.",
        None => "",
    };
    lines.push(Line::styled(truncate(&held.unwrap_or_default(), width), BOLD));
    lines.push(Line::raw(until_then));
    let message = wrap(session.message(), "", width.max(20));
    lines.extend(
        message
            .lines()
            .take(2)
            .map(|line| Line::styled(line.trim().to_owned(), BOLD)),
    );
    frame.render_widget(Paragraph::new(lines), area);
}

fn key_line(key: &'static str, name: &'static str, does: &'static str) -> Line<'static> {
    Line::from(vec![Span::styled(key, BOLD), Span::raw(format!(" {name:<10} {does}"))])
}

fn asking(decision: Decision, count: usize, unknown: usize, case: &Case, width: usize) -> Vec<Line<'static>> {
    let members: Vec<&str> = case
        .comparison
        .difference
        .iter()
        .map(|(member, _)| member.as_str())
        .collect();
    let of = match (&case.registered, members.is_empty()) {
        (Registered::Kept(..), true) => "no member differs".to_owned(),
        (Registered::Kept(..), false) => format!("these differ: {}", members.join(", ")),
        (Registered::Gone(_), _) => "registered by us, and no longer kept".to_owned(),
        (Registered::Unknown, _) => "not registered by us".to_owned(),
    };
    let source = case.source.as_deref().unwrap_or("(none)");
    let more = match unknown {
        0 => String::new(),
        unknown => format!(" {unknown} more are not compared yet, and not among them."),
    };
    let which = format!("source {source}; {}; {}", case.seen.reason.into_str(), visible(&of));
    let which = wrap(&which, "", width.max(20));
    let mut which = which.lines();
    let mut line = || Line::raw(truncate(which.next().unwrap_or_default().trim(), width));
    vec![
        Line::styled(
            format!("{} {count} that are alike?{more}", decision.act().into_str()),
            BOLD,
        ),
        line(),
        line(),
        Line::styled("y yes   any other key: no", BOLD),
    ]
}

#[cfg(test)]
mod tests;
