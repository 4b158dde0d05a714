//! A PostgreSQL of the tests' own: one cluster a test process, and one more for each drill that stops it. It listens on
//! a socket in its own directory and nowhere else.
//!
//! Nothing is left when the test process ends, however it ends: each server stands under a shell that waits for the end
//! of a pipe of which we hold the other end, and its directory under another one that waits for the first.

#![allow(
    dead_code,
    reason = "each of the test programs that have this module uses a part of it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it waits for a process that tells nobody when it is ready"
)]

mod finder;
pub mod proxy;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};

/// What whoever runs the tests must be told where there is no server: `.ci/run` looks for its beginning.
const NOT_TESTED: &str = "NOT TESTED: the PostgreSQL store (no server >= 14 found; apt install postgresql, or set \
                          RETEN_TEST_PG_BIN)\n";

/// How long a server may take to start or to stop, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A path to a socket has 107 bytes, and the socket's name is 16 of them.
const DIRECTORY_BYTES_MAX: usize = 60;

/// The port in the name of a socket that nobody but us looks for.
const PORT: u16 = 5432;

/// What is set on each.
const SETTINGS: &str = "listen_addresses = ''\nfsync = off\nmax_connections = 400\n";

/// Who owns every database.
pub const USER: &str = "postgres";

/// One word on its input is the signal that ends the server; the end of the input (we are gone) is the same as `QUIT`,
/// which saves nothing and so takes no time.
const UNDER_WATCH: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -p "$3" >>"$2/log" 2>&1 &
read -r how
kill -"${how:-QUIT}" $!
wait $!
"#;

/// Its input ends when we and every shell of [`UNDER_WATCH`] are gone.
const REMOVE: &str = r#"cat >/dev/null; rm -rf "$1""#;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are cut, their transactions rolled back, and everything is written: what a restart by a person is.
    Fast,
    /// It ends as if it had crashed, and recovers at the next start.
    Immediate,
}

/// A cluster of our own.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    directory: PathBuf,
    owner: Option<User>,
    port: u16,
    running: Option<Running>,
    /// How many names were given out.
    schemas: AtomicU32,
    /// Ends the directory when nobody holds the other end any more.
    remover: Child,
    kept: Option<OwnedFd>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    word: ChildStdin,
}

impl Server {
    /// The server that all tests of this process share; `None`, and said once, where PostgreSQL is not installed.
    pub fn get() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(Self::own).as_ref()
    }

    /// A server for one test, which may stop and start it. It ends with the value.
    pub fn own() -> Option<Self> {
        Self::with(&[])
    }

    /// The same with more settings (`name=value`), which go before those of all tests.
    pub fn with(settings: &[&str]) -> Option<Self> {
        let mut server = Self::unstarted()?;
        for setting in settings {
            server.set(setting);
        }
        server.start();
        Some(server)
    }

    /// The same, for a test that has something to set before it starts.
    pub fn unstarted() -> Option<Self> {
        let server = Self::empty()?;
        server.initialize();
        Some(server)
    }

    /// One that has nothing yet.
    fn empty() -> Option<Self> {
        let Some(bin) = finder::bin() else {
            static SAID: OnceLock<()> = OnceLock::new();
            // Not by a macro: what those print is shown for failed tests only.
            SAID.get_or_init(|| drop(std::io::stderr().write_all(NOT_TESTED.as_bytes())));
            return None;
        };
        // The server refuses to be root's.
        let owner = Uid::effective().is_root().then(|| {
            let known = ["postgres", "nobody"].map(|name| User::from_name(name).unwrap());
            known.into_iter().flatten().next().unwrap()
        });
        let directory = directory(owner.as_ref());
        let mut remover = Command::new("/bin/sh");
        remover.args(["-c", REMOVE, "sh"]).arg(&directory);
        let mut remover = apart(&mut remover)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let kept = remover.stdin.take().map(OwnedFd::from);
        Some(Self {
            bin,
            directory,
            owner,
            port: PORT,
            running: None,
            schemas: AtomicU32::new(0),
            remover,
            kept,
        })
    }

    /// A standby that follows this one; the primary waits for it only where it is told to. It ends with the value.
    pub fn standby(&self) -> Self {
        let mut standby = Self::empty().unwrap();
        let log = File::create(standby.directory.join("log")).unwrap();
        standby.hand_over("log");
        let primary = format!("host={} user={USER}", self.directory.display());
        let mut copying = standby.command(standby.bin.join("pg_basebackup"));
        copying.args(["-X", "stream", "-c", "fast", "--no-sync", "-R", "-d", &primary, "-D"]);
        let copying = copying.arg(standby.directory.join("data")).stdin(Stdio::null());
        let copied = copying.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(copied.success(), "pg_basebackup: {}", standby.log());
        standby.start();
        standby
    }

    /// A standby becomes the primary, and takes writes when this returns.
    pub fn promote(&self) {
        self.sql("DO $$ BEGIN ASSERT pg_promote(true, 60); END $$");
    }

    /// A directory of its own that the server may write.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        self.hand_over(name);
        path
    }

    /// Hands something in its directory over to whom the server runs as.
    pub fn own_again(&self, name: &str) {
        self.hand_over(name);
    }

    /// Lines for its configuration, in force from the next start on.
    pub fn set(&self, lines: &str) {
        let path = self.directory.join("data/postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "{lines}").unwrap();
    }

    /// A file in its data directory, for its eyes only.
    pub fn put(&self, name: &str, content: &[u8]) {
        let path = self.directory.join("data").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.hand_over(&format!("data/{name}"));
    }

    /// It listens on loopback too, from the next start on; at which port.
    pub fn listen(&mut self) -> u16 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.port = free.local_addr().unwrap().port();
        self.set("listen_addresses = '127.0.0.1'");
        self.port
    }

    /// Where its socket lies: the `host` of a connection.
    pub fn socket_dir(&self) -> &Path {
        &self.directory
    }

    /// Its socket itself.
    fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }

    /// The address of its one database, for whoever takes a URL.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}@/postgres?host={}", self.directory.display())
    }

    /// A name that no schema has yet. Nothing is created.
    pub fn fresh_schema(&self) -> String {
        format!("outbox_{}", self.schemas.fetch_add(1, Ordering::Relaxed))
    }

    /// Does this to its one database, as its owner would with `psql`.
    #[allow(dead_code, reason = "the unit tests have connections of their own")]
    pub fn sql(&self, statement: &str) {
        let output = Command::new(self.bin.join("psql"))
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                USER,
                "-d",
                "postgres",
                "-c",
                statement,
                "-p",
                &self.port.to_string(),
                "-h",
            ])
            .arg(&self.directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// One of PostgreSQL's programs, with this server as its own.
    pub fn program(&self, name: &str) -> Command {
        let mut program = Command::new(self.bin.join(name));
        program.env("PGHOST", &self.directory).env("PGUSER", USER);
        program
    }

    /// The server's first process.
    pub fn pid(&self) -> u32 {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    /// What the server logged: for the text of a failure.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Starts it again, and waits until it takes connections.
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "it is running");
        // A file that an earlier run left would say `ready` too early.
        drop(fs::remove_file(self.directory.join("data/postmaster.pid")));
        let mut shell = self.command("/bin/sh");
        shell
            .args(["-c", UNDER_WATCH, "sh"])
            .arg(&self.bin)
            .arg(&self.directory)
            .arg(self.port.to_string());
        let kept = self.kept.as_ref().unwrap().try_clone().unwrap();
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(kept)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let word = shell.stdin.take().unwrap();
        self.running = Some(Running { shell, word });
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it, and waits until it has ended.
    pub fn stop(&mut self, how: Stop) {
        let mut running = self.running.take().unwrap();
        let word: &[u8] = match how {
            Stop::Fast => b"INT\n",
            Stop::Immediate => b"QUIT\n",
        };
        running.word.write_all(word).unwrap();
        running.shell.wait().unwrap();
    }

    fn initialize(&self) {
        let log = File::create(self.directory.join("log")).unwrap();
        self.hand_over("log");
        let mut initdb = self.command(self.bin.join("initdb"));
        initdb.args(["-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-U", USER, "-D"]);
        let initdb = initdb.arg(self.directory.join("data")).stdin(Stdio::null());
        let initdb = initdb.stdout(log.try_clone().unwrap()).stderr(log);
        assert!(initdb.status().unwrap().success(), "initdb: {}", self.log());
        self.set(SETTINGS);
    }

    fn hand_over(&self, name: &str) {
        if let Some(owner) = &self.owner {
            chown(
                self.directory.join(name),
                Some(owner.uid.as_raw()),
                Some(owner.gid.as_raw()),
            )
            .unwrap();
        }
    }

    /// A process of the cluster's owner, which no variable of ours leads elsewhere.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(owner) = &self.owner {
            command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        apart(&mut command).current_dir(&self.directory);
        command
    }

    /// The server itself writes it when recovery is done.
    fn is_ready(&self) -> bool {
        let state = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        state
            .lines()
            .nth(7)
            .is_some_and(|line| matches!(line.trim(), "ready" | "standby"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Running { mut shell, word }) = self.running.take() {
            drop(word);
            drop(shell.wait());
        }
        self.kept = None;
        drop(self.remover.wait());
    }
}

/// In a group of its own: a Ctrl-C that ends the tests must not end who clears up behind them.
fn apart(command: &mut Command) -> &mut Command {
    command.process_group(0).stdin(Stdio::piped())
}

/// A new directory with a short path, which the cluster's owner can reach.
fn directory(owner: Option<&User>) -> PathBuf {
    let is_fit = |place: &PathBuf| {
        let is_open = |above: &Path| fs::metadata(above).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
        place.as_os_str().len() <= DIRECTORY_BYTES_MAX && (owner.is_none() || place.ancestors().all(is_open))
    };
    let place = Some(std::env::temp_dir())
        .filter(is_fit)
        .unwrap_or_else(|| "/tmp".into());
    let directory = tempfile::Builder::new()
        .prefix("reten-pg-")
        .tempdir_in(place)
        .unwrap()
        .keep();
    // Others may pass to the socket: some tests have a daemon of another user.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
    if let Some(owner) = owner {
        chown(&directory, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).unwrap();
    }
    directory
}
