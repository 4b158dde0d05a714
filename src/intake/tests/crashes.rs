//! Crashes, by steps: what was done before is done with the pieces that the loops use, what comes after by a fresh
//! start of the loops.

use super::*;
use crate::intake::file_inbox::FileInbox;
use crate::intake::folder::Folder;
use crate::intake::identity::identify;
use crate::intake::open_file::OpenFile;
use crate::intake::receipts::Receipts;
use crate::intake::remove::{SetAside, set_aside};
use crate::intake::result_reader::ReadError;
use crate::model::{Admission, FileReceipt, Receipt};
use crate::policy::validate::Criteria;

fn criteria(house: &House) -> Criteria {
    Criteria::new(&house.config.validation, None, NOW)
}

/// The inbox, opened as the loop does it.
fn folder(house: &House) -> Folder {
    let folder = Folder::open(&house.config.inbox.dir).unwrap();
    let id = identify(folder.private_dir().unwrap()).unwrap();
    folder.with_id(id)
}

/// Opens a file and admits its first chunk, and there the daemon dies.
async fn admit_first_chunk(house: &House, name: &str) -> FileReceipt {
    let folder = folder(house);
    let Some(mut open_file) = OpenFile::open(&folder, name.into(), None, 1 << 20).unwrap() else {
        panic!("{name} is not there");
    };
    let chunk = open_file.chunk(&criteria(house)).unwrap();
    let admission = Admission {
        entries: chunk.entries,
        receipts: vec![Receipt::File(open_file.receipt())],
    };
    house.outbox.admit(admission, NOW).await.unwrap();
    open_file.receipt()
}

#[tokio::test]
async fn what_was_committed_and_not_removed_is_not_taken_twice() {
    for (name, content) in [
        ("small.json", result("a00000")),
        ("small.ndjson", lines(numbered(0..3))),
        ("no break.ndjson", result("a00000")),
        ("large.ndjson", lines(numbered(0..1300))),
        (
            "large.json",
            format!(" [{}]\n", lines(numbered(0..1300)).trim_end().replace('\n', ",\n")),
        ),
        ("even.ndjson", lines(numbered(0..500))),
    ] {
        let mut house = House::new().await;
        fs::write(house.inbox(name), &content).unwrap();
        admit_first_chunk(&house, name).await;
        house.start();
        house.taken().await;
        let expected = numbered(0..u32::try_from(content.matches("provider").count()).unwrap());
        assert_eq!(house.activities().await, expected, "{name}");
        house.stop().await;
    }
}

#[tokio::test]
async fn what_grew_after_the_crash_is_read_on() {
    for mid_line in [false, true] {
        let mut house = House::new().await;
        let text = lines(numbered(0..3));
        fs::write(house.inbox("a.ndjson"), if mid_line { text.trim_end() } else { &text }).unwrap();
        admit_first_chunk(&house, "a.ndjson").await;
        let more = format!("{}{}", if mid_line { "\n" } else { "" }, lines(numbered(3..5)));
        let mut file = fs::File::options().append(true).open(house.inbox("a.ndjson")).unwrap();
        std::io::Write::write_all(&mut file, more.as_bytes()).unwrap();
        house.start();
        house.taken().await;
        assert_eq!(house.activities().await, numbered(0..5));
        let places: Vec<String> = house
            .all()
            .await
            .iter()
            .map(|one| crate::intake::admit::place(&one.origin))
            .collect();
        assert_eq!(places[4], "a.ndjson:5");
        house.stop().await;
    }
}

#[tokio::test]
async fn a_receipt_of_other_bytes_is_forgotten_and_the_file_is_a_new_one() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.ndjson"), lines(numbered(0..3))).unwrap();
    let receipt = admit_first_chunk(&house, "a.ndjson").await;
    // In place: the same inode under the same name, but other bytes.
    fs::write(house.inbox("a.ndjson"), lines(numbered(5..9))).unwrap();
    assert_eq!(
        Folder::open(&house.config.inbox.dir)
            .unwrap()
            .stat("a.ndjson".as_ref())
            .unwrap()
            .unwrap()
            .inode,
        receipt.inode
    );
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, [numbered(0..3), numbered(5..9)].concat());
    house.stop().await;
}

#[tokio::test]
async fn an_equal_file_dropped_after_the_crash_is_a_new_one() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.json"), result("same")).unwrap();
    let receipt = admit_first_chunk(&house, "a.json").await;
    // Its inode given out again is the worst case: only the time tells them apart.
    let file = fs::File::options().write(true).open(house.inbox("a.json")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    assert_ne!(receipt.modified_ns, 0);
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, ["same", "same"]);
    house.stop().await;
}

#[tokio::test]
async fn a_file_that_is_gone_leaves_no_receipt() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.json"), result("a")).unwrap();
    admit_first_chunk(&house, "a.json").await;
    fs::remove_file(house.inbox("a.json")).unwrap();
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, ["a"]);
    house.stop().await;
}

#[tokio::test]
async fn a_file_that_lies_aside_is_finished_also_when_its_name_is_in_use_again() {
    for name_in_use in [false, true] {
        let mut house = House::new().await;
        fs::write(house.inbox("a.json"), result("a")).unwrap();
        let receipt = admit_first_chunk(&house, "a.json").await;
        fs::rename(
            house.inbox("a.json"),
            house
                .config
                .inbox
                .dir
                .join(crate::intake::folder::hidden("taken", receipt.inode)),
        )
        .unwrap();
        if name_in_use {
            house.rename_in("a.json", result("new"));
        }
        house.start();
        house.taken().await;
        assert_eq!(
            house.activities().await,
            if name_in_use { vec!["a", "new"] } else { vec!["a"] }
        );
        house.stop().await;
    }
}

#[tokio::test]
async fn bad_lines_before_the_crash_are_still_rejected_and_only_once() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.ndjson"), format!("bad\n{}", lines(numbered(0..3)))).unwrap();
    admit_first_chunk(&house, "a.ndjson").await;
    // The crash came after the writing of the bad lines.
    let folder = Folder::open(&house.config.inbox.dir).unwrap();
    let (file, stat) = folder.open_file("a.ndjson".as_ref()).unwrap().unwrap();
    crate::intake::reject::lines(&folder, "a.ndjson".as_ref(), &file, (1 << 20, stat.size), (NOW, false)).unwrap();
    house.start();
    house.taken().await;
    assert_eq!(house.names("inbox/rejected"), ["a.ndjson", "a.ndjson.error.json"]);
    assert_eq!(house.rejected("a.ndjson"), "bad\n");
    assert_eq!(house.activities().await, numbered(0..3));
    house.stop().await;
}

#[tokio::test]
async fn a_bad_last_line_without_its_break_is_not_lost_in_a_crash() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.ndjson"), format!("{}\nbad", result("a"))).unwrap();
    let folder = folder(&house);
    let Some(mut open_file) = OpenFile::open(&folder, "a.ndjson".into(), None, 1 << 20).unwrap() else {
        panic!("not there");
    };
    open_file.is_last_look = true;
    let chunk = open_file.chunk(&criteria(&house)).unwrap();
    let admission = Admission {
        entries: chunk.entries,
        receipts: vec![Receipt::File(open_file.receipt())],
    };
    house.outbox.admit(admission, NOW).await.unwrap();
    drop(open_file);
    house.start();
    house.taken().await;
    assert_eq!(house.rejected("a.ndjson"), "bad\n");
    assert_eq!(house.activities().await, ["a"]);
    house.stop().await;
}

#[tokio::test]
async fn kills_at_any_await_neither_lose_nor_double_a_result() {
    let mut house = House::new().await;
    let mut expected = Vec::new();
    let mut roll = fastrand::Rng::with_seed(11);
    for round in 0..25_u32 {
        house.start();
        for file in 0..4 {
            let first = (round * 4 + file) * 40;
            let activities = numbered(first..first + 40);
            expected.extend(activities.clone());
            let text = lines(activities);
            match file {
                0 => house.rename_in(
                    &format!("{round}.json"),
                    format!("[{}]", text.trim_end().replace('\n', ",")),
                ),
                1 => fs::write(house.inbox(&format!("{round}-copy.ndjson")), text).unwrap(),
                // The same name time and again, over what may still be there: what is replaced unseen is the producer's
                // own doing.
                2 => house.rename_in(&format!("same-{round}.jsonl"), text),
                _ => house.rename_in(&format!("{round}-more.ndjson"), text),
            }
        }
        tokio::time::sleep(Duration::from_micros(roll.u64(0..30_000))).await;
        house.kill().await;
    }
    house.start();
    house.taken().await;
    let mut activities = house.activities().await;
    activities.sort();
    assert_eq!(activities.len(), expected.len());
    assert_eq!(activities, expected);
    assert!(house.names("inbox/rejected").is_empty());
    house.stop().await;
}

#[tokio::test]
async fn a_file_renamed_over_while_it_is_taken_is_not_lost() {
    let house = House::new().await;
    let folder = Folder::open(&house.config.inbox.dir).unwrap();
    house.rename_in("a.json", result("old"));
    let Some(mut open_file) = OpenFile::open(&folder, "a.json".into(), None, 1 << 20).unwrap() else {
        panic!("not there");
    };
    open_file.chunk(&criteria(&house)).unwrap();
    house.rename_in("a.json", result("new"));
    assert_eq!(
        set_aside(&folder, "a.json".as_ref(), &open_file.stat).unwrap(),
        SetAside::Replaced
    );
    assert_eq!(fs::read_to_string(house.inbox("a.json")).unwrap(), result("new"));
}

#[tokio::test]
async fn receipts_outlast_a_start_at_which_the_path_names_another_directory() {
    for in_one_life in [false, true] {
        let mut house = House::new().await;
        fs::write(house.inbox("a.ndjson"), lines(numbered(0..700))).unwrap();
        let receipt = admit_first_chunk(&house, "a.ndjson").await;
        let (inbox, aside) = (house.config.inbox.dir.clone(), house.dir.path().join("not mounted"));
        fs::rename(&inbox, &aside).unwrap();
        fs::create_dir(&inbox).unwrap();
        house.start();
        // The directory beneath is an inbox of its own meanwhile, also for a file of the same name.
        house.rename_in("a.ndjson", result("beneath"));
        house
            .eventually("it is taken", async |house| {
                house.left().is_empty() && house.outbox.file_receipts().await.unwrap() == std::slice::from_ref(&receipt)
            })
            .await;
        if !in_one_life {
            house.stop().await;
        }
        fs::rename(&inbox, house.dir.path().join("beneath")).unwrap();
        fs::rename(&aside, &inbox).unwrap();
        if !in_one_life {
            house.start();
        }
        house.taken().await;
        let mut activities = house.activities().await;
        activities.retain(|activity| activity != "beneath");
        assert_eq!(activities, numbered(0..700), "in one life: {in_one_life}");
        house.stop().await;
    }
}

#[tokio::test]
async fn receipts_of_version_1_are_of_the_directory_that_is_there_at_the_first_start() {
    let mut house = House::new().await;
    fs::write(house.inbox("a.ndjson"), lines(numbered(0..700))).unwrap();
    let receipt = admit_first_chunk(&house, "a.ndjson").await;
    house.outbox.forget(vec![Receipt::File(receipt.clone())]).await.unwrap();
    let admission = Admission {
        entries: Vec::new(),
        receipts: vec![Receipt::File(FileReceipt {
            inbox: None,
            result_bytes_max: None,
            ..receipt
        })],
    };
    house.outbox.admit(admission, NOW).await.unwrap();
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, numbered(0..700));
    house.stop().await;
}

#[tokio::test]
async fn the_limit_of_the_first_reading_holds_until_the_file_is_done() {
    for (first, then) in [(400, 1 << 20), (1 << 20, 400)] {
        let mut house = House::new().await;
        house.config.inbox.max_result_size = first;
        let long = result("long").replace("NO_CONTACT", &"x".repeat(600));
        fs::write(house.inbox("a.ndjson"), format!("{long}\n{}", lines(numbered(0..700)))).unwrap();
        house.config.inbox.max_pending = Some(10);
        house.start();
        house
            .eventually("the first results are in", async |house| !house.all().await.is_empty())
            .await;
        house.stop().await;
        house.config.inbox.max_pending = None;
        house.config.inbox.max_result_size = then;
        house.start();
        house.taken().await;
        let was_taken = house.activities().await.contains(&"long".to_owned());
        let was_rejected = house.names("inbox/rejected").contains(&"a.ndjson".to_owned());
        assert_eq!(
            (was_taken, was_rejected),
            (first > then, first < then),
            "{first} then {then}"
        );
        house.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_was_completed_before_it_is_rejected_is_looked_at_again() {
    let mut house = House::new().await;
    let text = result("a");
    fs::write(house.inbox("a.json"), &text[..30]).unwrap();
    let context = house.context(watch::channel(false).1);
    let folder = folder(&house);
    let Some(mut open_file) = OpenFile::open(&folder, "a.json".into(), None, 1 << 20).unwrap() else {
        panic!("not there");
    };
    let Err(ReadError::Bad(bad)) = open_file.chunk(&criteria(&house)) else {
        panic!("it breaks off");
    };
    // Its batch waits for room on the disk, and its producer goes on.
    fs::write(house.inbox("a.json"), &text).unwrap();
    let receipts = Receipts::load(&house.outbox, folder.id().unwrap()).await.unwrap();
    let mut inbox = FileInbox::new(folder, receipts, Duration::ZERO, None);
    inbox.reject(&context, *open_file, bad).await;
    assert_eq!(house.left(), ["a.json"]);
    house.start();
    house.taken().await;
    assert_eq!(
        (house.activities().await, house.names("inbox/rejected").len()),
        (vec!["a".to_owned()], 0)
    );
    house.stop().await;
}
