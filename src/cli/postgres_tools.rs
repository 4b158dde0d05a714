//! An outbox in PostgreSQL in the words of PostgreSQL's own tools: what copies it, puts it back and prepares its place.
//! No password is in any of them.

use std::path::Path;

use crate::model::{Address, Server};

use super::exit::CliError;

/// The file of an outbox that is one; for a server, the refusal of `command` with what does it there.
pub fn file_of<'a>(
    outbox: &'a Address,
    command: &str,
    instead: impl FnOnce(&Server) -> String,
) -> Result<&'a Path, CliError> {
    match outbox {
        Address::File(path) => Ok(path),
        Address::Server(server) => Err(CliError::Usage(format!(
            "`{command}` is for an outbox that is a SQLite file, and this one is {server}; {}",
            instead(server)
        ))),
    }
}

/// What copies the outbox into this file.
pub fn backup_words(server: &Server, file: &Path) -> String {
    format!(
        "PostgreSQL's own tool copies it, while daemons run: pg_dump --format=custom --schema={} --file={} {}",
        server.schema,
        shell_word(&file.to_string_lossy()),
        shell_word(&server.uri())
    )
}

/// What puts a copy of the outbox back. With `--schema` the schema itself is left in place: the role owns it, and may not
/// create another one.
pub fn restore_words(server: &Server, file: &Path) -> String {
    format!(
        "with every daemon of it stopped, PostgreSQL's own tool puts a copy of pg_dump back: \
         pg_restore --clean --if-exists --single-transaction --schema={} --dbname={} {}. What was delivered since the copy is sent \
         again: pause first, set conflict.policy = \"park\", and look through what is parked",
        server.schema,
        shell_word(&server.uri()),
        shell_word(&file.to_string_lossy())
    )
}

/// What an administrator runs once with `psql`, as a superuser. Each statement may be run again.
pub fn preparation(server: &Server) -> String {
    let (role, database, schema) = (name(&server.user), name(&server.database), name(&server.schema));
    let (role_text, create_role) = (literal(&server.user), literal(&format!("CREATE ROLE {role} LOGIN")));
    format!(
        "\
-- What an outbox of reten-outbox needs in PostgreSQL, once, as a superuser: reten-outbox check-config --sql | psql
-- The database, where there is none yet: CREATE DATABASE {database};
-- A password, where the server asks for one: \\password {role}
-- On a managed server, whose administrator is no superuser, first: GRANT {role} TO CURRENT_USER;
\\connect {database}
SELECT {create_role} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {role_text}) \\gexec
GRANT CONNECT ON DATABASE {database} TO {role};
CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role};
ALTER ROLE {role} IN DATABASE {database} SET search_path TO {schema};
-- Nothing else: the daemon makes its tables itself.
"
    )
}

/// A name as SQL has it, whatever it is.
fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text as SQL has it.
fn literal(text: &str) -> String {
    // Backslashes mean themselves: `standard_conforming_strings` is on since PostgreSQL 9.1.
    format!("'{}'", text.replace('\'', "''"))
}

/// One word of a shell's command.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '@' | '%' | '=');
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Host, Password, SslMode};

    fn server() -> Server {
        Server {
            host: Host::Network("db.example".to_owned()),
            port: 5432,
            database: "reten".to_owned(),
            user: "out\"box".to_owned(),
            password: Some(Password::new("s3cret".to_owned())),
            sslmode: SslMode::VerifyFull,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            schema: "tenant_a".to_owned(),
            node: "a".to_owned(),
            allow_insecure: false,
            anchor: "/v/outbox".into(),
        }
    }

    #[test]
    fn a_refusal_names_the_command_that_does_it_without_the_password() {
        let outbox = Address::Server(Box::new(server()));
        let instead = |server: &Server| backup_words(server, Path::new("it's.dump"));
        let told = file_of(&outbox, "backup", instead).unwrap_err().to_string();
        assert!(
            told.ends_with(
                r"pg_dump --format=custom --schema=tenant_a --file='it'\''s.dump' 'postgres://out%22box@db.example:5432/reten?sslmode=verify-full'"
            ),
            "{told}"
        );
        assert!(!told.contains("s3cret"), "{told}");
        let file = Address::File("/v/outbox.db".into());
        assert_eq!(file_of(&file, "backup", instead), Ok(Path::new("/v/outbox.db")));
    }

    #[test]
    fn names_are_quoted_and_the_password_is_in_no_statement() {
        let sql = preparation(&server());
        let expected = [
            r#"SELECT 'CREATE ROLE "out""box" LOGIN' WHERE NOT EXISTS"#,
            r#"CREATE SCHEMA IF NOT EXISTS "tenant_a" AUTHORIZATION "out""box";"#,
            r#"ALTER ROLE "out""box" IN DATABASE "reten" SET search_path TO "tenant_a";"#,
        ];
        for part in expected {
            assert!(sql.contains(part), "{sql}");
        }
        assert!(!sql.contains("s3cret"), "{sql}");
    }
}
