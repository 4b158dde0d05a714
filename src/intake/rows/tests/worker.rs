//! The worker as a process: the test harness started anew, with one test that serves.

use crate::intake::rows::serve;
use crate::intake::rows::worker::{RowWorker, RowsRead, SERVES};
use crate::intake::tests::{House, result};

/// Where the harness was started as a worker, this is one; else there is nothing to do.
#[test]
fn serves_where_it_was_started_to() {
    if std::env::var_os(SERVES).is_some() {
        serve().unwrap();
    }
}

#[tokio::test]
async fn one_that_is_killed_is_an_error_and_the_next_one_goes_on() {
    let house = House::new().await;
    let (path, outbox) = (&house.config.inbox.database, house.config.outbox.database.anchor());
    let mut first = RowWorker::start().unwrap();
    let opened = first.open(path, outbox).await.unwrap();
    assert_eq!(first.insert(vec![result("a"), result("b")]).await.unwrap(), [1, 2]);
    assert!(first.end().await.is_none(), "it is gone at once");
    let mut second = RowWorker::start().unwrap();
    assert_eq!(
        second.open(path, outbox).await.unwrap(),
        opened,
        "the same inbox, by its own id"
    );
    assert_eq!(second.count().await.unwrap(), (2, 0));
    let RowsRead::Rows(batch) = second.poll(None, i64::MIN, 1 << 20).await.unwrap() else {
        panic!("nothing was read");
    };
    assert_eq!(batch.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 2]);
    let again = second.poll(Some(batch.version), i64::MIN, 1 << 20).await.unwrap();
    assert!(matches!(again, RowsRead::Unchanged));
    std::fs::remove_file(path).unwrap();
    let replaced = second.poll(Some(batch.version), i64::MIN, 1 << 20).await.unwrap();
    assert!(
        matches!(replaced, RowsRead::Replaced),
        "what is open is not what lies there"
    );
    let (fresh, _) = second.open(path, outbox).await.unwrap();
    assert_ne!(fresh, opened.0, "a new file is another inbox");
}
