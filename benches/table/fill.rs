//! Bodies of about the size of a real result, and outboxes full of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use reten_outbox::bench::{self, Timestamp};
use reten_outbox::bench::{Address, Outbox, Role};
use reten_outbox::bench::{Admission, Directives, Entry, Object, Origin};

use crate::sizes::Sizes;

/// Entries an admission: as many as intake takes at once.
const BATCH: u64 = 1_000;

/// Whose results they are.
#[derive(Debug, Clone, Copy)]
pub enum Activities {
    /// Each result is of an activity of its own.
    Own,
    /// Two an activity, those of two activities in turns: A B A B C D C D.
    Pairs,
    /// One activity has nine tenths of them, the first one too.
    Stuck,
}

impl Activities {
    fn of(self, n: u64) -> u64 {
        match self {
            Self::Own => n,
            Self::Pairs => n / 4 * 2 + n % 2,
            Self::Stuck => {
                if n % 10 == 9 {
                    n
                } else {
                    0
                }
            }
        }
    }
}

pub fn body(activity: u64) -> String {
    format!(
        r#"{{"provider_activity_id":"crm-{activity:08}","commerce_external_id":"COM-00042","occurred_at":"2026-11-20T15:04:05.000Z","status":"EFFECTIVE","external_status":"closed","task_result":{{"result":"SALE_COMPLETED","comment":"The customer signed for two lines and asks for delivery before noon; the shop is on the second floor.","contact_type":"OUTBOUND","operator_external_id":"op-117","payload":{{"lines":2,"amount":"129.90","currency":"USD"}}}},"raw_payload":{{"call_id":"0b5c5e0e-7d0e-4a0b-9a53-6f4f6a6f1a11","agent":"117","queue":"north","talk_seconds":184,"wrap_up_seconds":31,"tags":["fibre","upsell","signed"]}}}}"#
    )
}

/// Puts an outbox with so many pending results in this place, instead of what was there, and waits until the disk has
/// it. Filled once a run and copied from then on.
pub fn outbox(sizes: &Sizes, results: u64, activities: Activities, place: &Path) {
    let full = sizes.filled_dir().join(format!("{activities:?}-{results}.db"));
    if !full.exists() {
        let half: PathBuf = full.with_extension("half");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // One that an earlier run did not finish.
        remove(&half);
        runtime.block_on(fill(half.as_path(), results, activities));
        std::fs::rename(&half, &full).unwrap();
        remove(&half);
    }
    remove(place);
    let copied = Command::new("cp")
        .arg("--reflink=auto")
        .arg(&full)
        .arg(place)
        .status()
        .unwrap();
    assert!(copied.success());
    sync();
}

/// An outbox, where there is one, and what lies beside it.
fn remove(database: &Path) {
    for leftover in ["", "-wal", "-shm", "-use.lock"] {
        let mut name = database.as_os_str().to_owned();
        name.push(leftover);
        let _ = std::fs::remove_file(name);
    }
}

/// What was written before is not to be waited for in what is measured.
pub fn sync() {
    assert!(Command::new("sync").status().unwrap().success());
}

pub async fn fill(database: impl Into<Address>, results: u64, activities: Activities) {
    let outbox = Outbox::open(database, Role::Tool, Timestamp::default()).await.unwrap();
    let now = bench::now();
    let mut from = 0;
    while from < results {
        let to = (from + BATCH).min(results);
        let admission = Admission {
            entries: (from..to).map(|n| entry(n, activities)).collect(),
            receipts: Vec::new(),
        };
        outbox.admit(admission, now).await.unwrap();
        from = to;
    }
    outbox.close().await;
}

fn entry(n: u64, activities: Activities) -> Entry {
    let text = body(activities.of(n));
    let object = Object::parse(&text).unwrap();
    Entry {
        payload: object.payload(),
        facts: object.facts(),
        directives: Directives::default(),
        origin: Origin::User {
            name: "bench".into(),
            line: Some(n),
        },
        digest: None,
        invalid: None,
        by_result_types: false,
    }
}
