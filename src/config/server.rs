//! `outbox.database` as a URL of PostgreSQL. What libpq would fall back on (the environment, the name of the user) is
//! asked for, and what it knows and we do not is refused: no parameter is passed over in silence.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use strum::VariantNames as _;
use url::{Host as UrlHost, Url};

use crate::model::{Host, Password, Server, SslMode, address};

use super::path::absolute;

/// What such a URL begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The longest name that PostgreSQL keeps whole, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Stands for a host that is empty, as before a socket's directory: the parser wants one.
const NO_HOST: &str = "host.invalid";

const FORM: &str = "write postgres://USER@HOST:5432/DATABASE?sslmode=verify-full, \
                    or postgres://USER@/DATABASE?host=/run/postgresql for a socket";

/// Whether this is meant as a URL of PostgreSQL.
pub(super) fn is_url(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// The server that a URL names; schema, node, switch and anchor are as yet those of nobody. The error is in words that
/// follow the URL, and shows nothing of a password.
pub(super) fn parse(text: &str) -> Result<Server, String> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
        return Err(
            "has a blank, a backslash or a character that is not ASCII inside; write it percent-encoded".to_owned(),
        );
    }
    let url = Url::parse(&with_host(text)).map_err(|error| {
        format!("is not a URL ({error}); {FORM}. In a password, / ? # @ : and % are written %2F %3F %23 %40 %3A %25")
    })?;
    if url.fragment().is_some() {
        return Err("has a # inside; in a name or a password it is written %23".to_owned());
    }
    let named = url.host().and_then(|host| host_of(&host));
    let mut server = Server {
        host: named.clone().unwrap_or(Host::Network(String::new())),
        port: url.port().unwrap_or(address::PORT),
        database: database(&url)?,
        user: decoded(url.username())?,
        password: url
            .password()
            .filter(|password| !password.is_empty())
            .map(decoded)
            .transpose()?
            .map(Password::new),
        sslmode: SslMode::Prefer,
        sslrootcert: None,
        sslcert: None,
        sslkey: None,
        schema: address::SCHEMA.to_owned(),
        node: String::new(),
        allow_insecure: false,
        anchor: PathBuf::new(),
    };
    if server.user.is_empty() {
        return Err(format!("names no user; {FORM}"));
    }
    let mut seen = Vec::new();
    for option in url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|option| !option.is_empty())
    {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let (key, value) = (decoded(key)?, decoded(value)?);
        set(&mut server, &key, value)?;
        if seen.contains(&key) {
            return Err(format!("names {key} twice; write it once"));
        }
        seen.push(key);
    }
    match &server.host {
        Host::Network(name) if name.is_empty() => return Err(format!("names no host; {FORM}")),
        Host::Network(name) if name.contains(',') => {
            return Err("names several hosts; name one: an address or a proxy that leads to the primary".to_owned());
        }
        Host::Network(_) | Host::Socket(_) => {}
    }
    if server.sslcert.is_some() != server.sslkey.is_some() {
        return Err("names one of sslcert and sslkey; a certificate goes with its key: write both".to_owned());
    }
    Ok(server)
}

/// One option of the URL.
fn set(server: &mut Server, key: &str, value: String) -> Result<(), String> {
    let file = |value: &str| match value {
        "" => Err(format!("has an empty {key}; name a file, or leave it out")),
        value => absolute(value)
            .map(Some)
            .map_err(|wrong| format!("has a {key} that {wrong}")),
    };
    match key {
        "sslmode" => {
            server.sslmode = SslMode::from_str(&value)
                .map_err(|_| format!("has an unknown sslmode; write one of {}", SslMode::VARIANTS.join(", ")))?;
        }
        // In libpq's word, the authorities of the system: what is meant without it here.
        "sslrootcert" if value == "system" => server.sslrootcert = None,
        "sslrootcert" => server.sslrootcert = file(&value)?,
        "sslcert" => server.sslcert = file(&value)?,
        "sslkey" => server.sslkey = file(&value)?,
        "host" if value.starts_with('/') => server.host = Host::Socket(value.into()),
        "host" => server.host = Host::Network(value),
        "port" => {
            let port = value.parse().ok().filter(|port| *port > 0);
            server.port = port.ok_or("has a port that is not a number from 1 to 65535")?;
        }
        "password" => {
            return Err(
                "has a password among its options, where it is not looked for; put it into the file that \
                        outbox.password_file names"
                    .to_owned(),
            );
        }
        "user" | "dbname" => return Err(format!("has an option {key}; {FORM}")),
        other => {
            let shown: String = other.chars().take(NAME_BYTES_MAX).collect();
            return Err(format!(
                "has an unknown option {}; known are sslmode, sslrootcert, sslcert, sslkey, host and port",
                shown.escape_debug()
            ));
        }
    }
    Ok(())
}

/// The URL with [`NO_HOST`] where it names none.
fn with_host(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let end = text[start..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |length| start + length);
    let host = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    if host == end || text[host..end].starts_with(':') {
        format!("{}{NO_HOST}{}", &text[..host], &text[host..])
    } else {
        text.to_owned()
    }
}

fn host_of(host: &UrlHost<&str>) -> Option<Host> {
    match host {
        UrlHost::Domain(name) if *name == NO_HOST => None,
        UrlHost::Domain(name) => {
            let name = decoded(name).ok()?;
            Some(if name.starts_with('/') {
                Host::Socket(name.into())
            } else {
                Host::Network(name)
            })
        }
        UrlHost::Ipv4(address) => Some(Host::Network(address.to_string())),
        UrlHost::Ipv6(address) => Some(Host::Network(address.to_string())),
    }
}

fn database(url: &Url) -> Result<String, String> {
    let name = url.path().strip_prefix('/').unwrap_or_default();
    if name.is_empty() {
        return Err(format!("names no database; {FORM}"));
    }
    if name.contains('/') {
        return Err("has more than a database's name as its path; a / in the name is written %2F".to_owned());
    }
    decoded(name)
}

/// Without its percent-encoding.
fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "has a part that is not UTF-8 once it is decoded".to_owned())?;
    if decoded.chars().any(char::is_control) {
        return Err("has a control character inside".to_owned());
    }
    Ok(decoded.into_owned())
}

/// What is wrong with a schema's name. Names of other kinds need quotes everywhere, and are misread without.
pub(super) fn check_schema(name: &str) -> Result<(), String> {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_plain || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "is no name for a schema; write a-z, 0-9 and _, a letter first, at most {NAME_BYTES_MAX} of them"
        ));
    }
    if name.starts_with("pg_") || name == "information_schema" {
        return Err("is a schema of PostgreSQL's own; choose another name".to_owned());
    }
    Ok(())
}

/// What is wrong with a node's name.
pub(super) fn check_node(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.chars().all(is_plain) && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "is no name for a node; write at most {NAME_BYTES_MAX} letters, digits, `.`, `-` and `_`, \
         or leave it empty for the host's name"
    ))
}

/// The host's name, as far as it can be a node's.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() || check_node(&name).is_err() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// What is wrong with sending results and a password there, as far as the URL decides it.
pub(super) fn check_safety(server: &Server) -> Result<(), String> {
    if server.host.is_local() || server.sslmode == SslMode::VerifyFull || server.allow_insecure {
        return Ok(());
    }
    Err(format!(
        "goes over a network with sslmode={}, which does not prove that it is the server; write sslmode=verify-full \
         (and sslrootcert=FILE where an authority of your own signed its certificate), or set \
         outbox.allow_insecure = true",
        <&str>::from(server.sslmode)
    ))
}

/// Where the host keeps what is its own of an outbox in PostgreSQL.
pub(super) fn anchor(state: &Path) -> PathBuf {
    state.join("outbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_url_is_taken_decoded() {
        let server = parse(
            "postgresql://out%40box:p%2Fss%25@db.example:5433/re%20ten\
             ?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslcert=/etc/c.pem&sslkey=/etc/k.pem",
        )
        .unwrap();
        assert_eq!(server.host, Host::Network("db.example".to_owned()));
        assert_eq!(
            (server.port, server.database.as_str(), server.user.as_str()),
            (5433, "re ten", "out@box")
        );
        assert_eq!(server.password.unwrap().reveal(), "p/ss%");
        assert_eq!(server.sslmode, SslMode::VerifyFull);
        assert_eq!(server.sslrootcert.as_deref(), Some(Path::new("/etc/ca.pem")));
        assert_eq!(server.sslcert.as_deref(), Some(Path::new("/etc/c.pem")));
        assert_eq!(server.sslkey.as_deref(), Some(Path::new("/etc/k.pem")));
    }

    #[test]
    fn a_socket_is_named_in_each_way_that_libpq_knows() {
        let socket = Host::Socket("/run/postgresql".into());
        for (url, port) in [
            ("postgres://me@/db?host=/run/postgresql", 5432),
            ("postgres://me@:5433/db?host=/run/postgresql", 5433),
            ("postgres://me@localhost/db?host=/run/postgresql&port=5434", 5434),
            ("postgres://me@%2Frun%2Fpostgresql/db", 5432),
        ] {
            let server = parse(url).unwrap();
            assert_eq!((&server.host, server.port), (&socket, port), "{url}");
            assert_eq!(parse(&server.uri()), Ok(server), "{url}");
        }
        assert_eq!(
            parse("postgres://me@[::1]:1/db").unwrap().host,
            Host::Network("::1".to_owned())
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_named_and_no_password_is_shown() {
        let cases = [
            ("postgres://db/reten", "names no user"),
            ("postgres://me@db", "names no database"),
            ("postgres://me@db/", "names no database"),
            ("postgres://me@db/a/b", "more than a database's name"),
            ("postgres:///db", "names no user"),
            ("postgres://me@/db", "names no host"),
            ("postgres://me@a,b/db", "several hosts"),
            ("postgres://me:s3c/ret@db/x", "written %2F"),
            ("postgres://me:s3cret@db/x#y", "has a # inside"),
            ("postgres://me:s3 cret@db/x", "a blank"),
            (
                "postgres://me@db/x?sslmode=on",
                "write one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            (
                "postgres://me@db/x?ssl_mode=require",
                "unknown option ssl_mode; known are sslmode",
            ),
            (
                "postgres://me@db/x?sslmode=require&sslmode=prefer",
                "names sslmode twice",
            ),
            ("postgres://me@db/x?password=s3cret", "outbox.password_file"),
            ("postgres://me@db/x?port=0", "from 1 to 65535"),
            ("postgres://me@db:99999/x", "is not a URL"),
            ("postgres://me@db/x?sslcert=/c.pem", "write both"),
            ("postgres://me@db/x?sslrootcert=", "empty sslrootcert"),
            ("postgres://me@db/%ff", "not UTF-8"),
        ];
        for (url, expected) in cases {
            let wrong = parse(url).unwrap_err();
            assert!(wrong.contains(expected) && !wrong.contains("s3"), "{url}: {wrong}");
        }
    }

    #[test]
    fn over_a_network_only_a_checked_certificate_will_do_unless_allowed() {
        let check = |url| check_safety(&parse(url).unwrap());
        for url in [
            "postgres://me@/db?host=/run/postgresql",
            "postgres://me@localhost/db",
            "postgres://me@127.0.0.1/db?sslmode=disable",
            "postgres://me@[::1]/db",
            "postgres://me@db.example/db?sslmode=verify-full",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in [
            "postgres://me@db.example/db",
            "postgres://me@db.example/db?sslmode=verify-ca",
            "postgres://me@localhost/db?host=db.example",
        ] {
            let wrong = check(url).unwrap_err();
            assert!(wrong.contains("write sslmode=verify-full"), "{url}: {wrong}");
            let allowed = Server {
                allow_insecure: true,
                ..parse(url).unwrap()
            };
            assert_eq!(check_safety(&allowed), Ok(()), "{url}");
        }
    }

    #[test]
    fn names_of_schemas_and_nodes_need_no_quotes() {
        for good in ["reten_outbox", "_a1", &"a".repeat(63)] {
            assert_eq!(check_schema(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Reten",
            "1a",
            "a-b",
            "é",
            "pg_toast",
            "information_schema",
            &"a".repeat(64),
        ] {
            assert!(check_schema(bad).is_err(), "{bad}");
        }
        assert_eq!((check_node(""), check_node("host-1.example")), (Ok(()), Ok(())));
        assert!(check_node("a b").is_err() && check_node(&"a".repeat(64)).is_err());
        assert_eq!(check_node(&host_name()), Ok(()));
    }
}
