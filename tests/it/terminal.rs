//! The built program in a terminal of its own: a pseudo-terminal, and what stands on its screen.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::Pty;

use crate::harness::eventually;

/// A program and its terminal. Both end with it.
pub struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    /// Everything that was ever sent to the terminal.
    raw: Vec<u8>,
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

impl Terminal {
    /// Starts a command in a terminal of so many columns and lines.
    pub fn start(mut command: Command, columns: u16, lines: u16) -> Self {
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm-256color");
        }
        if command.get_envs().all(|(name, _)| name != "NO_COLOR") {
            command.env_remove("NO_COLOR");
        }
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(Size::new(lines, columns)).unwrap();
        let child = pty_process::blocking::Command::from(command).spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(cells(lines), cells(columns), 0),
            raw: Vec::new(),
        }));
        let (reader, shared) = (Arc::clone(&pty), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: the program has closed its side.
            while let Ok(read @ 1..) = (&*reader).read(&mut bytes) {
                let mut seen = shared.lock().unwrap();
                seen.screen.process(&bytes[..read]);
                seen.raw.extend_from_slice(&bytes[..read]);
            }
        });
        Self { child, pty, seen }
    }

    /// What stands on the screen, a line each.
    pub fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Everything that was sent to the terminal, with its escape sequences.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().raw).into_owned()
    }

    /// Waits until this stands on the screen; the screen.
    pub fn shows(&self, words: &str) -> String {
        eventually(&format!("{words:?} on the screen"), || {
            let screen = self.screen();
            if screen.contains(words) {
                Ok(screen)
            } else {
                Err(screen)
            }
        })
    }

    pub fn types(&self, keys: &str) -> &Self {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
        self
    }

    pub fn resize(&self, columns: u16, lines: u16) {
        self.seen.lock().unwrap().screen.set_size(cells(lines), cells(columns));
        self.pty.resize(Size::new(lines, columns)).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the end of the program", || {
            self.child.try_wait().unwrap().ok_or_else(|| self.screen())
        })
    }

    /// Whether the terminal is as it was found: its own screen, a cursor, lines that are read and echoed.
    pub fn is_as_before(&self) -> Result<(), String> {
        let seen = self.seen.lock().unwrap();
        let screen = seen.screen.screen();
        let mode = rustix::termios::tcgetattr(&*self.pty).map_err(|error| error.to_string())?;
        let cooked = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO;
        let faults = [
            (screen.alternate_screen(), "the alternate screen"),
            (screen.hide_cursor(), "no cursor"),
            (screen.bracketed_paste(), "pastes in brackets"),
            (!mode.local_modes.contains(cooked), "raw mode"),
        ];
        let left: Vec<&str> = faults.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    }

    /// Hangs up: the terminal is gone.
    pub fn hang_up(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        self.ended()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let _ = self.child.kill();
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
