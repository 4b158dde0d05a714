use std::time::Duration;

use super::*;
use strum::VariantArray as _;

const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);
const PARK: Ending = Ending::Parked(ParkReason::Conflict);
const PARK_LOST: Ending = Ending::Parked(ParkReason::ConflictAfterLostResponse);

fn settings(policy: ConflictPolicy, rules: Vec<ConflictRule>) -> ConflictSettings {
    ConflictSettings {
        policy,
        rules,
        ..ConflictSettings::default()
    }
}

fn rule(policy: ConflictPolicy) -> ConflictRule {
    ConflictRule {
        registered_by_us: None,
        source: None,
        result: None,
        status: None,
        policy,
    }
}

fn past() -> Past<'static> {
    Past {
        source: Some("crm"),
        result: Some("SALE_COMPLETED"),
        status: Some("EFFECTIVE"),
        occurred_at: Some(NOW.minus(Duration::from_mins(30))),
        now: NOW,
        ..Past::default()
    }
}

fn decision(settings: &ConflictSettings, past: &Past<'_>) -> Ending {
    decide(settings, past).0
}

#[test]
fn the_submissions_own_word_goes_before_the_rules_and_those_before_the_policy() {
    let all = settings(ConflictPolicy::DeadLetter, vec![rule(ConflictPolicy::Override)]);
    let own = Past {
        on_conflict: Some(ConflictPolicy::Park),
        ..past()
    };
    assert_eq!(decide(&all, &own).1, "the submission's on_conflict");
    assert_eq!(decision(&all, &own), PARK);
    assert_eq!(decide(&all, &past()).1, "conflict.rules, number 1");
    assert_eq!(decision(&all, &past()), Ending::Override);
    assert_eq!(
        decision(&settings(ConflictPolicy::DeadLetter, vec![]), &past()),
        Ending::dead(DeadReason::Conflict)
    );
}

#[test]
fn the_first_rule_that_matches_wins_and_every_named_condition_must_hold() {
    let codes = |codes: &[&str]| Some(codes.iter().map(|code| (*code).to_owned()).collect());
    let rules = vec![
        ConflictRule {
            source: Some("erp".to_owned()),
            ..rule(ConflictPolicy::DeadLetter)
        },
        ConflictRule {
            source: Some("crm".to_owned()),
            result: codes(&["NO_CONTACT"]),
            ..rule(ConflictPolicy::DeadLetter)
        },
        ConflictRule {
            registered_by_us: Some(true),
            ..rule(ConflictPolicy::DeadLetter)
        },
        ConflictRule {
            registered_by_us: Some(false),
            source: Some("crm".to_owned()),
            result: codes(&["NO_CONTACT", "SALE_COMPLETED"]),
            status: codes(&["EFFECTIVE"]),
            ..rule(ConflictPolicy::Override)
        },
        rule(ConflictPolicy::DeadLetter),
    ];
    let all = settings(ConflictPolicy::Park, rules);
    assert_eq!(decide(&all, &past()).1, "conflict.rules, number 4");
    let ours = Past {
        registered_by_us: true,
        ..past()
    };
    assert_eq!(decide(&all, &ours).1, "conflict.rules, number 3");
    let unreadable = Past {
        source: None,
        result: None,
        status: None,
        ..past()
    };
    assert_eq!(decide(&all, &unreadable).1, "conflict.rules, number 5");
}

#[test]
fn accept_decides_before_everything_but_only_after_a_lost_response() {
    let mut all = settings(ConflictPolicy::DeadLetter, vec![rule(ConflictPolicy::Override)]);
    all.after_lost_response = AfterLostResponse::Accept;
    for carried_override in [false, true] {
        let lost = Past {
            lost_response: true,
            carried_override,
            superseded: true,
            on_conflict: Some(ConflictPolicy::Override),
            ..past()
        };
        assert_eq!(decision(&all, &lost), Ending::Accepted);
    }
    assert_eq!(decision(&all, &past()), Ending::Override);
}

#[test]
fn a_request_that_carried_hard_override_is_parked_whatever_anyone_says() {
    for policy in ConflictPolicy::VARIANTS {
        let carried = Past {
            carried_override: true,
            on_conflict: Some(*policy),
            ..past()
        };
        assert_eq!(decision(&settings(*policy, vec![rule(*policy)]), &carried), PARK);
    }
}

#[test]
fn after_a_lost_response_the_reason_of_a_parked_one_says_so() {
    let lost = Past {
        lost_response: true,
        ..past()
    };
    assert_eq!(decision(&settings(ConflictPolicy::Park, vec![]), &lost), PARK_LOST);
    let carried = Past {
        carried_override: true,
        ..lost
    };
    assert_eq!(
        decision(&settings(ConflictPolicy::Override, vec![]), &carried),
        PARK_LOST
    );
}

#[test]
fn override_within_limits_every_override() {
    let ages = [
        (Some(NOW.minus(Duration::from_hours(1))), Ending::Override),
        (
            Some(NOW.minus(Duration::from_hours(1)).minus(Duration::from_millis(1))),
            PARK,
        ),
        (Some(NOW.plus(Duration::from_hours(5))), Ending::Override),
        (None, PARK),
    ];
    for (occurred_at, expected) in ages {
        let dated = Past { occurred_at, ..past() };
        let own = Past {
            on_conflict: Some(ConflictPolicy::Override),
            ..dated
        };
        let mut by_policy = settings(ConflictPolicy::Override, vec![]);
        by_policy.override_within = Some(Duration::from_hours(1));
        let mut by_rule = settings(ConflictPolicy::Park, vec![rule(ConflictPolicy::Override)]);
        by_rule.override_within = Some(Duration::from_hours(1));
        let decisions = [
            decision(&by_policy, &dated),
            decision(&by_rule, &dated),
            decision(&by_policy, &own),
        ];
        assert_eq!(decisions, [expected; 3], "{occurred_at:?}");
    }
    let unreadable = Past {
        occurred_at: None,
        ..past()
    };
    assert_eq!(
        decision(&settings(ConflictPolicy::Override, vec![]), &unreadable),
        Ending::Override
    );
}

#[test]
fn a_superseded_one_is_never_overridden_by_anything_automatic() {
    let superseded = Past {
        superseded: true,
        on_conflict: Some(ConflictPolicy::Override),
        ..past()
    };
    let (ending, rule) = decide(&settings(ConflictPolicy::Override, vec![]), &superseded);
    assert_eq!(ending, PARK);
    assert!(rule.contains("a later result"), "{rule}");
}
