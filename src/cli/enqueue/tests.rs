use std::fs;
use std::time::Duration;

use super::*;
use crate::clock;
use crate::config::{Config, Home};
use crate::store::{Filter, Outbox, Role};

const GOOD: &str = r#"{"provider_activity_id":"a","commerce_external_id":"c","occurred_at":"2026-11-01T00:00:00Z","status":"EFFECTIVE","task_result":{"result":"NO_CONTACT"}}"#;

struct Desk {
    dir: tempfile::TempDir,
    context: Context,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults().unwrap();
        config.outbox.database = dir.path().join("outbox.db").into();
        config.inbox.database = dir.path().join("inbox.db");
        config.inbox.settle = Duration::ZERO;
        let context = Context {
            config,
            home: Home::default(),
            user: "ana".into(),
        };
        Self { dir, context }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    async fn enqueue(&self, paths: &[PathBuf]) -> (bool, String) {
        let mut out = Vec::new();
        let taken = enqueue(&open_all(paths).unwrap(), &self.context, &|_, _| {}, &mut out)
            .await
            .unwrap();
        (
            taken.is_some_and(|(_, _, all_good)| all_good),
            String::from_utf8(out).unwrap(),
        )
    }

    async fn count(&self) -> usize {
        let outbox = Outbox::open(&self.context.config.outbox.database, Role::Tool, clock::now())
            .await
            .unwrap();
        outbox.list(&Filter::default(), None, 5000).await.unwrap().len()
    }
}

#[tokio::test]
async fn each_result_has_a_line_and_is_in() {
    let desk = Desk::new();
    let keyed = GOOD.replacen('{', r#"{"$outbox":{"key":"k-1"},"#, 1);
    let files = [
        desk.file("a.json", &format!("[{GOOD},{keyed}]")),
        desk.file("b", &format!("{keyed}\n{GOOD}\n")),
    ];
    let (all_in, said) = desk.enqueue(&files).await;
    assert_eq!(
        (all_in, said.as_str()),
        (true, "accepted 1 a\naccepted 2 k-1\nduplicate of 2 k-1\naccepted 3 a\n")
    );
    assert_eq!(desk.count().await, 3);
}

#[tokio::test]
async fn one_bad_result_means_that_none_is_taken() {
    let desk = Desk::new();
    let invalid = GOOD.replace("2026-11-01T00:00:00Z", "yesterday");
    let files = [
        desk.file("good.json", GOOD),
        desk.file("bad.ndjson", &format!("{GOOD}\n{invalid}\nnot json\n")),
    ];
    let (all_in, said) = desk.enqueue(&files).await;
    assert!(
        !all_in && said.contains("bad.ndjson:2: invalid: occurred_at") && said.contains("bad.ndjson:3:2: not JSON"),
        "{said}"
    );
    assert!(!desk.context.config.outbox.database.anchor().exists());
}

#[tokio::test]
async fn many_results_are_taken_in_chunks() {
    let desk = Desk::new();
    let file = desk.file("many.ndjson", &format!("{GOOD}\n").repeat(1201));
    let (all_in, said) = desk.enqueue(&[file]).await;
    assert_eq!((all_in, said.lines().count(), desk.count().await), (true, 1201, 1201));
}

#[tokio::test]
async fn where_the_outbox_may_not_be_written_they_become_rows() {
    let desk = Desk::new();
    let with_key = GOOD.replacen('{', r#"{"$outbox":{"key":"k-1"},"#, 1);
    let file = desk.file("a.ndjson", &format!("{GOOD}\n{with_key}"));
    let sources = open_all(&[file]).unwrap();
    let mut reading = Enqueuing {
        context: &desk.context,
        criteria: Criteria::new(&desk.context.config.validation, None, desk.context.now()),
        done: 0,
        results: 0,
        unsure: 0,
        figures: Figures::default(),
        progress: &|_| {},
    };
    let mut out = Vec::new();
    reading.insert_as_rows(&sources[0], &mut out).await.unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "accepted as row 1\naccepted as row 2\n"
    );
    assert!(!desk.context.config.outbox.database.anchor().exists());
}
