//! The terminal taken over for a view of the whole screen (`top`, `review`), and given back.
//!
//! ```text
//! let context = Context::enter(global)?;                  // what is wrong with the outbox is told before
//! let mut screen = Screen::enter("use `reten-outbox status --watch`")?;
//! loop {
//!     screen.draw(|frame| view.draw(frame))?;             // a pure function of the view's state
//!     match screen.next().await {
//!         Input::Key(key) => view.update(key),
//!         Input::Redraw => {}                             // another size, back from the shell, or a frame is owed
//!         Input::Stop => break,
//!     }
//! }
//! ```
//! [`Screen::next`] may be one arm of a `tokio::select!`, beside a ticker and the outbox: nothing is lost when it is
//! dropped. [`Screen::outside`] gives the terminal back for a while, for `$EDITOR`. Everything that is drawn from
//! outside text must have gone through [`visible`](super::render::escape::visible) or
//! [`lines`](super::render::escape::lines). With [`has_colour`] false, styles must be without colour.
//!
//! The terminal is given back when the [`Screen`] is dropped (the end, an error), by SIGTERM, SIGINT, SIGHUP and
//! SIGQUIT, by Ctrl-C and Ctrl-Z (until `fg`), and by a panic, before its message is printed. Only SIGKILL leaves it
//! as it is; `reset` mends it then.
//!
//! A frame is composed in memory and written by a thread of its own. A slow or stopped terminal (Ctrl-S, a link that
//! hangs) so holds up neither the outbox nor a signal: while a frame is on its way, further ones are not drawn, and
//! [`Input::Redraw`] comes when the terminal has taken it.

mod pen;

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::panic;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, EventStream, KeyCode, KeyEvent};
use crossterm::event::{KeyEventKind, KeyModifiers};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{QueueableCommand as _, cursor, style};
use futures_util::StreamExt as _;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, kill_current_process_group};
use tokio::signal::unix::{self, SignalKind};

use super::exit::CliError;
use pen::{Pen, PenState};

/// How long a terminal that takes no bytes may hold up the end of the program.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// The terminal is ours: what the panic hook goes by.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// The hook is put in front of the one that prints, once.
static HOOK: Once = Once::new();

/// What comes from the terminal, or from who ends the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A key went down, or repeats. Neither Ctrl-C nor Ctrl-Z, and nothing that was pasted: a paste acts on nothing.
    Key(KeyEvent),
    /// The screen has another size, was taken back from the shell, or may be drawn again: draw.
    Redraw,
    /// The view must end: Ctrl-C, a signal, or the terminal is gone.
    Stop,
}

/// A terminal in raw mode, on its alternate screen.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Ink>>,
    ink: Ink,
    pen: Pen,
    /// `None` while the terminal is lent out: whoever has it reads the keys.
    keys: Option<EventStream>,
    signals: Signals,
    /// A frame was asked for while another one was on its way.
    owes_frame: bool,
}

/// Whether colours are wanted (`NO_COLOR`, <https://no-color.org>).
pub fn has_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Screen {
    /// Takes the terminal over. Without one that can be drawn on this is [`CliError::Usage`]; `instead` says what to
    /// do then.
    pub fn enter(instead: &str) -> anyhow::Result<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(CliError::Usage(format!("this needs a terminal; without one {instead}")).into());
        }
        let kind = std::env::var("TERM").unwrap_or_default();
        if matches!(kind.as_str(), "" | "dumb") {
            let found = if kind.is_empty() {
                "TERM is not set"
            } else {
                "TERM=dumb"
            };
            return Err(CliError::Usage(format!(
                "this terminal cannot be drawn on ({found}); {instead}, or set TERM to what it is, as xterm"
            ))
            .into());
        }
        let signals = Signals::listen()?;
        let pen = Pen::take(io::stdout().as_fd().try_clone_to_owned()?)?;
        let ink = Ink::default();
        let terminal = Terminal::new(CrosstermBackend::new(ink.clone()))?;
        give_back_on_panic();
        let mut screen = Self {
            terminal,
            ink,
            pen,
            keys: None,
            signals,
            owes_frame: false,
        };
        // From here on the drop gives back what was taken.
        screen.take()?;
        Ok(screen)
    }

    /// Draws a frame; of it, only what differs from the last one goes to the terminal. Nothing is drawn while that has
    /// not been taken yet: [`Input::Redraw`] follows.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        if self.pen.look() == PenState::Busy {
            self.owes_frame = true;
            return Ok(());
        }
        self.owes_frame = false;
        self.terminal.draw(draw)?;
        self.pen.write(self.ink.take());
        Ok(())
    }

    /// Waits for the next input.
    pub async fn next(&mut self) -> Input {
        loop {
            // Also what was written between the drawing and this look, of which no one would hear.
            match self.pen.look() {
                PenState::Gone => return Input::Stop,
                PenState::Idle if self.owes_frame => return Input::Redraw,
                PenState::Idle | PenState::Busy => {}
            }
            let event = tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::Stop => return Input::Stop,
                    Asked::GoOn => return self.back_from_shell(),
                },
                event = next_event(self.keys.as_mut()) => event,
                () = self.pen.written(), if self.pen.look() == PenState::Busy => continue,
            };
            match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => match held_with_control(key) {
                    Some('c') => return Input::Stop,
                    Some('z') => return self.stop(),
                    _ => return Input::Key(key),
                },
                Some(Event::Resize(..)) => return Input::Redraw,
                Some(Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_)) => {}
                None => return Input::Stop,
            }
        }
    }

    /// Gives the terminal back while `work` has it, and takes it again. The next frame is drawn whole.
    pub fn outside<T>(&mut self, work: impl FnOnce() -> T) -> io::Result<T> {
        // Nobody but the one who has the terminal may read its keys.
        self.keys = None;
        self.pen.wait(FAREWELL_TIMEOUT);
        give_back();
        let done = work();
        self.take()?;
        Ok(done)
    }

    fn take(&mut self) -> io::Result<()> {
        // First of all, since the drop undoes it also where the rest fails.
        IS_TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        self.ink
            .queue(EnterAlternateScreen)?
            .queue(EnableBracketedPaste)?
            .queue(cursor::Hide)?;
        // Clears as well; `Terminal::clear` would ask the terminal where its cursor is, and wait for the answer.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))?;
        self.pen.wait(FAREWELL_TIMEOUT);
        self.pen.write(self.ink.take());
        // A second one waits for the lock of the first, which a terminal that is gone never gives back.
        self.keys.get_or_insert_with(EventStream::new);
        Ok(())
    }

    /// Ctrl-Z. The whole group stops, as a terminal that is not in raw mode would have it: `sudo` and a shell's
    /// pipeline wait for that. A group that nobody could bring back (it leads its session) is not stopped by the
    /// kernel, and the view simply goes on.
    fn stop(&mut self) -> Input {
        let stopped = self.outside(|| kill_current_process_group(Signal::TSTP));
        match stopped {
            Ok(_) => Input::Redraw,
            Err(_gone) => Input::Stop,
        }
    }

    /// Somebody else stopped the process; the shell has since had the terminal in its own mode.
    fn back_from_shell(&mut self) -> Input {
        // Raw mode is remembered as on, and would not be set again.
        let _ = disable_raw_mode();
        match self.take() {
            Ok(()) => Input::Redraw,
            Err(_gone) => Input::Stop,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.keys = None;
        self.pen.wait(FAREWELL_TIMEOUT);
        give_back();
    }
}

/// The next event; `None` when the terminal is gone. Pending for ever where nobody may read.
async fn next_event(keys: Option<&mut EventStream>) -> Option<Event> {
    match keys {
        Some(keys) => keys.next().await.and_then(Result::ok),
        None => std::future::pending().await,
    }
}

/// The letter of a key held with Control alone.
fn held_with_control(key: KeyEvent) -> Option<char> {
    match key.code {
        KeyCode::Char(letter) if key.modifiers == KeyModifiers::CONTROL => Some(letter),
        _ => None,
    }
}

/// Puts the terminal back as it was found, once. The mode comes first, since it needs no bytes to be taken; a terminal
/// that takes none for [`FAREWELL_TIMEOUT`] keeps its screen.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let stdout = io::stdout();
    let timeout = Timespec::try_from(FAREWELL_TIMEOUT).ok();
    let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
    if rustix::event::poll(&mut ready, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
        let mut farewell = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = farewell.queue(style::ResetColor);
        let _ = farewell.queue(cursor::Show);
        let _ = farewell.queue(DisableBracketedPaste);
        let _ = farewell.queue(LeaveAlternateScreen);
        let _ = rustix::io::write(&stdout, &farewell);
    }
}

/// A message of a panic belongs on the screen that the operator had before.
fn give_back_on_panic() {
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            print(panic);
        }));
    });
}

/// The signals that end the view, and the one that tells that it goes on.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    continued: unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            quit: unix::signal(SignalKind::quit())?,
            continued: unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
        })
    }

    /// Waits for one of them.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            // A terminal that is gone sends SIGHUP, and SIGCONT with it: the end comes first.
            biased;
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Stop,
            _ = self.quit.recv() => Asked::Stop,
            _ = self.continued.recv() => Asked::GoOn,
        }
    }
}

/// What a signal asks for.
enum Asked {
    Stop,
    GoOn,
}

/// What a frame is composed into: the drawing has one end, the pen takes from the other.
#[derive(Clone, Default)]
struct Ink(Rc<RefCell<Vec<u8>>>);

impl Ink {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl Write for Ink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
