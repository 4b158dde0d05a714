//! The handle on the server's process; see `serve` for the orders.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::process;

/// How long a request is waited for: longer than any row of the table takes.
const PATIENCE: Duration = Duration::from_mins(10);

/// The running server; it ends with this.
pub struct Server {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    /// Lines that came while another was waited for.
    unread: VecDeque<String>,
    /// Where it listens.
    pub url: String,
}

impl Server {
    /// Starts one.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let url = lines.recv().unwrap();
        Self {
            child,
            orders,
            lines,
            unread: VecDeque::new(),
            url,
        }
    }

    /// Begins to count: [`Server::first`] and [`Server::last`] tell of the next so many requests.
    pub fn expect(&mut self, number: u64) {
        self.unread.clear();
        self.order(&format!("expect {number}"));
        self.wait_for("expecting");
    }

    /// When the first expected request came, in nanoseconds of the monotonic clock.
    pub fn first(&mut self) -> u64 {
        self.wait_for("first")
    }

    /// When the last expected one did.
    pub fn last(&mut self) -> u64 {
        self.wait_for("last")
    }

    /// How many were taken in all.
    pub fn count(&mut self) -> u64 {
        self.order("count");
        self.wait_for("count")
    }

    /// Whether from now on every request is refused with 503.
    pub fn fail(&mut self, fails: bool) {
        self.order(if fails { "fail" } else { "work" });
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}")
            .and_then(|()| self.orders.flush())
            .unwrap();
    }

    /// The number behind this word, as soon as it is said.
    fn wait_for(&mut self, word: &str) -> u64 {
        loop {
            let known = self
                .unread
                .iter()
                .position(|line| line.split(' ').next() == Some(word))
                .and_then(|at| self.unread.remove(at));
            if let Some(line) = known {
                return line.split(' ').nth(1).map_or(0, |number| number.parse().unwrap());
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.unread.push_back(line),
                Err(RecvTimeoutError::Timeout) => panic!("the server never said {word:?} in {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the server ended"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time since this moment, which the server told.
pub fn since(moment_ns: u64) -> Duration {
    Duration::from_nanos(process::monotonic_ns().saturating_sub(moment_ns))
}
