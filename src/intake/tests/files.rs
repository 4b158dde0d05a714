//! The contract of the files' directory.

use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::atomic::Ordering;

use super::*;
use crate::intake::folder::Folder;
use crate::intake::open_file::{End, OpenFile};
use crate::intake::result_reader::Progress;
use crate::model::{Origin, StateName};

#[tokio::test]
async fn copies_renames_links_and_what_was_there_are_taken_and_removed() {
    let mut house = House::new().await;
    fs::write(house.inbox("before.json"), result("before")).unwrap();
    house.start();
    fs::write(house.inbox("copy.ndjson"), lines(["copy-1".into(), "copy-2".into()])).unwrap();
    house.rename_in("renamed.jsonl", result("renamed"));
    fs::write(house.dir.path().join("elsewhere"), format!("[{}]", result("linked"))).unwrap();
    fs::hard_link(house.dir.path().join("elsewhere"), house.inbox("linked.json")).unwrap();
    house.taken().await;
    let mut activities = house.activities().await;
    activities.sort();
    assert_eq!(activities, ["before", "copy-1", "copy-2", "linked", "renamed"]);
    house.stop().await;
}

#[tokio::test]
async fn origins_name_the_file_and_the_line_or_item() {
    let mut house = House::new().await;
    house.start();
    house.rename_in("a.ndjson", format!("\n{}\n", result("line")));
    house.taken().await;
    house.rename_in("b.json", format!("[{},\n{}]", result("item-1"), result("item-2")));
    house.taken().await;
    let origins: Vec<Origin> = house.all().await.into_iter().map(|one| one.origin).collect();
    let file = |name: &str, line, item| Origin::File {
        name: name.into(),
        line,
        item,
    };
    assert_eq!(
        origins,
        [
            file("a.ndjson", Some(2), None),
            file("b.json", None, Some(1)),
            file("b.json", None, Some(2))
        ]
    );
    house.stop().await;
}

#[tokio::test]
async fn a_file_is_not_taken_before_it_is_closed() {
    let mut house = House::new().await;
    house.start();
    house.rename_in("first.json", result("first"));
    house.taken().await; // The watch is there.
    let mut file = fs::File::create(house.inbox("slow.json")).unwrap();
    file.write_all(b"[").unwrap();
    // Meanwhile many looks, each further apart than `settle`.
    for n in 0..5 {
        house.rename_in(&format!("other{n}.json"), result("other"));
        house
            .eventually("the other one is taken", async |house| house.left() == ["slow.json"])
            .await;
        tokio::time::sleep(house.config.inbox.settle * 2).await;
    }
    file.write_all(format!("{}]", result("slow")).as_bytes()).unwrap();
    drop(file);
    house.taken().await;
    assert_eq!(house.activities().await.last().unwrap(), "slow");
    assert!(house.names("inbox/rejected").is_empty());
    house.stop().await;
}

#[tokio::test]
async fn what_waits_together_is_taken_oldest_first_line_by_line() {
    let mut house = House::new().await;
    let mut expected = Vec::new();
    for (file, name) in ["z.ndjson", "y.json", "x.ndjson"].into_iter().enumerate() {
        let first = u32::try_from(file).unwrap() * 700;
        let activities = numbered(first..first + 700);
        match name {
            "y.json" => {
                let items: Vec<String> = activities.iter().map(|activity| result(activity)).collect();
                fs::write(house.inbox(name), format!("[{}]", items.join(","))).unwrap();
            }
            _ => fs::write(house.inbox(name), lines(activities.clone())).unwrap(),
        }
        expected.extend(activities);
        // Another tick of the file system's clock.
        tokio::time::sleep(Duration::from_millis(12)).await;
    }
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, expected);
    house.stop().await;
}

#[tokio::test]
async fn a_json_file_is_taken_whole_or_not_at_all() {
    let mut house = House::new().await;
    house.start();
    let mut items: Vec<String> = numbered(0..1200).iter().map(|activity| result(activity)).collect();
    items.push("{\"broken\":}".into());
    house.rename_in("a.json", format!("[{}]", items.join(",")));
    house
        .eventually("rejected", async |house| house.names("inbox/rejected").len() == 2)
        .await;
    assert!(house.all().await.is_empty());
    assert!(house.rejected("a.json.error.json").contains("(item 1201): not JSON"));
    house.taken().await;
    house.stop().await;
}

#[tokio::test]
async fn of_ndjson_the_bad_lines_are_rejected_and_the_others_taken() {
    let mut house = House::new().await;
    house.config.inbox.max_result_size = 400;
    house.start();
    let mut text: Vec<u8> = format!("\u{feff}{}\r\nnot json\r\n\r\n[1]\n{}\n", result("a"), result("b")).into_bytes();
    text.extend(format!("{{\"x\":\"{}\"}}\n", "y".repeat(500)).bytes());
    text.extend(b"{\"x\":\"\xff\"}\n".iter().chain(result("c").as_bytes()));
    house.rename_in("m.ndjson", &text);
    house.taken().await;
    assert_eq!(house.activities().await, ["a", "b", "c"]);
    let rejected = fs::read(house.inbox("rejected/m.ndjson")).unwrap();
    let expected = [
        b"not json\r\n[1]\n{\"x\":\"".as_slice(),
        "y".repeat(500).as_bytes(),
        b"\"}\n{\"x\":\"\xff\"}\n",
    ]
    .concat();
    assert_eq!(String::from_utf8_lossy(&rejected), String::from_utf8_lossy(&expected));
    let report: serde_json::Value = serde_json::from_str(&house.rejected("m.ndjson.error.json")).unwrap();
    let places: Vec<u64> = report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!((places, report["total_bad"].as_u64()), (vec![2, 4, 6, 7], Some(4)));
    assert!(report.to_string().contains("max_result_size"));
    house.stop().await;
}

#[tokio::test]
async fn an_ndjson_without_a_good_line_moves_as_it_is() {
    let mut house = House::new().await;
    house.start();
    house.rename_in("bad.ndjson", "x\r\n\ny");
    house.rename_in("blank.ndjson", "\n \n");
    house
        .eventually("rejected", async |house| house.names("inbox/rejected").len() == 4)
        .await;
    assert_eq!(house.rejected("bad.ndjson"), "x\r\n\ny");
    assert!(house.rejected("bad.ndjson.error.json").contains("\"total_bad\": 2"));
    assert!(house.rejected("blank.ndjson.error.json").contains("empty"));
    house.stop().await;
}

#[tokio::test]
async fn a_last_line_that_is_still_being_written_is_waited_for() {
    let mut house = House::new().await;
    house.config.inbox.settle = Duration::from_millis(400);
    house.start();
    let text = result("half");
    let (first, rest) = text.split_at(30);
    house.rename_in("a.ndjson", format!("{}\n{first}", result("whole")));
    house
        .eventually("the whole line is in", async |house| house.all().await.len() == 1)
        .await;
    assert_eq!(house.left(), ["a.ndjson"]);
    let mut file = fs::File::options().append(true).open(house.inbox("a.ndjson")).unwrap();
    write!(file, "{rest}\n{}", result("more")).unwrap();
    drop(file);
    house.taken().await;
    assert_eq!(house.activities().await, ["whole", "half", "more"]);
    assert!(house.names("inbox/rejected").is_empty());
    // One that never goes on is a bad line in the end.
    house.rename_in("b.ndjson", format!("{}\n{first}", result("again")));
    house
        .eventually("rejected", async |house| house.names("inbox/rejected").len() == 2)
        .await;
    house.taken().await;
    assert_eq!(house.rejected("b.ndjson"), format!("{first}\n"));
    house.stop().await;
}

#[tokio::test]
async fn an_object_that_is_invalid_is_a_dead_letter_and_no_bad_file() {
    let mut house = House::new().await;
    house.start();
    let deep = format!(
        r#"{{"provider_activity_id":"deep","raw_payload":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let wrong = result("wrong").replacen('{', r#"{"$outbox":{"kee":"x"},"#, 1);
    house.rename_in(
        "a.ndjson",
        format!(
            "{}\n{deep}\n{wrong}\n",
            result("twice").replacen('{', r#"{"status":"PENDING","#, 1)
        ),
    );
    house.taken().await;
    let all = house.all().await;
    assert_eq!(all.len(), 3);
    assert!(
        all.iter()
            .all(|one| one.state.name() == StateName::Dead && one.invalid.is_some()),
        "{all:?}"
    );
    assert!(house.names("inbox/rejected").is_empty());
    house.stop().await;
}

#[tokio::test]
async fn strange_names_work_and_strangers_are_left_alone() {
    let mut house = House::new().await;
    let odd = std::ffi::OsString::from_vec(b"n\xff\n .json".to_vec());
    fs::write(house.config.inbox.dir.join(odd), result("odd")).unwrap();
    fs::write(house.inbox("with space.ndjson"), result("space")).unwrap();
    let strangers = [
        ".hidden.json",
        "a.json.part",
        "a.ndjson.tmp",
        "dir.json",
        "fifo.json",
        "link.json",
        "notes.txt",
    ];
    for name in [".hidden.json", "a.json.part", "a.ndjson.tmp", "notes.txt"] {
        fs::write(house.inbox(name), result("stranger")).unwrap();
    }
    fs::create_dir(house.inbox("dir.json")).unwrap();
    std::os::unix::fs::symlink(house.inbox("notes.txt"), house.inbox("link.json")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, house.inbox("fifo.json"), mode).unwrap();
    house.start();
    house
        .eventually("the two are taken", async |house| house.left() == strangers)
        .await;
    let names: Vec<Origin> = house.all().await.into_iter().map(|one| one.origin).collect();
    assert!(format!("{names:?}").contains("n\\\\xFF\\n .json"), "{names:?}");
    house.stop().await;
    assert_eq!(house.left(), strangers);
}

#[tokio::test]
async fn a_thousand_small_files_are_taken_in_few_admissions() {
    let mut house = House::new().await;
    for n in 0..1000 {
        fs::write(house.inbox(&format!("{n:04}.json")), result(&format!("a{n:04}"))).unwrap();
    }
    house.start();
    house.taken().await;
    assert_eq!(house.all().await.len(), 1000);
    house.stop().await;
}

#[tokio::test]
async fn intake_waits_above_the_largest_backlog() {
    let mut house = House::new().await;
    house.config.inbox.max_pending = Some(700);
    house.rename_in("a.ndjson", lines(numbered(0..1600)));
    house.start();
    house
        .eventually("two chunks are in", async |house| house.all().await.len() == 1000)
        .await;
    tokio::time::sleep(super::super::context::PRESSURE_PAUSE * 2).await;
    assert_eq!(house.all().await.len(), 1000);
    assert_eq!(house.left(), ["a.ndjson"]);
    house.stop().await;
    house.config.inbox.max_pending = None;
    house.start();
    house.taken().await;
    assert_eq!(house.activities().await, numbered(0..1600));
    house.stop().await;
}

#[tokio::test]
async fn the_directory_may_go_and_come_back() {
    let mut house = House::new().await;
    house.start();
    house.rename_in("a.json", result("a"));
    house.taken().await;
    fs::rename(&house.config.inbox.dir, house.dir.path().join("gone")).unwrap();
    tokio::time::sleep(house.config.inbox.rescan * 2).await;
    fs::create_dir(&house.config.inbox.dir).unwrap();
    house.rename_in("b.json", result("b"));
    house.taken().await;
    // The new directory is watched, too: no scan is due for an hour.
    assert_eq!(house.activities().await, ["a", "b"]);
    house.stop().await;
}

#[tokio::test]
async fn reading_a_large_json_to_its_end_gives_signs_of_life() {
    let house = House::new().await;
    let array = format!("[{}]", lines(numbered(0..1300)).trim_end().replace('\n', ","));
    fs::write(house.inbox("large.json"), &array).unwrap();
    let context = house.context(watch::channel(false).1);
    let folder = Folder::open(&house.config.inbox.dir)
        .unwrap()
        .with_progress(Progress::of(&context.progress));
    let Some(mut open_file) = OpenFile::open(&folder, "large.json".into(), None, 1 << 20).unwrap() else {
        panic!("it is there");
    };
    // The whole file is looked through before its first results are given out, in one turn of the loop.
    assert_eq!(open_file.chunk(&context.criteria()).unwrap().end, End::More);
    let blocks = array.len() as u64 / (64 * 1024);
    assert!(blocks > 2 && context.progress.load(Ordering::Relaxed) >= blocks);
}
