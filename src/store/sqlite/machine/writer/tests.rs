use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::store::operation::{Asked, Note};
use crate::store::sqlite::opening::{pragma, schema};

type Answer = oneshot::Receiver<Result<(), StoreError>>;

/// A writer on a database of its own, its connection prepared by `sql`; the way to it, and another hand on the same
/// file.
async fn writer(sql: &'static str) -> (TempDir, mpsc::Sender<Order>, SqliteConnection) {
    let directory = crate::store::tests::directory();
    let options = SqliteConnectOptions::new().filename(directory.path().join("outbox.db"));
    let mut conn = options.clone().create_if_missing(true).connect().await.unwrap();
    pragma::for_creation(&mut conn).await.unwrap();
    pragma::for_writing(&mut conn, None).await.unwrap();
    schema::migrate(&mut conn).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    let (orders, waiting) = mpsc::channel(QUEUE);
    tokio::spawn(
        Writer::new(
            conn,
            waiting,
            None,
            Arc::default(),
            Arc::new(Locked::new(directory.path())),
        )
        .run(),
    );
    (directory, orders, options.connect().await.unwrap())
}

fn note(name: &str, value: String) -> (Order, Answer) {
    let (reply, answer) = oneshot::channel();
    let note = Note {
        name: name.to_owned(),
        value: Some(value),
        now: Timestamp::default(),
    };
    (Order::Operation(Operation::Remember(Asked::new(note, reply))), answer)
}

async fn send(orders: &mpsc::Sender<Order>, name: &str, value: String) -> Answer {
    let (order, answer) = note(name, value);
    orders.send(order).await.unwrap();
    answer
}

#[tokio::test]
async fn one_that_fails_does_not_fail_those_that_came_with_it() {
    const REFUSE: &str = "CREATE TRIGGER refuse BEFORE INSERT ON memory WHEN new.name = 'bad' \
         BEGIN SELECT RAISE (ABORT, 'refused'); END";
    let (_directory, orders, mut other) = writer(REFUSE).await;
    // All three are queued before the writer first runs: one group.
    let answers = [
        send(&orders, "good", "1".into()).await,
        send(&orders, "bad", "2".into()).await,
        send(&orders, "better", "3".into()).await,
    ];
    let [good, bad, better] = answers;
    assert!(good.await.unwrap().is_ok());
    assert!(matches!(bad.await.unwrap(), Err(StoreError::Broken(message)) if message.contains("refused")));
    assert!(better.await.unwrap().is_ok());
    let kept = sqlx::query("SELECT name FROM memory")
        .fetch_all(&mut other)
        .await
        .unwrap();
    assert_eq!(kept.len(), 2);
}

#[tokio::test]
async fn another_process_with_the_lock_is_waited_for() {
    let (_directory, orders, mut other) = writer("SELECT 1").await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut answer = send(&orders, "gate", "1".into()).await;
    // The writer has taken it up when the queue is empty again; it can only be waiting then.
    while orders.capacity() < QUEUE {
        tokio::task::yield_now().await;
    }
    assert!(answer.try_recv().is_err());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_fits_still_goes_in() {
    let (_directory, orders, _other) = writer("PRAGMA max_page_count = 64").await;
    let large = send(&orders, "large", "x".repeat(1 << 20)).await;
    assert!(matches!(large.await.unwrap(), Err(StoreError::Full(_))));
    let small = send(&orders, "small", "x".into()).await;
    assert!(small.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_is_queued_is_done_before_the_writer_ends() {
    let (_directory, orders, mut other) = writer("SELECT 1").await;
    let answer = send(&orders, "gate", "1".into()).await;
    let (done, closed) = oneshot::channel();
    orders.send(Order::Close(done)).await.unwrap();
    let late = send(&orders, "late", "1".into()).await;
    closed.await.unwrap();
    assert!(answer.await.unwrap().is_ok());
    assert!(
        late.await.unwrap().is_ok(),
        "it was in the queue before the door closed"
    );
    assert!(orders.is_closed());
    sqlx::query("SELECT 1 FROM memory").fetch_one(&mut other).await.unwrap();
}

#[test]
fn a_group_is_bounded_but_never_empty() {
    let sweep = |limit| {
        let sweep = crate::store::Sweep {
            state: crate::model::StateName::Dead,
            older_than: Timestamp::default(),
            limit,
        };
        Operation::Sweep(Asked::new(sweep, oneshot::channel().0))
    };
    let mut waiting = VecDeque::from([sweep(4000), sweep(96), sweep(1), sweep(1_000_000), sweep(1)]);
    let sizes: Vec<usize> = std::iter::from_fn(|| next_group(&mut waiting))
        .map(|group| group.len())
        .collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
}
