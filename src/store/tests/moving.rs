//! An outbox that is carried into PostgreSQL and back says the same of everything, everywhere.

use super::*;
use crate::model::{FileReceipt, StateName};
use crate::store::{Filter, Listed, Moved, Story, Tally, move_outbox};

/// Everything that an outbox says.
#[derive(Debug, PartialEq)]
struct Said {
    listed: Vec<Listed>,
    stories: Vec<Option<Story>>,
    tally: Tally,
    remembered: Vec<Option<String>>,
    receipts: Vec<FileReceipt>,
}

async fn said(address: &Address) -> Said {
    let outbox = Outbox::open(address, Role::Reader, NOW).await.unwrap();
    let listed = outbox.list(&Filter::default(), None, 1000).await.unwrap();
    let mut stories = Vec::new();
    for one in &listed {
        stories.push(outbox.show(one.id).await.unwrap());
    }
    let mut remembered = Vec::new();
    for name in ["gate", "pause", "replaces", "of another kind"] {
        remembered.push(outbox.recall(name).await.unwrap());
    }
    let said = Said {
        listed,
        stories,
        tally: outbox.tally().await.unwrap(),
        remembered,
        receipts: outbox.file_receipts().await.unwrap(),
    };
    outbox.close().await;
    said
}

async fn carry(from: &Address, to: &Address) -> Result<Moved, OpenError> {
    move_outbox(from, to, "0123456789abcdef", at(60), &mut |_, _| {}).await
}

/// One in every state, two activities with a queue, keys, a payload that was edited, a dead letter of a refused key, and
/// one in flight when the daemon ends.
async fn filled() -> Bench {
    let bench = Bench::sqlite().await;
    let endings = [
        Ending::Delivered,
        Ending::Retry {
            wait: Duration::from_secs(9),
        },
        Ending::Dead {
            reason: DeadReason::Unauthorized,
            requeue_on_opening: true,
        },
        Ending::Dead {
            reason: DeadReason::Rejected,
            requeue_on_opening: false,
        },
        Ending::Parked(ParkReason::Conflict),
    ];
    for (place, ending) in endings.into_iter().enumerate() {
        bench
            .admit(keyed(&format!("a-{place}"), &format!("key-{place}"), "text\\u0000 é"))
            .await;
        let claimed = bench.claim().await;
        bench.settle(&claimed[0], ending).await;
    }
    let dismissed = bench.admit(entry("")).await;
    bench.act(dismissed, Act::Dismiss).await;
    for _ in 0..3 {
        bench.admit(entry("queue")).await;
    }
    // Delivered once and gone: what makes an older one superseded.
    for activity in ["a-0", "a-3"] {
        bench.admit(entry(activity)).await;
    }
    let value = |state: &str| format!(r#"{{"state":"{state}","since":5,"why":"so","hint":null,"status":401}}"#);
    for (name, value) in [
        ("gate", value("unauthorized")),
        ("pause", r#"{"by":"ana","at":9}"#.to_owned()),
        ("of another kind", "x".to_owned()),
    ] {
        bench.outbox.remember(name, Some(value), NOW).await.unwrap();
    }
    // In flight when it ends.
    assert!(bench.claim_at(1, NOW).await.len() == 1);
    bench.outbox.close().await;
    bench
}

#[tokio::test]
async fn everything_is_the_same_in_postgres_and_back_again() {
    let bench = filled().await;
    let Some(server) = bench::shared(&bench.directory) else {
        return;
    };
    let moved = carry(&bench.address, &server).await.unwrap();
    assert_eq!((moved.recovered, moved.refused, moved.was_there), (1, 1, false));
    let before = said(&bench.address).await;
    assert_eq!(before.tally.count(StateName::Sending), 0);
    assert_eq!(said(&server).await, before);
    let back = Address::File(bench.directory.path().join("back.db"));
    carry(&server, &back).await.unwrap();
    assert_eq!(said(&back).await, before);
    // The same moves again find it done.
    for (from, to) in [(&bench.address, &server), (&server, &back)] {
        let again = carry(from, to).await.unwrap();
        assert!(again.was_there && again.counts == moved.counts, "{again:?}");
    }
    // Both go on: with the next number, in order.
    let mut ids = Vec::new();
    for address in [&server, &back] {
        let outbox = Outbox::open(address, Role::Daemon, at(60)).await.unwrap();
        assert!(outbox.recount().await.unwrap().is_empty());
        let admission = Admission {
            entries: vec![entry("queue")],
            receipts: Vec::new(),
        };
        ids.push(outbox.admit(admission, at(60)).await.unwrap());
        outbox.close().await;
    }
    assert_eq!(ids[0], ids[1]);
    let last = before.listed[0].id;
    assert!(
        matches!(ids[0][..], [Admitted::Accepted(id)] if id > last),
        "{ids:?} {last:?}"
    );
    // Now they hold something else than the old one.
    for (from, to) in [(&bench.address, &server), (&server, &bench.address)] {
        let refused = carry(from, to).await.unwrap_err().to_string();
        assert!(refused.contains("was not touched"), "{refused}");
    }
}

#[tokio::test]
async fn neither_end_may_have_a_daemon() {
    let bench = filled().await;
    let Some(server) = bench::shared(&bench.directory) else {
        return;
    };
    let back = Address::File(bench.directory.path().join("back.db"));
    for holder in [&bench.address, &server] {
        let daemon = Outbox::open(holder, Role::Daemon, NOW).await.unwrap();
        let refused = carry(&bench.address, &server).await.unwrap_err();
        assert!(
            matches!(&refused, OpenError::InUse(text) if text.contains("stop")),
            "{refused}"
        );
        daemon.close().await;
    }
    // A daemon of another host, which has no lock here.
    let Address::Server(mut elsewhere) = server.clone() else {
        unreachable!()
    };
    let other = directory();
    elsewhere.anchor = other.path().join("outbox");
    let daemon = Outbox::open(Address::Server(elsewhere), Role::Daemon, NOW)
        .await
        .unwrap();
    for (from, to) in [(&bench.address, &server), (&server, &back)] {
        let refused = carry(from, to).await.unwrap_err();
        assert!(
            matches!(&refused, OpenError::InUse(text) if text.contains("stop every daemon")),
            "{refused}"
        );
    }
    daemon.close().await;
    carry(&bench.address, &server).await.unwrap();
}
