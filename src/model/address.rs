//! Where the outbox is: a SQLite file of one daemon, or a schema of a PostgreSQL server that several share.

use std::fmt;
use std::path::{Path, PathBuf};

use url::form_urlencoded;

/// The port of PostgreSQL where none is named.
pub const PORT: u16 = 5432;

/// The schema where none is named.
pub const SCHEMA: &str = "reten_outbox";

/// Where the outbox is. Printed, it never shows a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The SQLite file.
    File(PathBuf),
    /// A schema in PostgreSQL.
    Server(Box<Server>),
}

/// A schema in PostgreSQL, and how it is reached. Every part is named: nothing is left for a library to take from the
/// environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub host: Host,
    /// Of a socket directory too: the socket's name ends with it.
    pub port: u16,
    /// The database's name.
    pub database: String,
    /// The role that connects.
    pub user: String,
    /// `None`: the server asks for none (`peer`, a client's certificate).
    pub password: Option<Password>,
    /// What of TLS is demanded.
    pub sslmode: SslMode,
    /// The authorities (PEM) that may sign the server's certificate; `None` = the system's.
    pub sslrootcert: Option<PathBuf>,
    /// Our own certificate (PEM), and its key.
    pub sslcert: Option<PathBuf>,
    pub sslkey: Option<PathBuf>,
    /// The schema that holds the tables: `a-z`, `0-9` and `_`, at most 63 bytes. It may be a reserved word.
    pub schema: String,
    /// This daemon's name in status, logs and history. A label, never an identity.
    pub node: String,
    /// Whether it may be reached over a network without a checked certificate.
    pub allow_insecure: bool,
    /// `STATE_DIRECTORY/outbox`: no file, but what lies beside an outbox (lock, note, identity) lies beside this.
    pub anchor: PathBuf,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an IP address (v6 without brackets).
    Network(String),
    /// The directory of its socket.
    Socket(PathBuf),
}

/// What of TLS is demanded, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum SslMode {
    Disable,
    Allow,
    /// As libpq: also without encryption, where the server offers none.
    Prefer,
    /// Encrypted, but to whom is not checked.
    Require,
    VerifyCa,
    /// Encrypted, to the host that was named.
    VerifyFull,
}

/// A password, which nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Address {
    /// What everything that lies beside the outbox lies beside: the SQLite file, or `STATE_DIRECTORY/outbox` for a
    /// server, which is no file itself.
    pub fn anchor(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Server(server) => &server.anchor,
        }
    }

    /// The server, where it is one.
    pub fn server(&self) -> Option<&Server> {
        match self {
            Self::File(_) => None,
            Self::Server(server) => Some(server),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

/// As a message names it: a path, or a URL without password and options.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(server) => write!(f, "{server}"),
        }
    }
}

impl Server {
    /// Where what this host keeps of its own lies: lock, note, identity.
    pub fn state_directory(&self) -> &Path {
        self.anchor.parent().unwrap_or(Path::new("."))
    }

    /// The URL for `psql` and its like, without the password and with every option.
    pub fn uri(&self) -> String {
        let path = |path: &Path| encoded_path(&path.to_string_lossy());
        let files = [
            ("sslrootcert", &self.sslrootcert),
            ("sslcert", &self.sslcert),
            ("sslkey", &self.sslkey),
        ];
        let mut options = Vec::new();
        if let Host::Socket(directory) = &self.host {
            options.push(format!("host={}", path(directory)));
        }
        options.push(format!("sslmode={}", <&str>::from(self.sslmode)));
        let files = files
            .into_iter()
            .filter_map(|(key, file)| Some((key, file.as_deref()?)));
        options.extend(files.map(|(key, file)| format!("{key}={}", path(file))));
        format!("{}?{}", self.place(), options.join("&"))
    }

    /// The URL up to its options.
    fn place(&self) -> String {
        let (user, database, port) = (encoded(&self.user), encoded(&self.database), self.port);
        match &self.host {
            Host::Network(host) if host.contains(':') => format!("postgres://{user}@[{host}]:{port}/{database}"),
            Host::Network(host) => format!("postgres://{user}@{host}:{port}/{database}"),
            Host::Socket(_) if port == PORT => format!("postgres://{user}@/{database}"),
            Host::Socket(_) => format!("postgres://{user}@:{port}/{database}"),
        }
    }
}

/// Without password and options; the schema where it is not the usual one.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        if let Host::Socket(directory) = &self.host {
            write!(f, "?host={}", directory.display())?;
        }
        if self.schema != SCHEMA {
            write!(f, " (schema {})", self.schema)?;
        }
        Ok(())
    }
}

/// As a path may stand in a URL's options.
fn encoded_path(path: &str) -> String {
    encoded(path).replace("%2F", "/")
}

/// As a name may stand in a URL.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        // A form's blank, which a URL's path would keep as a plus.
        b' ' => "%20".to_owned(),
        byte => form_urlencoded::byte_serialize(&[byte]).collect(),
    };
    text.bytes().map(encode).collect()
}

impl Host {
    /// Whether what is sent there stays on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Network(name) if name.eq_ignore_ascii_case("localhost") => true,
            Self::Network(name) => name
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
        }
    }
}

impl Password {
    pub fn new(password: String) -> Self {
        Self(password)
    }

    /// The password itself: for the connection, for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: Host) -> Server {
        Server {
            host,
            port: PORT,
            database: "re ten/db".to_owned(),
            user: "outbox".to_owned(),
            password: Some(Password::new("s3cret".to_owned())),
            sslmode: SslMode::VerifyFull,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            schema: SCHEMA.to_owned(),
            node: "a".to_owned(),
            allow_insecure: false,
            anchor: "/var/lib/reten-outbox/outbox".into(),
        }
    }

    #[test]
    fn an_address_never_shows_its_password() {
        let address = Address::Server(Box::new(server(Host::Network("::1".to_owned()))));
        assert_eq!(address.to_string(), "postgres://outbox@[::1]:5432/re%20ten%2Fdb");
        assert!(!format!("{address:?}").contains("s3cret"));
        assert_eq!(address.anchor(), Path::new("/var/lib/reten-outbox/outbox"));
        let socket = Server {
            port: 5433,
            schema: "tenant_a".to_owned(),
            ..server(Host::Socket("/run/postgresql".into()))
        };
        assert_eq!(
            socket.to_string(),
            "postgres://outbox@:5433/re%20ten%2Fdb?host=/run/postgresql (schema tenant_a)"
        );
        assert_eq!(
            socket.uri(),
            "postgres://outbox@:5433/re%20ten%2Fdb?host=/run/postgresql&sslmode=verify-full"
        );
        assert_eq!(socket.state_directory(), Path::new("/var/lib/reten-outbox"));
    }

    #[test]
    fn a_loopback_address_is_local() {
        let local = |host: &str| Host::Network(host.to_owned()).is_local();
        assert!(local("localhost") && local("127.0.0.1") && local("::1"));
        assert!(!local("db.example") && !local("10.0.0.1") && !local("localhost.example"));
        assert!(Host::Socket("/run/postgresql".into()).is_local());
    }
}
