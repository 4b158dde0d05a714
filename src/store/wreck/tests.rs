use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use super::*;
use crate::model::{Admission, Ending, Entry};
use crate::store::tests::{Bench, NOW, keyed};

/// Payloads of all lengths: within a page, over several, and the few bytes between.
fn entries(count: usize) -> Vec<Entry> {
    let mut roll = fastrand::Rng::with_seed(5);
    let of = |place: usize, roll: &mut fastrand::Rng| {
        let length = match place % 4 {
            0 => roll.usize(1..80),
            1 => roll.usize(3_800..4_300),
            2 => roll.usize(1..1_000),
            _ => roll.usize(8_000..40_000),
        };
        let text: String = (0..length).map(|_| roll.alphanumeric()).collect();
        keyed(&format!("act-{place}"), &format!("key-{place}"), &text)
    };
    (0..count).map(|place| of(place, &mut roll)).collect()
}

async fn filled(count: usize) -> (Bench, Vec<Entry>) {
    let bench = Bench::sqlite().await;
    let entries = entries(count);
    let admission = Admission {
        entries: entries.clone(),
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap();
    (bench, entries)
}

fn read(path: &Path) -> Wreck {
    let wal = File::open(path.with_extension("db-wal")).ok();
    Wreck::read(File::open(path).unwrap(), wal).unwrap()
}

/// All that can be found, each as it was taken in.
fn found(wreck: &Wreck, entries: &[Entry]) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    for id in wreck.open_ids() {
        let Some(found) = wreck.find(id) else { continue };
        let entry = &entries[usize::try_from(id.0 - 1).unwrap()];
        assert_eq!(found.payload, entry.payload, "{id}");
        assert_eq!(found.key, entry.directives.key);
        ids.insert(id.0);
    }
    ids
}

#[tokio::test]
async fn everything_is_found_in_a_whole_one_with_its_wal_and_without() {
    let (bench, entries) = filled(120).await;
    // Copied while it is open: nearly all of it is in the WAL.
    let copy = bench.directory.path().join("copy.db");
    fs::copy(bench.path(), &copy).unwrap();
    fs::copy(bench.path().with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    let wreck = read(&copy);
    assert_eq!((found(&wreck, &entries).len(), wreck.pages().1), (120, 0));
    bench.outbox.close().await;
    let wreck = read(&bench.path());
    assert_eq!((found(&wreck, &entries).len(), wreck.pages().1), (120, 0));
    let one = wreck.find(SubmissionId(7)).unwrap();
    assert_eq!(
        (one.state, one.created_at, one.maybe_sent),
        (Some(StateName::Pending), NOW, false)
    );
}

#[tokio::test]
async fn what_is_final_or_deleted_is_not_found() {
    let (bench, entries) = filled(60).await;
    for claimed in bench.claim_at(20, NOW).await {
        bench.settle(&claimed, Ending::Delivered).await;
    }
    let claimed = bench.claim_at(3, NOW).await;
    let sweep = crate::store::Sweep {
        state: StateName::Delivered,
        older_than: NOW,
        limit: 10,
    };
    bench.outbox.sweep(sweep).await.unwrap();
    bench.outbox.close().await;
    let wreck = read(&bench.path());
    let ids = found(&wreck, &entries);
    assert_eq!(ids.len(), 40, "{ids:?}");
    assert!(claimed.iter().all(|one| wreck.find(one.id).unwrap().maybe_sent));
}

#[tokio::test]
async fn damage_costs_what_lies_there_and_nothing_else() {
    let (bench, entries) = filled(200).await;
    bench.outbox.close().await;
    let path = bench.path();
    let whole = fs::read(&path).unwrap();
    let mut roll = fastrand::Rng::with_seed(11);
    let mut damaged = |pages: std::ops::Range<usize>, fill: Option<u8>| {
        let mut bytes = whole.clone();
        for byte in &mut bytes[pages.start * 4096..pages.end * 4096] {
            *byte = fill.unwrap_or_else(|| roll.u8(..));
        }
        fs::write(&path, &bytes).unwrap();
        let wreck = read(&path);
        (found(&wreck, &entries).len(), wreck.pages().1)
    };
    let pages = whole.len() / 4096;
    assert_eq!(damaged(0..1, Some(0)).0, 200, "without its first page");
    assert_eq!(damaged(0..1, None).0, 200, "with another first page");
    // Half of the entries lie over two to eleven pages, and each page that is gone costs at most the few rows that
    // reach into it.
    for start in (1..pages - 8).step_by(pages / 10) {
        let (count, unreadable) = damaged(start..start + 8, None);
        assert!(count >= 200 - 8 * 20, "{start}: {count}, {unreadable}");
        assert!(damaged(start..start + 8, Some(0)).0 >= 200 - 8 * 20);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(!found(&read(&path), &entries).is_empty());
    fs::write(&path, &whole[..5000]).unwrap();
    found(&read(&path), &entries);
}

#[tokio::test]
async fn noise_is_read_to_its_end() {
    let directory = crate::store::tests::directory();
    let path = directory.path().join("noise.db");
    let mut roll = fastrand::Rng::with_seed(3);
    for round in 0..30_u8 {
        let mut bytes: Vec<u8> = (0..roll.usize(1..200_000)).map(|_| roll.u8(..)).collect();
        // Leaves of tables, as far as their first byte goes.
        for page in bytes.chunks_mut(4096) {
            page[0] = 0x0d;
        }
        if round % 2 == 0 {
            bytes.splice(0..0, *b"SQLite format 3\0");
        }
        fs::write(&path, &bytes).unwrap();
        fs::write(path.with_extension("db-wal"), &bytes[..bytes.len() / 2]).unwrap();
        let wreck = read(&path);
        assert!(!wreck.is_ours() && wreck.open_ids().is_empty());
    }
}

#[tokio::test]
async fn a_payload_with_a_damaged_byte_is_lost_and_not_salvaged_wrong() {
    let (bench, _) = filled(3).await;
    bench.outbox.close().await;
    let mut bytes = fs::read(bench.path()).unwrap();
    let text = b"{\"text\":\"";
    let place = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[place + text.len()] = b'!';
    fs::write(bench.path(), &bytes).unwrap();
    let wreck = read(&bench.path());
    assert_eq!(wreck.open_ids().len(), 3);
    assert_eq!(
        wreck.open_ids().iter().filter(|id| wreck.find(**id).is_some()).count(),
        2
    );
}
