//! The exit codes that scripts rely on, and which failure leads to which.

use std::io;
use std::process::ExitCode;

use crate::api::ClientError;
use crate::config::{ConfigError, KeyError, PasswordError};
use crate::intake::PrepareError;
use crate::store::{OpenError, StoreError};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// It was called wrongly.
    Usage,
    /// There is no such submission.
    NoSuch,
    /// Unavailable; may pass by itself.
    Unavailable,
    /// An operator must mend something first: configuration, key, directories, database.
    Mend,
}

impl Exit {
    /// This one; of what is done, [`Exit::Failed`], since something beside it failed.
    #[must_use]
    pub const fn max_failed(self) -> Self {
        match self {
            Self::Done => Self::Failed,
            Self::Failed | Self::Usage | Self::NoSuch | Self::Unavailable | Self::Mend => self,
        }
    }
}

/// What a command itself has to say against going on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// It was called wrongly in a way that only running it shows.
    #[error("{0}")]
    Usage(String),
    /// There is no such submission.
    #[error("{0}")]
    NoSuch(String),
    /// It would not or could not do it; the reasons are told.
    #[error("{0}")]
    Refused(String),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoSuch => 3,
            Exit::Unavailable => 69,
            Exit::Mend => 78,
        })
    }
}

/// The exit code of a failure: that of the first cause in its chain that has one, else [`Exit::Failed`].
pub fn exit_code(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = cause.downcast_ref::<CliError>() {
        return Some(match error {
            CliError::Usage(_) => Exit::Usage,
            CliError::NoSuch(_) => Exit::NoSuch,
            CliError::Refused(_) => Exit::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<OpenError>() {
        return Some(match error {
            OpenError::InUse(_) | OpenError::Busy(_) => Exit::Unavailable,
            OpenError::Missing(_) | OpenError::Unusable(_) => Exit::Mend,
        });
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(match error {
            // A full disk is often emptied by what fills it: rotation, retention.
            StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) => Exit::Unavailable,
            StoreError::Broken(_) => Exit::Mend,
            StoreError::Closed => Exit::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<PrepareError>() {
        return Some(match error {
            PrepareError::InUse(_) => Exit::Unavailable,
            PrepareError::Wrong(_) => Exit::Mend,
        });
    }
    let mend =
        cause.is::<ConfigError>() || cause.is::<KeyError>() || cause.is::<PasswordError>() || cause.is::<ClientError>();
    mend.then_some(Exit::Mend)
}

/// Whether a failure only says that nobody reads our output any more (`| head`): no failure at all.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes
        .into_iter()
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_failure_has_the_code_of_the_contract_however_it_is_wrapped() {
        let text = || "x".to_owned();
        let cases = [
            (anyhow::Error::from(CliError::Usage(text())), Exit::Usage),
            (CliError::NoSuch(text()).into(), Exit::NoSuch),
            (CliError::Refused(text()).into(), Exit::Failed),
            (OpenError::InUse(text()).into(), Exit::Unavailable),
            (OpenError::Busy(text()).into(), Exit::Unavailable),
            (OpenError::Unusable(text()).into(), Exit::Mend),
            (StoreError::Busy(text()).into(), Exit::Unavailable),
            (StoreError::Broken(text()).into(), Exit::Mend),
            (StoreError::Closed.into(), Exit::Failed),
            (ConfigError { problems: Vec::new() }.into(), Exit::Mend),
            (KeyError::Missing { key_file: text() }.into(), Exit::Mend),
            (ClientError::Proxy(text()).into(), Exit::Mend),
            (PrepareError::Wrong(text()).into(), Exit::Mend),
            (PrepareError::InUse(text()).into(), Exit::Unavailable),
            (anyhow::anyhow!("anything else"), Exit::Failed),
        ];
        for (error, expected) in cases {
            assert_eq!(exit_code(&error), expected, "{error}");
            assert_eq!(exit_code(&error.context("while listing").context("and more")), expected);
        }
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let left = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing the list");
        assert!(is_broken_pipe(&left.unwrap_err()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
