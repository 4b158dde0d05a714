//! The built program as a process, in a directory of its own.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use reten_outbox::bench::StateName;
use reten_outbox::bench::Timestamp;
use reten_outbox::bench::{Address, Outbox, Role};

use crate::process::{self, Usage};
use crate::sizes::Sizes;

pub const KEY: &str = "rtn_sk_bench";

/// How long a start may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where a daemon lives: its directories and its configuration.
pub struct Place {
    dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
    /// On a server, instead of the file.
    shared: Option<Address>,
}

/// A daemon that runs.
pub struct Daemon {
    child: Child,
    notified: UnixDatagram,
}

impl Place {
    /// Everything empty. What is not set here is the default: the log at `info`, into a file as a service's would go to
    /// the journal.
    pub fn new(sizes: &Sizes, url: &str, in_flight: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["inbox", "rows", "outbox"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("api-key"), KEY).unwrap();
        let path = |name: &str| quoted(&dir.path().join(name));
        let settings = [
            ("api.base_url", format!("{url:?}")),
            ("api.key_file", path("api-key")),
            ("inbox.dir", path("inbox")),
            ("inbox.database", path("rows/inbox.db")),
            ("outbox.database", path("outbox/outbox.db")),
            ("delivery.max_in_flight", in_flight.to_string()),
            // The server has none; without them every result is checked all the same.
            ("validation.result_types", "false".into()),
            ("log.format", "\"json\"".into()),
            ("log.level", format!("{:?}", sizes.log)),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        Self {
            dir,
            settings,
            shared: None,
        }
    }

    /// Where its state lies that is not in a shared outbox.
    pub fn state(&self) -> PathBuf {
        self.path("outbox")
    }

    /// Has its outbox on a server: where, and as the configuration names it.
    pub fn share(&mut self, outbox: Address, url: &str) {
        self.settings.retain(|(key, _)| key != "outbox.database");
        self.set("outbox.database", &format!("{url:?}"));
        self.shared = Some(outbox);
    }

    /// Sets another key of the configuration, to a TOML value.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn outbox(&self) -> PathBuf {
        self.path("outbox/outbox.db")
    }

    /// The program with this place's configuration.
    pub fn program(&self) -> Command {
        let text: Vec<String> = self
            .settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        fs::write(self.path("config.toml"), text.concat()).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_reten-outbox"));
        program.env_clear().arg("--config").arg(self.path("config.toml"));
        if self.shared.is_some() {
            program.env("STATE_DIRECTORY", self.state());
        }
        program
    }

    /// Starts the daemon, not waiting for anything.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// The same with more in its environment.
    pub fn start_with(&self, environment: &[(&str, &Path)]) -> Daemon {
        let socket = self.path("notify");
        let _ = fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut program = self.program();
        program.arg("run").env("NOTIFY_SOCKET", &socket).stderr(log);
        program.envs(environment.iter().copied());
        Daemon {
            child: program.spawn().unwrap(),
            notified,
        }
    }

    /// Waits until so many are in a state, and all of it is stored.
    pub fn wait_until(&self, state: StateName, results: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let began = Instant::now();
        let (address, rest) = match &self.shared {
            // A look is a server's work, too.
            Some(address) => (address.clone(), Duration::from_millis(20)),
            None => (Address::from(self.outbox()), Duration::from_millis(1)),
        };
        runtime.block_on(async {
            let outbox = Outbox::open(address, Role::Reader, Timestamp::default()).await.unwrap();
            loop {
                let tally = outbox.tally().await.unwrap();
                if tally.counts.contains(&(state, results)) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{:?}", tally.counts);
                tokio::time::sleep(rest).await;
            }
        });
    }

    /// Waits until so many are delivered in all.
    pub fn wait_until_delivered(&self, results: u64) {
        self.wait_until(StateName::Delivered, results);
    }
}

impl Daemon {
    /// Waits for the word to the service manager that it is ready.
    pub fn wait_until_ready(&mut self) {
        let mut message = [0; 4096];
        loop {
            let length = self.notified.recv(&mut message).expect("the daemon never became ready");
            if message[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
            {
                return;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn usage(&self) -> Usage {
        process::usage(self.child.id())
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path as a TOML string. Those of temporary directories have nothing to escape.
pub fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
