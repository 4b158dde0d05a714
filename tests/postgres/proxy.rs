//! The way between a daemon and its server, which a drill can stall, cut, cut at a COMMIT, and lead elsewhere.
//!
//! It reads what clients say just far enough to know which statements a transaction has run when it commits.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::{Server, USER};

/// What a pump carries at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// What becomes of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server has it and has committed; the connection is cut before the answer is through.
    AnswerLost,
    /// The same, but the connection stays, and says nothing until it is released.
    AnswerHeld,
    /// The server never has it.
    Lost,
}

/// A listener on loopback before a server's socket.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Of the server that new connections are led to.
    socket: PathBuf,
    is_stalled: bool,
    is_over: bool,
    links: HashMap<u64, Link>,
    trap: Option<Trap>,
    sprung: usize,
}

/// One connection, from both ends.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: UnixStream,
    /// What the server answers is kept back.
    is_mute: bool,
    /// Something of it is there.
    has_answered: bool,
}

/// Waits for commits of transactions that have run a statement with these words.
#[derive(Debug, Clone, Copy)]
struct Trap {
    words: &'static str,
    fate: Fate,
    times: usize,
}

impl Proxy {
    /// Leads to this server until told otherwise.
    pub fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            socket: server.socket(),
            is_stalled: false,
            is_over: false,
            links: HashMap::new(),
            trap: None,
            sprung: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming()) {
                if serving.lock().is_over {
                    return;
                }
                // A server that does not run refuses: so do we.
                drop(client.and_then(|client| serving.link(number, &client)));
            }
        });
        Self { address, shared }
    }

    /// The address of the database by this way.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@{}/postgres?sslmode=disable", self.address)
    }

    /// From now on nothing passes, either way, and nothing is closed. What was said meanwhile passes when it ends.
    pub fn stall(&self) {
        self.shared.change(|state| state.is_stalled = true);
    }

    /// The end of a stall.
    pub fn flow(&self) {
        self.shared.change(|state| state.is_stalled = false);
    }

    /// Cuts every connection; how many there were.
    pub fn reset(&self) -> usize {
        let mut count = 0;
        self.shared.change(|state| {
            count = state.links.len();
            state.links.values().for_each(Link::cut);
        });
        count
    }

    /// Does this to so many of the next commits of transactions that have run a statement with these words.
    pub fn trap(&self, words: &'static str, fate: Fate, times: usize) {
        self.shared.change(|state| {
            state.trap = Some(Trap { words, fate, times });
            state.sprung = 0;
        });
    }

    /// How many commits have met their fate since the trap was set.
    pub fn sprung(&self) -> usize {
        self.shared.lock().sprung
    }

    /// Lets the answers go that were held.
    pub fn release(&self) {
        self.shared.change(|state| {
            state.trap = None;
            state.links.values_mut().for_each(|link| link.is_mute = false);
        });
    }

    /// New connections go to this server; those to the old one stay as they are.
    pub fn lead_to(&self, server: &Server) {
        self.shared.change(|state| state.socket = server.socket());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_over = true;
            state.is_stalled = false;
            state.links.values().for_each(Link::cut);
        });
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits while this is so.
    fn wait_while(&self, is_so: impl Fn(&State) -> bool) {
        let waiting = self
            .changed
            .wait_while(self.lock(), |state| !state.is_over && is_so(state));
        drop(waiting.unwrap());
    }

    fn link(self: &Arc<Self>, number: u64, client: &TcpStream) -> io::Result<()> {
        let socket = self.lock().socket.clone();
        let server = UnixStream::connect(socket)?;
        client.set_nodelay(true)?;
        let link = Link {
            client: client.try_clone()?,
            server: server.try_clone()?,
            is_mute: false,
            has_answered: false,
        };
        self.change(|state| drop(state.links.insert(number, link)));
        for direction in [Self::ask, Self::answer] {
            let shared = Arc::clone(self);
            let (client, server) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || {
                drop(direction(&shared, number, client, server));
                shared.end(number);
            });
        }
        Ok(())
    }

    /// The end of one direction is that of both, once what was said before it is through.
    fn end(&self, number: u64) {
        self.wait_while(|state| state.is_stalled || state.links.get(&number).is_some_and(|link| link.is_mute));
        self.change(|state| drop(state.links.remove(&number).inspect(Link::close)));
    }

    /// From the client to the server.
    fn ask(&self, number: u64, mut client: TcpStream, mut server: UnixStream) -> io::Result<()> {
        let (mut chunk, mut talk) = (vec![0; CHUNK_BYTES], Talk::default());
        loop {
            let count = client.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            self.wait_while(|state| state.is_stalled);
            let is_commit = talk.hear(&chunk[..count]);
            let fate = is_commit.then(|| self.spring(number, &talk)).flatten();
            if fate == Some(Fate::Lost) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            server.write_all(&chunk[..count])?;
            if fate == Some(Fate::AnswerLost) {
                let is_unanswered = |state: &State| state.links.get(&number).is_some_and(|link| !link.has_answered);
                self.wait_while(is_unanswered);
                self.change(|state| {
                    if let Some(link) = state.links.get_mut(&number) {
                        link.is_mute = false;
                        link.cut();
                    }
                });
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }

    /// What becomes of this commit. From here on its answer is kept back where it must be.
    fn spring(&self, number: u64, talk: &Talk) -> Option<Fate> {
        let mut state = self.lock();
        let trap = state
            .trap
            .as_mut()
            .filter(|trap| trap.times > 0 && talk.has_run(trap.words))?;
        trap.times -= 1;
        let fate = trap.fate;
        state.sprung += 1;
        if let Some(link) = state.links.get_mut(&number) {
            match fate {
                Fate::AnswerLost | Fate::AnswerHeld => (link.is_mute, link.has_answered) = (true, false),
                Fate::Lost => link.cut(),
            }
        }
        Some(fate)
    }

    /// From the server to the client.
    fn answer(&self, number: u64, mut client: TcpStream, mut server: UnixStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = server.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            let mut is_lost = false;
            self.change(|state| {
                if let Some(link) = state.links.get_mut(&number) {
                    link.has_answered = true;
                    is_lost = link.is_mute && state.trap.is_some_and(|trap| trap.fate == Fate::AnswerLost);
                }
            });
            if is_lost {
                return Ok(());
            }
            self.wait_while(|state| state.is_stalled || state.links.get(&number).is_some_and(|link| link.is_mute));
            client.write_all(&chunk[..count])?;
        }
    }
}

impl Link {
    /// As a reset: what is on the way is lost.
    fn cut(&self) {
        // Closed by its client in the same moment: it is cut, then.
        drop(socket2::SockRef::from(&self.client).set_linger(Some(Duration::ZERO)));
        self.close();
    }

    fn close(&self) {
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }
}

/// What a client has said: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
#[derive(Debug, Default)]
struct Talk {
    /// The beginning of a message whose end has not come yet.
    rest: Vec<u8>,
    has_begun: bool,
    /// Prepared statements by their names.
    prepared: HashMap<Vec<u8>, String>,
    /// What the open transaction has run.
    run: Vec<String>,
}

impl Talk {
    /// Takes note of a piece; whether it ends in a COMMIT. A client waits for the answer to one before it says more.
    fn hear(&mut self, piece: &[u8]) -> bool {
        self.rest.extend_from_slice(piece);
        let mut is_commit = false;
        while let Some((kind, body)) = self.next_message() {
            match kind {
                b'Q' => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    if text.starts_with("BEGIN") {
                        self.run.clear();
                    }
                    is_commit = text.trim_end_matches('\0').ends_with("COMMIT");
                    self.run.push(text);
                }
                b'P' => {
                    let mut parts = body.splitn(3, |byte| *byte == 0);
                    let name = parts.next().unwrap_or_default().to_vec();
                    let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                    self.prepared.insert(name, text);
                }
                b'B' => {
                    let name = body.splitn(3, |byte| *byte == 0).nth(1).unwrap_or_default();
                    self.run.extend(self.prepared.get(name).cloned());
                }
                _ => {}
            }
        }
        is_commit
    }

    fn has_run(&self, words: &str) -> bool {
        self.run.iter().any(|statement| statement.contains(words))
    }

    /// The next whole one. The very first has no letter.
    fn next_message(&mut self) -> Option<(u8, Vec<u8>)> {
        let letter = usize::from(self.has_begun);
        let length = self.rest.get(letter..letter + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        if self.rest.len() < letter + length {
            return None;
        }
        let message: Vec<u8> = self.rest.drain(..letter + length).collect();
        let kind = if self.has_begun { message[0] } else { 0 };
        self.has_begun = true;
        Some((kind, message[letter + 4..].to_vec()))
    }
}
