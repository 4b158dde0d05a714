//! The password of an outbox in PostgreSQL: where it is found. No error shows any of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::model::{Host, Password, Server};

use super::environment::Environment;
use super::problem::PasswordError;
use super::secret_file::{UNSET, Unread, credential, read, trimmed};

/// The name of our credential in the directory of systemd's.
const CREDENTIAL: &str = "outbox-password";

/// The variable that names a file of passwords in the format of `~/.pgpass`. Only when it is set: nothing is looked up
/// that nobody named.
const PASS_FILE: &str = "PGPASSFILE";

/// The first password that is found: `$CREDENTIALS_DIRECTORY/outbox-password`, `password_file` (an empty path is no
/// place), the line for this server in `$PGPASSFILE`.
pub(super) fn find(
    server: &Server,
    password_file: &Path,
    env: &Environment,
) -> Result<Option<Password>, PasswordError> {
    if let Some(path) = credential(env, CREDENTIAL)
        && let Some(found) = content(&path)?.filter(|found| trimmed(found) != UNSET)
    {
        return alone(&found).map(Some).map_err(|why| malformed(&path, why));
    }
    if !password_file.as_os_str().is_empty()
        && let Some(found) = content(password_file)?
    {
        return alone(&found).map(Some).map_err(|why| malformed(password_file, why));
    }
    match env.get(PASS_FILE).filter(|path| !path.is_empty()) {
        Some(path) => in_pass_file(path, server),
        None => Ok(None),
    }
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, PasswordError> {
    read(path).map_err(|Unread { why, is_forbidden }| PasswordError {
        place: path.to_owned(),
        why,
        is_forbidden,
    })
}

fn malformed(place: &Path, why: &str) -> PasswordError {
    PasswordError {
        place: place.to_owned(),
        why: why.to_owned(),
        is_forbidden: false,
    }
}

/// A file with a password and nothing else. Only the line's end is cut: a password may begin or end with a blank.
fn alone(found: &[u8]) -> Result<Password, &'static str> {
    let text = str::from_utf8(found).map_err(|_| "it is not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("it is empty; put the password there, or remove the file so that the next place is looked at");
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err("it has more than one line; name a file that holds the password and nothing else");
    }
    Ok(Password::new(text.to_owned()))
}

/// The password of the first line `host:port:database:user:password` that is for this server.
fn in_pass_file(path: &OsStr, server: &Server) -> Result<Option<Password>, PasswordError> {
    let path = Path::new(path);
    let Some(found) = content(path)? else {
        return Ok(None);
    };
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(malformed(
            path,
            &format!("group or others may read or write it, so it is not used; `chmod 600 {shown}` mends it"),
        ));
    }
    let text = String::from_utf8(found).map_err(|_| malformed(path, "it is not UTF-8"))?;
    let password = text.lines().find_map(|line| of_line(line, server));
    Ok(password.filter(|password| !password.is_empty()).map(Password::new))
}

/// The password of a line that is for this server.
fn of_line(line: &str, server: &Server) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, database, user, password, ..] = fields.as_slice() else {
        return None;
    };
    let is = |field: &Field, value: &str| field.raw == "*" || field.text == value;
    let is_host = match &server.host {
        Host::Network(name) => is(host, name),
        // As libpq, which also knows the usual directories by this name.
        Host::Socket(directory) => is(host, "localhost") || is(host, &directory.to_string_lossy()),
    };
    let is_ours = is_host && is(port, &server.port.to_string()) && is(database, &server.database);
    (is_ours && is(user, &server.user)).then(|| password.text.clone())
}

#[derive(Default)]
struct Field {
    text: String,
    /// As it is written: a lone `*` that is not escaped stands for any.
    raw: String,
}

/// The parts of a line; `\:` and `\\` are a colon and a backslash. As in libpq, a colon also ends the password.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut field = Field::default();
    let mut is_escaped = false;
    for c in line.chars() {
        if c == ':' && !is_escaped {
            fields.push(std::mem::take(&mut field));
            continue;
        }
        field.raw.push(c);
        is_escaped = c == '\\' && !is_escaped;
        if !is_escaped {
            field.text.push(c);
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::super::secret_file::CREDENTIALS;
    use super::super::server;
    use super::*;

    fn at(url: &str) -> Server {
        server::parse(url).unwrap()
    }

    fn found(server: &Server, file: &Path, env: &Environment) -> Option<String> {
        let found = find(server, file, env).unwrap();
        found.map(|password| password.reveal().to_owned())
    }

    #[test]
    fn the_first_place_that_has_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        let (file, pass_file) = (path("password"), path("pgpass"));
        let env: Environment = [
            (CREDENTIALS, dir.path().as_os_str()),
            (PASS_FILE, pass_file.as_os_str()),
        ]
        .into_iter()
        .collect();
        let server = at("postgres://outbox@db/reten");
        let found = || found(&server, &file, &env);
        assert_eq!(found(), None);
        fs::write(&pass_file, "db:5432:reten:outbox:from pgpass\n").unwrap();
        fs::set_permissions(&pass_file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(found().as_deref(), Some("from pgpass"));
        fs::write(&file, " from file \n").unwrap();
        assert_eq!(found().as_deref(), Some(" from file "));
        fs::write(path(CREDENTIAL), "unset\n").unwrap();
        assert_eq!(found().as_deref(), Some(" from file "));
        fs::write(path(CREDENTIAL), "from systemd").unwrap();
        assert_eq!(found().as_deref(), Some("from systemd"));
    }

    #[test]
    fn a_pass_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:s3cret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let env: Environment = [(PASS_FILE, &path)].into_iter().collect();
        let error = find(&at("postgres://outbox@db/reten"), Path::new(""), &env).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("chmod 600") && !told.contains("s3cret"), "{told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(find(&at("postgres://outbox@db/reten"), Path::new(""), &env).is_ok());
    }

    #[test]
    fn a_line_is_matched_as_libpq_does() {
        let server = at("postgres://outbox@db:5433/re%3Aten");
        let socket = at("postgres://outbox@/reten?host=/run/postgresql");
        let cases = [
            (
                "db:5433:re\\:ten:outbox:pa\\:ss\\\\wo*rd",
                &server,
                Some("pa:ss\\wo*rd"),
            ),
            ("*:*:*:*:any", &server, Some("any")),
            ("*:*:*:*:any:thing", &server, Some("any")),
            ("\\*:*:*:*:escaped", &server, None),
            ("#*:*:*:*:comment", &server, None),
            ("other:*:*:*:x", &server, None),
            ("db:5432:*:*:x", &server, None),
            ("db:5433:*:root:x", &server, None),
            ("db:5433:x", &server, None),
            ("localhost:*:reten:outbox:socket", &socket, Some("socket")),
            ("/run/postgresql:5432:reten:outbox:socket", &socket, Some("socket")),
        ];
        for (line, server, expected) in cases {
            assert_eq!(of_line(line, server).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_wrong_password_does_not_lead_to_the_next_place_and_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let cases: [(&[u8], &str); 3] = [
            (b"\n", "empty"),
            (b"s3cret\nmore", "one line"),
            (b"s3cret\xff", "UTF-8"),
        ];
        for (text, expected) in cases {
            fs::write(&file, text).unwrap();
            let error = find(&at("postgres://outbox@db/reten"), &file, &Environment::default()).unwrap_err();
            let told = error.to_string();
            assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
        }
    }
}
