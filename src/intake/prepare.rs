//! Whether intake can work at all, asked once at start: a wrong directory is to be named then (exit 78), not in a log
//! at night.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Inbox;
use crate::telemetry::events;

use super::context::blocking;
use super::folder::{Folder, hidden};
use super::inbox_lock::InboxLock;
use super::{rows, trust};

/// So long the directory may take to answer. One that hangs does not keep the deliveries: it is looked at again by the
/// files' loop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why intake cannot begin; names the setting, the place and the cure.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An operator must mend it.
    #[error("{0}")]
    Wrong(String),
    /// Another daemon takes from this inbox.
    #[error("{0}")]
    InUse(String),
}

/// Checks `inbox.dir` (a directory in which files can be created, renamed and removed) and `inbox.database` (created
/// where it is missing), and holds the directory: no other daemon may take from it. What a producer may have made of
/// the row inbox stops no start, for it stops no delivery: the rows' loop tells it.
pub async fn prepare(inbox: &Inbox, outbox: &Path) -> Result<Option<InboxLock>, PrepareError> {
    let inbox_lock = directory(&inbox.dir).await?;
    match rows::try_open(&inbox.database, outbox).await {
        Ok(false) => {
            events::warning(
                "this kernel has no Landlock (or it is switched off, or a seccomp filter forbids it): \
                 the process that reads inbox.database is not confined to its directory",
                "what is known to be harmful in that file is refused all the same; \
                 Linux 5.13 or newer with `landlock` in /sys/kernel/security/lsm confines it",
            );
            Ok(inbox_lock)
        }
        Err(rows::RowsError::Misplaced(why)) => Err(PrepareError::Wrong(format!("inbox.database: {why}"))),
        Err(rows::RowsError::InUse(why)) => Err(PrepareError::InUse(format!("inbox.database: {why}"))),
        Ok(true)
        | Err(
            rows::RowsError::Busy(_)
            | rows::RowsError::SuperJournal(_)
            | rows::RowsError::Refused(_)
            | rows::RowsError::Broken(_)
            | rows::RowsError::Gone(_),
        ) => Ok(inbox_lock),
    }
}

async fn directory(dir: &Path) -> Result<Option<InboxLock>, PrepareError> {
    let place = dir.to_owned();
    let Ok(tried) = timeout(PATIENCE, blocking(move || try_directory(&place))).await else {
        events::storage_error(
            "open the inbox",
            &format!("{} does not answer; its file system may hang", dir.display()),
            "`findmnt -T` with that directory and `dmesg` tell; deliveries go on, and files are taken when it answers",
        );
        return Ok(None);
    };
    let wrong =
        |error: io::Error| PrepareError::Wrong(format!("inbox.dir = \"{}\": {}", dir.display(), with_cure(&error)));
    match tried.and_then(|tried| tried).map_err(wrong)? {
        Ok(inbox_lock) => Ok(Some(inbox_lock)),
        Err(held) if held.kind() == io::ErrorKind::WouldBlock => Err(PrepareError::InUse(format!(
            "inbox.dir = \"{}\": {held}",
            dir.display()
        ))),
        Err(error) => Err(wrong(error)),
    }
}

/// In the inbox itself nothing is tried out: a name of ours could be anybody's there.
fn try_directory(dir: &Path) -> io::Result<io::Result<InboxLock>> {
    let folder = Folder::open(dir)?;
    folder.check_access()?;
    let private_dir = folder.private_dir()?;
    let inbox_lock = InboxLock::take(&folder);
    let probe = hidden("probe", u64::from(std::process::id()));
    let moved = hidden("probe-moved", u64::from(std::process::id()));
    // What an earlier start left that was killed right here.
    private_dir.remove(&probe)?;
    private_dir.remove(&moved)?;
    let _file: File = private_dir.create(&probe)?;
    private_dir.rename(&probe, private_dir, &moved)?;
    private_dir.remove(&moved)?;
    folder.names()?;
    Ok(inbox_lock)
}

fn with_cure(error: &io::Error) -> String {
    if let Some(cure) = trust::cure(error) {
        return format!("{error}; {cure}");
    }
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory; create it for the daemon's user".into(),
        io::ErrorKind::NotADirectory => "this is no directory; name one, or move it away".into(),
        io::ErrorKind::PermissionDenied => format!("{error}; the daemon's user must be able to read and write it"),
        _ => format!("{error}; the daemon must be able to create, rename and remove files in it"),
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
        prepare(&house.config.inbox, house.config.outbox.database.anchor())
            .await
            .unwrap();
        assert_eq!(
            (house.names("inbox"), house.names("rows")),
            (
                vec![".reten-outbox".to_owned()],
                vec!["inbox.db".to_owned(), "inbox.db.lock".to_owned()]
            )
        );
        prepare(&house.config.inbox, house.config.outbox.database.anchor())
            .await
            .unwrap();
        assert_eq!(house.names("inbox/.reten-outbox"), ["lock"]);
    }

    #[tokio::test]
    async fn what_anybody_may_put_into_the_inbox_keeps_no_start() {
        let house = House::new().await;
        let names = [
            hidden("probe", std::process::id().into()),
            hidden("probe-moved", std::process::id().into()),
        ];
        for name in names
            .iter()
            .filter_map(|name| name.to_str())
            .chain(["rejected", ".reten-outbox"])
        {
            fs::create_dir_all(house.inbox(name).join("in the way")).unwrap();
            std::os::unix::fs::symlink("/nowhere", house.inbox(&format!("{name}.json"))).unwrap();
            fs::set_permissions(house.inbox(name), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        prepare(&house.config.inbox, house.config.outbox.database.anchor())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_inbox_that_another_daemon_holds_is_in_use() {
        let house = House::new().await;
        let first = prepare(&house.config.inbox, house.config.outbox.database.anchor())
            .await
            .unwrap();
        assert!(first.is_some());
        let second = prepare(&house.config.inbox, house.config.outbox.database.anchor())
            .await
            .unwrap_err();
        assert!(
            matches!(&second, PrepareError::InUse(why) if why.contains("inbox.dir")),
            "{second}"
        );
    }

    #[tokio::test]
    async fn what_is_missing_or_in_the_way_is_named_with_its_setting() {
        let mut house = House::new().await;
        let outbox = house.config.outbox.database.anchor().to_owned();
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
        house.config.inbox.database = house.dir.path().join("missing/inbox.db");
        let error = prepare(&house.config.inbox, &outbox).await.unwrap_err().to_string();
        assert!(
            error.contains("inbox.database") && error.contains("there is no directory"),
            "{error}"
        );
    }
}
