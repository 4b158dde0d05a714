//! What the server's errors mean to us. Of an error its code and its message are passed on, never its detail: that may
//! hold a row, and so a payload.

use std::time::Duration;

use rustls::{CertificateError, Error as TlsError};
use sqlx::postgres::PgDatabaseError;

use crate::store::{OpenError, StoreError};

/// A limit of time of ours has passed; the connection is not used any more.
pub(super) fn timed_out(what: &str, limit: Duration) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("{what} took longer than {} s", limit.as_secs()),
    ))
}

/// What answered is a standby: the address still names the old place after a failover, or will soon name the new one.
pub(super) fn standby() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(
        "the server is a standby (in recovery), which can be read only",
    ))
}

/// What answered gives its sessions to others between our transactions.
pub(super) fn pooled() -> sqlx::Error {
    sqlx::Error::Configuration(format!("before the server is a pooler in transaction mode; {PAST_IT}").into())
}

const PAST_IT: &str = "its sessions are not ours: settings, statements and locks of one are mixed with others'; \
                       connect to the server itself, or through a pooler in session mode";

/// The code of the server's error (SQLSTATE).
fn code(error: &sqlx::Error) -> Option<&str> {
    Some(error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.code())
}

/// Whether the connection is of no use any more, or nobody knows whether it is.
pub(super) fn is_of_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => code(error).is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}

/// Whether the same transaction may succeed when it is run once more at once: a deadlock, a key that another node took in the same moment, a cached plan whose tables changed.
pub(super) fn is_worth_a_replay(error: &sqlx::Error) -> bool {
    matches!(code(error), Some("40001" | "40P01" | "23505" | "0A000"))
}

/// Whether a table is not there: those of this schema are of a version before it.
pub(super) fn is_of_older_tables(error: &sqlx::Error) -> bool {
    code(error) == Some("42P01")
}

/// Whether somebody held a lock for longer than we wait (`lock_timeout`).
pub(super) fn is_of_lock(error: &sqlx::Error) -> bool {
    code(error) == Some("55P03")
}

/// Why there is no TLS with this server, where that is it.
fn of_tls(broken: &std::io::Error) -> Option<&TlsError> {
    broken.get_ref()?.downcast_ref()
}

/// What mends it.
fn mends(refused: &TlsError) -> &'static str {
    match refused {
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "name the server in outbox.database as its certificate does",
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew the server's certificate, or set this host's clock",
        TlsError::AlertReceived(_) => "sslcert and sslkey in outbox.database are what we show to the server",
        _ => "sslrootcert in outbox.database names who may sign the server's certificate",
    }
}

/// What the error says: of the server's its message and its code.
fn said(error: &sqlx::Error) -> String {
    match (error.as_database_error(), code(error)) {
        (Some(of_server), Some(code)) => format!("{} (SQLSTATE {code})", of_server.message()),
        _ => error.to_string(),
    }
}

/// The error of an operation.
pub(super) fn store_error(error: &sqlx::Error) -> StoreError {
    let text = said(error);
    match (code(error), error) {
        // Not of this host.
        (Some("53100" | "53200"), _) => StoreError::Full(format!("the database server says: {text}")),
        (Some("40001" | "40P01" | "55P03"), _) => StoreError::Busy(text),
        (Some("53300" | "25006" | "57014"), _)
        | (None, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => StoreError::Away(text),
        (Some(code), _) if code.starts_with("57P") || code.starts_with("08") => StoreError::Away(text),
        _ => StoreError::Broken(text),
    }
}

/// Why it cannot be opened: what waiting mends, and what an operator has to.
pub(super) fn open_error(place: &str, error: &sqlx::Error) -> OpenError {
    let text = format!("{place}: {}", said(error));
    let mend = |what: &str| OpenError::Unusable(format!("{text}; {what}"));
    match (code(error), error) {
        (Some("28P01" | "28000"), _) => mend(
            "give the right password ($CREDENTIALS_DIRECTORY/outbox-password, outbox.password_file or PGPASSFILE) and role; pg_hba.conf says who may connect how",
        ),
        // Two of ours met in one session.
        (Some("42P05" | "26000"), _) => mend(&format!("before the server is a pooler in transaction mode; {PAST_IT}")),
        (Some("08P01"), _) if text.contains("pooling mode") => mend(PAST_IT),
        (Some("3D000"), _) => mend("create the database, or name another one in outbox.database"),
        (Some("3F000"), _) => mend("`reten-outbox check-config --sql` prints what an administrator creates"),
        (Some("42501"), _) => {
            mend("the role may not do this; `reten-outbox check-config --sql` prints the grants that it needs")
        }
        (Some(code), _) if !code.starts_with("57P") && !code.starts_with("08") && !code.starts_with("53") => {
            OpenError::Unusable(text)
        }
        (None, sqlx::Error::Tls(_)) => mend(
            "set ssl = on and a certificate on the server where it offers no TLS; sslrootcert in outbox.database names who may sign it",
        ),
        (None, sqlx::Error::Io(broken)) => match of_tls(broken) {
            Some(refused) => mend(mends(refused)),
            None => OpenError::Busy(text),
        },
        (None, sqlx::Error::Configuration(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
            OpenError::Unusable(text)
        }
        _ => OpenError::Busy(text),
    }
}
