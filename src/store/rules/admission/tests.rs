use super::*;
use crate::model::{Directives, Facts, Origin, Payload, SubmissionKey};

fn entry(activity: &str, key: Option<&str>, text: &str) -> Entry {
    let payload = Payload::from_text(&format!(r#"{{"text":"{text}"}}"#));
    Entry {
        facts: Facts {
            provider_activity_id: Some(activity.to_owned()),
            ..Facts::default()
        },
        directives: Directives {
            key: key.map(|key| SubmissionKey(key.to_owned())),
            ..Directives::default()
        },
        origin: Origin::Row { id: 1 },
        digest: key.map(|_| payload.digest()),
        payload,
        invalid: None,
        by_result_types: false,
    }
}

fn invalid(entry: Entry) -> Entry {
    Entry {
        invalid: Some("no status".into()),
        ..entry
    }
}

fn from(next_id: i64) -> Known {
    Known {
        ids: (next_id..).take(9).collect(),
        ..Known::default()
    }
}

fn replaced(old: i64, new: i64) -> Replaced {
    Replaced {
        old: SubmissionId(old),
        new: SubmissionId(new),
        by: By::Key,
    }
}

fn accepted(id: i64) -> Admitted {
    Admitted::Accepted(SubmissionId(id))
}

#[test]
fn numbers_are_given_in_order_and_the_first_of_an_activity_leads() {
    let entries = [
        entry("a", None, "1"),
        entry("a", None, "2"),
        entry("b", None, "3"),
        entry("", None, "4"),
    ];
    let plan = plan(&entries, from(7));
    assert_eq!(plan.answers, [accepted(7), accepted(8), accepted(9), accepted(10)]);
    let states: Vec<&str> = plan.rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [HEAD, WAITING, HEAD, HEAD]);
}

#[test]
fn an_invalid_one_takes_no_place_in_its_activity() {
    let entries = [invalid(entry("a", None, "1")), entry("a", None, "2")];
    let plan = plan(&entries, from(1));
    let states: Vec<&str> = plan.rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [DEAD, HEAD]);
}

#[test]
fn the_same_object_under_the_same_key_is_dropped_and_another_one_names_the_first() {
    let entries = [
        entry("a", Some("k"), "1"),
        entry("b", Some("k"), "1"),
        entry("c", Some("k"), "2"),
    ];
    let plan = plan(&entries, from(1));
    assert_eq!(
        plan.answers[..2],
        [accepted(1), Admitted::Duplicate { of: SubmissionId(1) }]
    );
    let Admitted::Invalid { id, why } = &plan.answers[2] else {
        panic!("{:?}", plan.answers[2])
    };
    assert_eq!((*id, why.contains("submission 1")), (SubmissionId(2), true));
    let holds: Vec<bool> = plan.rows.iter().map(|row| row.holds_key).collect();
    assert_eq!(holds, [true, false]);
}

#[test]
fn a_dead_one_yields_its_key_whatever_comes() {
    for text in ["1", "2"] {
        let entries = [invalid(entry("a", Some("k"), "1")), entry("a", Some("k"), text)];
        let plan = plan(&entries, from(1));
        assert_eq!(plan.answers[1], accepted(2));
        assert_eq!(plan.replaced, [replaced(1, 2)]);
        let holds: Vec<bool> = plan.rows.iter().map(|row| row.holds_key).collect();
        assert_eq!(holds, [false, true]);
    }
}

#[test]
fn a_mended_one_that_is_wrong_again_still_takes_the_place_of_the_first() {
    let entries = [
        invalid(entry("a", Some("k"), "1")),
        invalid(entry("a", Some("k"), "2")),
        entry("a", Some("k"), "3"),
    ];
    let plan = plan(&entries, from(1));
    assert_eq!(plan.replaced, [replaced(1, 2), replaced(2, 3)]);
}

#[test]
fn what_is_taken_already_gets_no_number() {
    let entries = [entry("a", None, "1"), entry("a", None, "2")];
    let known = Known {
        taken: HashSet::from([0]),
        ..from(5)
    };
    assert_eq!(plan(&entries, known).answers, [Admitted::AlreadyTaken, accepted(5)]);
}

#[test]
fn a_key_of_another_result_is_told_beside_the_entrys_own_fault() {
    let entries = [entry("a", Some("k"), "1"), invalid(entry("a", Some("k"), "2"))];
    let plan = plan(&entries, from(1));
    let Admitted::Invalid { why, .. } = &plan.answers[1] else {
        panic!("{:?}", plan.answers[1])
    };
    assert!(
        why.starts_with("no status; its key \"k\" belongs to submission 1"),
        "{why}"
    );
}
