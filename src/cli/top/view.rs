//! The state of the view, and what a key or a look makes of it. Pure: it neither reads nor draws, and what it wants done
//! it returns.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::failures::FailureKind;
use crate::cli::render::escape::visible;
use crate::model::{Act, ActName, StateName, SubmissionId};

use super::look::{Look, Page, Rows, Tab, Wish};
use super::rows::{self, Row, RowKey};

/// The most characters of a pause's reason.
const WHY_CHARS_MAX: usize = 200;

/// What comes to the view.
#[derive(Debug)]
pub enum Event {
    Key(KeyEvent),
    Look(Box<Look>),
    /// What was asked for is done, or could not be; in words, not escaped.
    Done(String),
    /// So many are done of so many.
    Progress(usize, usize),
}

/// What the view wants of who drives it.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Quit,
    Do(Deed),
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Act(ActDeed),
    Pause { why: Option<String> },
    Resume,
}

/// An act on submissions that the operator saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActDeed {
    pub act: Act,
    pub ids: Vec<SubmissionId>,
    /// The state in which they were seen; what has left it is left alone.
    pub state: StateName,
    /// Likewise, where they were chosen by it.
    pub kind: Option<FailureKind>,
}

/// What the lower part shows, or what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Table,
    /// One kind of failure, and the submissions of it.
    Group(FailureKind),
    /// A story, scrolled down by so many lines. Behind it is what was open before.
    Page {
        id: SubmissionId,
        scroll: usize,
        behind: Box<Mode>,
    },
    /// Whether it is meant; behind it is what was open before.
    Ask {
        question: String,
        deed: Deed,
        behind: Box<Mode>,
    },
    /// Why it is paused, as far as it is typed.
    Why {
        typed: String,
        behind: Box<Mode>,
    },
    Help(Box<Mode>),
}

/// The view.
#[derive(Debug)]
pub struct View {
    pub look: Look,
    pub tab: Tab,
    pub mode: Mode,
    /// The rows of the open table.
    pub rows: Vec<Row>,
    /// The chosen one.
    pub at: usize,
    /// What the last act came to, or why there was none; escaped.
    pub message: Option<String>,
    /// What is being done.
    pub busy: Option<String>,
    /// Whether there may be colours.
    pub colour: bool,
    /// The lines that a page can show at once, as it was drawn last.
    pub page_height: usize,
}

impl View {
    pub fn new(look: Look, colour: bool) -> Self {
        let mut view = Self {
            look,
            tab: Tab::Queue,
            mode: Mode::Table,
            rows: Vec::new(),
            at: 0,
            message: None,
            busy: None,
            colour,
            page_height: 10,
        };
        view.lay_rows();
        view
    }

    /// What it wants to see next.
    pub fn wish(&self) -> Wish {
        Wish {
            tab: self.tab,
            shown: shown(&self.mode),
            hinted: group(&self.mode)
                .and_then(|kind| rows::find(&self.look.rows, kind))
                .and_then(|failure| failure.ids.first().copied()),
        }
    }

    /// The open story, where it has come.
    pub fn page(&self, id: SubmissionId) -> Option<&Page> {
        self.look.page.as_ref().filter(|page| page.id == id)
    }

    /// Takes in what came.
    pub fn update(&mut self, event: Event) -> Effect {
        match event {
            Event::Look(look) => {
                self.look = *look;
                self.lay_rows();
                Effect::Nothing
            }
            Event::Done(words) => {
                self.busy = None;
                self.message = Some(visible(&words).into_owned());
                Effect::Nothing
            }
            Event::Progress(done, total) => {
                self.busy = Some(format!("{done} of {total} are done"));
                Effect::Nothing
            }
            Event::Key(key) => self.key(key),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Effect {
        if !(key.modifiers - KeyModifiers::SHIFT).is_empty() {
            return Effect::Nothing;
        }
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Ask { deed, behind, .. } => {
                self.mode = *behind;
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return self.begin(deed);
                }
                self.message = Some("nothing was changed".to_owned());
                Effect::Nothing
            }
            Mode::Why { typed, behind } => self.typed(key.code, typed, behind),
            Mode::Help(behind) => {
                self.mode = *behind;
                Effect::Nothing
            }
            mode @ (Mode::Table | Mode::Group(_) | Mode::Page { .. }) => {
                self.mode = mode;
                self.message = None;
                self.command(key.code)
            }
        }
    }

    fn typed(&mut self, key: KeyCode, mut typed: String, behind: Box<Mode>) -> Effect {
        match key {
            KeyCode::Enter => {
                self.mode = *behind;
                let why = Some(typed.trim().to_owned()).filter(|why| !why.is_empty());
                return self.begin(Deed::Pause { why });
            }
            KeyCode::Esc => {
                self.mode = *behind;
                self.message = Some("nothing was changed".to_owned());
                return Effect::Nothing;
            }
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char(letter) if typed.chars().count() < WHY_CHARS_MAX => typed.push(letter),
            _ => {}
        }
        self.mode = Mode::Why { typed, behind };
        Effect::Nothing
    }

    fn begin(&mut self, deed: Deed) -> Effect {
        self.message = None;
        self.busy = Some(match &deed {
            Deed::Act(act) => format!("{} is under way", ActName::from(&act.act).into_str()),
            Deed::Pause { .. } => "waiting until the daemon has taken notice of the pause".to_owned(),
            Deed::Resume => "waiting until the daemon has taken notice".to_owned(),
        });
        Effect::Do(deed)
    }

    fn command(&mut self, key: KeyCode) -> Effect {
        match key {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.open(Mode::Help),
            KeyCode::Char(digit @ '1'..='5') => {
                let place = usize::from(digit as u8 - b'1');
                self.go_to(Tab::ALL[place]);
            }
            KeyCode::Tab => self.go_to(Tab::ALL[(self.tab.place() + 1) % Tab::ALL.len()]),
            KeyCode::BackTab => self.go_to(Tab::ALL[(self.tab.place() + Tab::ALL.len() - 1) % Tab::ALL.len()]),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-self.screenful()),
            KeyCode::PageDown | KeyCode::Char(' ') => self.move_by(self.screenful()),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX / 2),
            KeyCode::Enter | KeyCode::Right => self.enter(),
            KeyCode::Char('R') => self.ask_act(Act::Requeue),
            KeyCode::Char('D') => self.ask_act(Act::Dismiss),
            KeyCode::Char('O') => self.ask_act(Act::Override),
            KeyCode::Char('A') => self.ask_act(Act::Accept),
            KeyCode::Char('p') if self.is_free() => self.open(|behind| Mode::Why {
                typed: String::new(),
                behind,
            }),
            KeyCode::Char('r') if self.is_free() => self.open(|behind| Mode::Ask {
                question: "Let results go out again?".to_owned(),
                deed: Deed::Resume,
                behind,
            }),
            _ => {}
        }
        Effect::Nothing
    }

    fn open(&mut self, mode: impl FnOnce(Box<Mode>) -> Mode) {
        let behind = std::mem::replace(&mut self.mode, Mode::Table);
        self.mode = mode(Box::new(behind));
    }

    fn go_to(&mut self, tab: Tab) {
        let is_other = self.tab != tab || self.mode != Mode::Table;
        self.mode = Mode::Table;
        if self.tab != tab {
            // Until its own come, another tab's rows must not stand under its name.
            self.tab = tab;
            self.rows.clear();
        }
        if is_other {
            self.at = 0;
            self.lay_rows();
        }
    }

    fn back(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Page { behind, .. } => self.mode = *behind,
            Mode::Group(kind) => {
                self.lay_rows();
                self.at = self.place_of(&RowKey::Kind(kind)).unwrap_or(0);
            }
            Mode::Table | Mode::Ask { .. } | Mode::Why { .. } | Mode::Help(_) => {}
        }
    }

    fn enter(&mut self) {
        if matches!(self.mode, Mode::Page { .. }) {
            return;
        }
        match self.rows.get(self.at).map(|row| row.key.clone()) {
            Some(RowKey::Id(id)) => self.open(|behind| Mode::Page { id, scroll: 0, behind }),
            Some(RowKey::Kind(kind)) => {
                self.mode = Mode::Group(kind);
                self.at = 0;
                self.lay_rows();
            }
            Some(RowKey::Source(Some(source))) => {
                self.message = Some(format!("`reten-outbox list --source {}` shows them", visible(&source)));
            }
            Some(RowKey::Source(None)) | None => {}
        }
    }

    fn screenful(&self) -> isize {
        isize::try_from(self.page_height.max(2) - 1).unwrap_or(1)
    }

    fn move_by(&mut self, by: isize) {
        if let Mode::Page { scroll, .. } = &mut self.mode {
            // The drawing knows how long the page is at this width, and stops at its end.
            *scroll = scroll.saturating_add_signed(by);
            return;
        }
        let last = self.rows.len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
    }

    /// Whether nothing is being done; else it says so.
    fn is_free(&mut self) -> bool {
        if self.busy.is_some() {
            self.message = Some("one thing at a time: what was asked for before is still under way".to_owned());
        }
        self.busy.is_none()
    }

    /// Asks whether it is meant, with the number that it touches.
    fn ask_act(&mut self, act: Act) {
        if !self.is_free() {
            return;
        }
        let name = ActName::from(&act);
        let Some((ids, state, kind)) = self.touched() else {
            self.message = Some("nothing is chosen".to_owned());
            return;
        };
        if !name.allowed_from().contains(&state) {
            self.message = Some(format!("{} is not for what is {state}", name.into_str()));
            return;
        }
        let question = match (ids.as_slice(), &kind) {
            ([id], None) => format!("{} submission {id}?", capital(name.into_str())),
            (ids, _) => format!("{} {} {state} submissions?", capital(name.into_str()), ids.len()),
        };
        let deed = Deed::Act(ActDeed { act, ids, state, kind });
        self.open(|behind| Mode::Ask { question, deed, behind });
    }

    /// What an act would touch: the open story, all of a kind of failure, or the chosen row.
    fn touched(&self) -> Option<(Vec<SubmissionId>, StateName, Option<FailureKind>)> {
        let of_kind = |kind: &FailureKind| {
            let ids = rows::ids_of(&self.look.rows, kind)?;
            Some((ids, StateName::Dead, Some(kind.clone())))
        };
        match &self.mode {
            Mode::Page { id, .. } => Some((vec![*id], self.page(*id)?.state?, None)),
            Mode::Group(kind) => of_kind(kind),
            Mode::Table | Mode::Ask { .. } | Mode::Why { .. } | Mode::Help(_) => {
                let row = self.rows.get(self.at)?;
                match &row.key {
                    RowKey::Id(id) => Some((vec![*id], row.state?, None)),
                    RowKey::Kind(kind) => of_kind(kind),
                    RowKey::Source(_) => None,
                }
            }
        }
    }

    fn place_of(&self, key: &RowKey) -> Option<usize> {
        self.rows.iter().position(|row| row.key == *key)
    }

    /// Lays the rows of what is open, and keeps the chosen one chosen wherever it has moved.
    fn lay_rows(&mut self) {
        let is_of_tab = match &self.look.rows {
            Rows::Queue(_) => self.tab == Tab::Queue,
            Rows::Failures { .. } => self.tab == Tab::Failures,
            Rows::Parked(_) => self.tab == Tab::Parked,
            Rows::Producers { .. } => self.tab == Tab::Producers,
            Rows::Log(_) => self.tab == Tab::Log,
        };
        if !is_of_tab {
            return;
        }
        let chosen = self.rows.get(self.at).map(|row| row.key.clone());
        self.rows = match group(&self.mode) {
            Some(kind) => rows::of_group(&self.look.rows, kind),
            None => rows::of(&self.look.rows, self.look.at()),
        };
        let place = chosen.and_then(|chosen| self.place_of(&chosen));
        self.at = place.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
    }
}

/// The group that is open, also behind something else.
pub fn group(mode: &Mode) -> Option<&FailureKind> {
    match mode {
        Mode::Group(kind) => Some(kind),
        Mode::Page { behind, .. } | Mode::Ask { behind, .. } | Mode::Why { behind, .. } | Mode::Help(behind) => {
            group(behind)
        }
        Mode::Table => None,
    }
}

fn shown(mode: &Mode) -> Option<SubmissionId> {
    match mode {
        Mode::Page { id, .. } => Some(*id),
        Mode::Ask { behind, .. } | Mode::Why { behind, .. } | Mode::Help(behind) => shown(behind),
        Mode::Table | Mode::Group(_) => None,
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
