//! Handles on the built program: a sandbox API, a daemon, an inbox, and the commands, each a process of its own over
//! real HTTP and real SQLite. Everything ends with the test; when a test fails, the daemon's log is printed.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres::{self, proxy::Proxy};

/// The key that the sandbox takes and the daemon has, unless a test says otherwise.
pub const KEY: &str = "rtn_sk_test_7f3a9c2e5b81d406";

/// How long anything may take before a test gives up on it. Generous: a loaded machine with two cores must not fail a
/// test.
const PATIENCE: Duration = Duration::from_secs(90);

/// A directory with a configuration, a sandbox and (when started) a daemon.
pub struct World {
    pub dir: tempfile::TempDir,
    pub sandbox: Sandbox,
    daemon: Option<Daemon>,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    user: Option<u32>,
}

/// `reten-outbox sandbox` as a process.
pub struct Sandbox {
    child: Child,
    address: SocketAddr,
}

struct Daemon {
    child: Child,
}

/// The program under test, where it was built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_reten-outbox");

/// The program under test.
pub fn program() -> Command {
    clean(Command::new(PROGRAM))
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RETEN_") || name == "CREDENTIALS_DIRECTORY" || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    command
}

/// A result that the API takes, for the activity `provider`, with members added or replaced.
pub fn result(provider: &str, changes: &Value) -> Value {
    let mut result = json!({
        "provider_activity_id": provider,
        "commerce_external_id": "COM-1",
        "occurred_at": "2026-11-20T15:04:05Z",
        "status": "EFFECTIVE",
        "task_result": {"result": "SALE_COMPLETED", "comment": "ok"},
    });
    if let (Some(members), Some(changes)) = (result.as_object_mut(), changes.as_object()) {
        for (name, value) in changes {
            members.insert(name.clone(), value.clone());
        }
    }
    result
}

/// A result whose answers the sandbox is told: `sim:…` in its `external_status`.
pub fn scripted(provider: &str, script: &str) -> Value {
    result(provider, &json!({"external_status": format!("sim:{script}")}))
}

/// Asks until there is an answer; the last refusal is the failure's text.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("never came: {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(15)),
        }
    }
}

impl World {
    /// A sandbox and a configuration with short waits; nothing started yet.
    pub fn new() -> Self {
        Self::with_sandbox(&[])
    }

    /// The same, with more arguments for the sandbox.
    pub fn with_sandbox(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("inbox")).unwrap();
        fs::create_dir_all(dir.path().join("rows")).unwrap();
        fs::create_dir_all(dir.path().join("outbox")).unwrap();
        fs::write(dir.path().join("api-key"), format!("{KEY}\n")).unwrap();
        let sandbox = Sandbox::start(arguments);
        let mut world = Self {
            dir,
            sandbox,
            daemon: None,
            settings: Vec::new(),
            environment: Vec::new(),
            user: None,
        };
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let address = world.sandbox.address;
        for (key, value) in [
            ("api.base_url", format!("\"http://{address}\"")),
            ("api.key_file", quoted(world.path("api-key"))),
            ("api.timeout", "\"5s\"".into()),
            ("inbox.dir", quoted(world.path("inbox"))),
            ("inbox.database", quoted(world.path("rows/inbox.db"))),
            ("inbox.settle", "\"60ms\"".into()),
            ("inbox.rescan", "\"300ms\"".into()),
            ("inbox.min_free_disk", "\"0\"".into()),
            ("outbox.database", quoted(world.path("outbox/outbox.db"))),
            ("retry.initial_interval", "\"50ms\"".into()),
            ("retry.max_interval", "\"400ms\"".into()),
            ("auth.probe_interval", "\"200ms\"".into()),
            ("log.format", "\"json\"".into()),
            ("log.level", "\"debug\"".into()),
        ] {
            world.set(key, &value);
        }
        world
    }

    /// A host whose outbox is this schema of a server; its daemon calls itself `node`. What the host keeps of the outbox
    /// lies in `state`.
    pub fn on_server(server: &postgres::Server, schema: &str, node: &str) -> Self {
        let mut world = Self::host(node);
        let host = server.socket_dir().display();
        world.set(
            "outbox.database",
            &format!("\"postgres://{}@/postgres?host={host}\"", postgres::USER),
        );
        world.set("outbox.schema", &format!("{schema:?}"));
        world
    }

    /// The same by way of a proxy, before an API of its own.
    pub fn through(proxy: &Proxy, schema: &str, node: &str) -> Self {
        let mut world = Self::host(node);
        world.set("outbox.database", &format!("{:?}", proxy.url()));
        world.set("outbox.schema", &format!("{schema:?}"));
        world
    }

    fn host(node: &str) -> Self {
        let mut world = Self::new();
        let state = world.path("state");
        fs::create_dir(&state).unwrap();
        world.env("STATE_DIRECTORY", &state.display().to_string());
        world.set("outbox.node", &format!("{node:?}"));
        world
    }

    /// Another host of the same outbox, before the same API: with an inbox and a state directory of its own. The first
    /// one's sandbox has to live as long.
    pub fn beside(&self, node: &str) -> Self {
        let mut world = Self::host(node);
        for key in ["api.base_url", "outbox.database", "outbox.schema"] {
            let known = self.settings.iter().find(|(known, _)| known == key);
            world.set(key, &known.unwrap().1);
        }
        world
    }

    /// Sets `section.key` of the configuration to a TOML value.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self.write_config();
        self
    }

    /// An environment variable for the daemon and the commands.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives everything to another user, as whom the daemon and the commands run. For root alone.
    pub fn run_as(&mut self, user: u32) -> &mut Self {
        let status = Command::new("chown")
            .args(["-R", &format!("{user}:{user}")])
            .arg(self.dir.path())
            .status();
        assert!(status.unwrap().success());
        // Nobody else may be allowed to where it was built.
        fs::copy(PROGRAM, self.path("reten-outbox")).unwrap();
        self.user = Some(user);
        self
    }

    fn write_config(&self) {
        let mut text = String::new();
        let mut sections: Vec<&str> = self
            .settings
            .iter()
            .filter_map(|(key, _)| key.rsplit_once('.').map(|(section, _)| section))
            .collect();
        sections.sort_unstable();
        sections.dedup();
        for section in sections {
            // An array of tables brings its own brackets.
            let header = if section.starts_with('[') {
                section.to_owned()
            } else {
                format!("[{section}]")
            };
            writeln!(text, "{header}").unwrap();
            for (key, value) in &self.settings {
                if let Some((of, name)) = key.rsplit_once('.')
                    && of == section
                {
                    writeln!(text, "{name} = {value}").unwrap();
                }
            }
        }
        fs::write(self.config(), text).unwrap();
    }

    /// A path in the test's directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// A command with its arguments, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.user {
            Some(_) => clean(Command::new(self.path("reten-outbox"))),
            None => program(),
        };
        command
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        within_patience(child, &format!("{arguments:?}"))
    }

    /// Runs a command with something on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            output.status,
            both(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the daemon and waits until it says `started`.
    pub fn start(&mut self) -> &mut Self {
        self.spawn().started()
    }

    /// Waits until the daemon says `started`.
    pub fn started(&mut self) -> &mut Self {
        eventually("the daemon's `started`", || {
            if self.log_lines().iter().any(|line| line["event"] == "started") {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                panic!("the daemon ended with {status}\n{}", self.log());
            }
            Err(self.log())
        });
        self
    }

    /// Starts the daemon without waiting for anything.
    pub fn spawn(&mut self) -> &mut Self {
        let command = self.command(&["run"]);
        self.spawn_by(command)
    }

    /// The same by a command of the test's own, which must become the daemon.
    pub fn spawn_by(&mut self, mut command: Command) -> &mut Self {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let log = fs::File::create(self.path("log")).unwrap();
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.daemon = Some(Daemon { child });
        self
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.as_mut().and_then(|daemon| daemon.child.try_wait().unwrap())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().child.id()
    }

    /// Sends the daemon a signal by its name: `TERM`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the daemon's end", || {
            self.ended().ok_or_else(|| "still running".to_owned())
        });
        self.daemon = None;
        status
    }

    /// SIGTERM, and an exit status of 0.
    pub fn stop(&mut self) -> &mut Self {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.log());
        self
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> &mut Self {
        self.signal("KILL");
        self.wait();
        self
    }

    /// What the daemon has logged since its last start.
    pub fn log(&self) -> String {
        fs::read(self.path("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The log's lines as JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The log's entries with this event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.log_lines()
            .into_iter()
            .filter(|line| line["event"] == event)
            .collect()
    }

    /// Waits for an entry with this event that satisfies the condition.
    pub fn event_where(&self, event: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("event {event}"), || {
            self.events(event)
                .into_iter()
                .find(|line| holds(line))
                .ok_or_else(|| self.log())
        })
    }

    /// Waits for an entry with this event.
    pub fn event(&self, event: &str) -> Value {
        self.event_where(event, |_| true)
    }

    /// Drops a file the best way: under a dot-name, then renamed.
    pub fn drop_file(&self, name: &str, content: impl AsRef<[u8]>) {
        let hidden = self.path("inbox").join(format!(".{name}.tmp"));
        fs::write(&hidden, content).unwrap();
        fs::rename(hidden, self.path("inbox").join(name)).unwrap();
    }

    /// Drops results as one NDJSON file.
    pub fn drop_results(&self, name: &str, results: &[Value]) {
        let lines: Vec<String> = results.iter().map(Value::to_string).collect();
        self.drop_file(name, lines.join("\n") + "\n");
    }

    /// `list --json` with more arguments, newest first.
    pub fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["list", "--json", "--limit", "0"];
        all.extend_from_slice(arguments);
        self.ok(&all)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// `show ID --json`.
    pub fn show(&self, id: i64) -> Value {
        serde_json::from_str(&self.ok(&["show", &id.to_string(), "--json"])).unwrap()
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// Waits until exactly so many are in a state; they, newest first.
    pub fn wait_for(&self, state: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {state}"), || {
            let found = self.list(&["--state", state]);
            if found.len() == count {
                Ok(found)
            } else {
                Err(format!("{} {state}\n{}", found.len(), self.ok(&["list"])))
            }
        })
    }

    /// Waits until every dropped file is taken and nothing is pending or being sent.
    pub fn settled(&self) {
        self.taken();
        eventually("everything settled", || {
            let status = self.status();
            let open =
                status["counts"]["pending"].as_u64().unwrap_or(1) + status["counts"]["sending"].as_u64().unwrap_or(1);
            if open == 0 {
                Ok(())
            } else {
                Err(format!("{status}\n{}", self.ok(&["list"])))
            }
        });
    }

    /// The one submission of an activity, by its provider id.
    pub fn of_activity(&self, activity: &str) -> Value {
        let found = self.list(&["--activity", activity]);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    /// The names in the inbox that are no dot-names, sorted.
    pub fn inbox(&self) -> Vec<String> {
        names(&self.path("inbox"))
            .into_iter()
            .filter(|name| name != "rejected")
            .collect()
    }

    /// The names in `rejected/`, sorted.
    pub fn rejected(&self) -> Vec<String> {
        names(&self.path("inbox/rejected"))
    }

    /// Waits until the inbox is empty.
    pub fn taken(&self) {
        eventually("an empty inbox", || {
            let left = self.inbox();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}\n{}", self.log()))
            }
        });
    }

    /// Runs SQL on a database file of the test's directory.
    pub fn sql(&self, database: &str, statement: &str) {
        sql(&self.path(database), statement);
    }

    /// Reads the first column of a query as text.
    pub fn column(&self, database: &str, query: &str) -> Vec<String> {
        column(&self.path(database), query)
    }

    /// Inserts a row into the inbox.
    pub fn insert(&self, result: &Value) {
        let text = result.to_string().replace('\'', "''");
        self.sql(
            "rows/inbox.db",
            &format!("INSERT INTO inbox (payload) VALUES ('{text}')"),
        );
    }
}

impl World {
    /// Inserts a row as a program that waits for no lock does; whether it could.
    pub fn insert_at_once(&self, payload: &str) -> bool {
        use sqlx::{ConnectOptions, Connection};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(self.path("rows/inbox.db"))
                .busy_timeout(Duration::ZERO);
            let Ok(mut connection) = options.connect().await else {
                return false;
            };
            let inserted = sqlx::query("INSERT INTO inbox (payload) VALUES (?1)")
                .bind(payload)
                .execute(&mut connection)
                .await;
            connection.close().await.unwrap();
            inserted.is_ok()
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- the daemon's log ----\n{}", self.log());
        }
    }
}

impl Sandbox {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["sandbox", "--listen", "127.0.0.1:0", "--api-key", KEY])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let start = seen.len();
            assert!(
                lines.read_line(&mut seen).unwrap() > 0,
                "the sandbox said no address: {seen}"
            );
            if let Some(at) = seen[start..].find("http://") {
                let rest = &seen[start + at + 7..];
                let end = rest
                    .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
                    .unwrap_or(rest.len());
                if let Ok(address) = rest[..end].parse() {
                    break address;
                }
            }
        };
        // Whatever else it says is read away, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every submission request that it saw, oldest first.
    pub fn requests(&self) -> Vec<Value> {
        let all: Value = serde_json::from_str(&self.http("GET", "/_sandbox/requests", "")).unwrap();
        all.as_array()
            .unwrap()
            .iter()
            .filter(|request| request["method"] == "POST")
            .cloned()
            .collect()
    }

    /// The bodies of those requests.
    pub fn bodies(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request["body"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The registered results.
    pub fn results(&self) -> Value {
        serde_json::from_str(&self.http("GET", "/_sandbox/results", "")).unwrap()
    }

    /// Counts of what it answered.
    pub fn stats(&self) -> Value {
        serde_json::from_str(&self.http("GET", "/_sandbox/stats", "")).unwrap()
    }

    /// Changes how it behaves.
    pub fn settings(&self, settings: &Value) {
        self.http("POST", "/_sandbox/settings", &settings.to_string());
    }

    /// Releases the answers that it holds.
    pub fn release(&self) {
        self.http("POST", "/_sandbox/release", "");
    }

    fn http(&self, method: &str, path: &str, body: &str) -> String {
        let (status, body) = http(self.address, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 request on a connection of its own.
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (status, body)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// The output of a command that has to end; one that does not is killed, and the test fails.
pub fn within_patience(mut child: Child, what: &str) -> Output {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = ended else {
        panic!("{what} does not end:\n{}", String::from_utf8_lossy(&stderr))
    };
    Output { status, stdout, stderr }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|entries| {
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    names
}

/// Both outputs of a command, for a failure's text.
pub fn both(output: &Output) -> String {
    format!(
        "stdout:\n{}\nstderr:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_database<T>(path: &Path, work: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T) -> T {
    use sqlx::{ConnectOptions, Connection};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE);
        let mut connection = options.connect().await.unwrap();
        let outcome = work(&mut connection).await;
        connection.close().await.unwrap();
        outcome
    })
}

/// Runs SQL on a database, as any foreign program would.
pub fn sql(path: &Path, statement: &str) {
    with_database(path, async |connection| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(connection)
            .await
            .unwrap();
    });
}

/// The first column of a query, as text.
pub fn column(path: &Path, query: &str) -> Vec<String> {
    with_database(path, async |connection| {
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_all(connection)
            .await
            .unwrap()
    })
}
