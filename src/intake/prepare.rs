//! Whether intake can work at all, asked once at start: a wrong directory is to be named then (exit 78), not in a log at night.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::config::Inbox;

use super::folder::{Folder, hidden};
use super::{blocking, reject, rows};

/// What a person must mend; names the setting, the place and the cure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PrepareError(String);

/// Checks `inbox.dir` (a directory in which files can be created, renamed and removed, with room for `rejected/`) and `inbox.database` (created
/// where it is missing). A row inbox that is only locked just now is fine.
pub async fn prepare(inbox: &Inbox, outbox: &Path) -> Result<(), PrepareError> {
    let dir = inbox.dir.clone();
    let shown = dir.display().to_string();
    blocking(move || try_directory(&dir))
        .await
        .and_then(|tried| tried)
        .map_err(|error| PrepareError(format!("inbox.dir = \"{shown}\": {}", told(&error))))?;
    match rows::try_open(&inbox.database, outbox).await {
        Ok(()) | Err(rows::RowsError::Busy(_)) => Ok(()),
        Err(error) => Err(PrepareError(format!(
            "inbox.database = \"{}\": {error}; {}",
            inbox.database.display(),
            cure(&inbox.database)
        ))),
    }
}

fn try_directory(dir: &Path) -> io::Result<()> {
    let folder = Folder::open(dir)?;
    let probe = hidden("probe", u64::from(std::process::id()));
    let moved = hidden("probe-moved", u64::from(std::process::id()));
    // What an earlier start left that was killed right here.
    folder.remove(&probe)?;
    folder.remove(&moved)?;
    let _file: File = folder.create(&probe)?;
    folder.rename(&probe, &folder, &moved)?;
    folder.remove(&moved)?;
    folder.names()?;
    reject::open(&folder)?;
    Ok(())
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory; create it for the daemon's user".into(),
        io::ErrorKind::NotADirectory => "this is no directory; name one, or move it away".into(),
        io::ErrorKind::PermissionDenied => format!("{error}; the daemon's user must be able to read and write it"),
        _ => format!("{error}; the daemon must be able to create, rename and remove files in it"),
    }
}

fn cure(database: &Path) -> String {
    let dir = rows::directory(database);
    if dir.is_dir() {
        format!("the daemon's user must be able to write it and its directory {}", dir.display())
    } else {
        format!("there is no directory {}; create it for the daemon's user", dir.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::intake::tests::House;

    #[tokio::test]
    async fn a_good_place_is_left_as_it_was_but_for_what_we_need() {
        let house = House::new().await;
        prepare(&house.config.inbox, &house.config.outbox.database).await.unwrap();
        assert_eq!(
            (house.names("inbox"), house.names("rows")),
            (vec!["rejected".to_owned()], vec!["inbox.db".to_owned()])
        );
        prepare(&house.config.inbox, &house.config.outbox.database).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_missing_or_in_the_way_is_named_with_its_setting() {
        let mut house = House::new().await;
        let outbox = house.config.outbox.database.clone();
        house.config.inbox.dir = house.dir.path().join("nowhere");
        let error = prepare(&house.config.inbox, &outbox).await.unwrap_err().to_string();
        assert!(
            error.contains("inbox.dir") && error.contains("nowhere") && error.contains("create it"),
            "{error}"
        );
        fs::write(&house.config.inbox.dir, "").unwrap();
        let error = prepare(&house.config.inbox, &outbox).await.unwrap_err().to_string();
        assert!(error.contains("no directory"), "{error}");
        fs::remove_file(&house.config.inbox.dir).unwrap();
        fs::create_dir(&house.config.inbox.dir).unwrap();
        fs::write(house.config.inbox.dir.join("rejected"), "").unwrap();
        assert!(prepare(&house.config.inbox, &outbox).await.is_err());
        fs::remove_file(house.config.inbox.dir.join("rejected")).unwrap();
        house.config.inbox.database = house.dir.path().join("missing/inbox.db");
        let error = prepare(&house.config.inbox, &outbox).await.unwrap_err().to_string();
        assert!(
            error.contains("inbox.database") && error.contains("there is no directory"),
            "{error}"
        );
    }
}
