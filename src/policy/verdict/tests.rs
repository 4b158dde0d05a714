use std::time::Duration;

use bytes::Bytes;
use strum::VariantArray as _;

use super::*;
use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, Fault, FaultKind, ParkReason};

const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        body_length: body.len() as u64,
    }
}

fn verdict_of(answer: Answer) -> Verdict {
    let conflict = ConflictSettings::default();
    let policy = VerdictPolicy {
        require_json: true,
        conflict: &conflict,
    };
    judge(&Exchange::Answered(answer), &Past::default(), &policy)
}

type Statuses<'a> = &'a [std::ops::RangeInclusive<u16>];
type Meaning = (Option<Ending>, Signal, bool);
type Headers<'a> = &'a [(&'a str, &'a str)];

/// The contract's table once more, in its own words: the first line whose statuses hold the status speaks.
fn contract(status: u16) -> Meaning {
    let retry = None;
    let dead = |reason| Some(Ending::dead(reason));
    let lines: [(Statuses, Meaning); 11] = [
        (&[200..=299], (Some(Ending::Delivered), Signal::Healthy, false)),
        (&[300..=399], (retry, Signal::Faulty, false)),
        (
            &[401..=401],
            (
                dead(DeadReason::Unauthorized),
                Signal::Unauthorized(KeyRefusal::Unknown),
                false,
            ),
        ),
        (
            &[403..=403],
            (
                dead(DeadReason::Unauthorized),
                Signal::Unauthorized(KeyRefusal::Forbidden),
                false,
            ),
        ),
        (&[408..=408, 425..=425, 429..=429], (retry, Signal::Throttled, false)),
        (
            &[409..=409],
            (Some(Ending::Parked(ParkReason::Conflict)), Signal::Answered, false),
        ),
        (&[400..=400], (dead(DeadReason::Rejected), Signal::Rejected, false)),
        (&[400..=499], (dead(DeadReason::Rejected), Signal::Answered, false)),
        (&[503..=503], (retry, Signal::Overloaded, true)),
        (&[500..=502, 504..=599], (retry, Signal::Faulty, true)),
        (&[0..=199, 600..=u16::MAX], (retry, Signal::Faulty, true)),
    ];
    let line = lines
        .iter()
        .find(|(ranges, _)| ranges.iter().any(|range| range.contains(&status)));
    line.expect("every status is in the table").1
}

#[test]
fn every_status_is_judged_as_the_contracts_table_says() {
    for status in (0..=999).chain([1000, u16::MAX]) {
        let verdict = verdict_of(answer(status, &[], "{}"));
        assert_eq!(
            (verdict.ending, verdict.signal, verdict.lost_response),
            contract(status),
            "{status}"
        );
    }
}

#[test]
fn a_2xx_counts_with_an_empty_or_a_json_body() {
    for body in [
        "",
        " \r\n",
        "{}",
        "[1]",
        "null",
        "\"ok\"",
        "\u{feff}{\"a\":1}",
        " {\"a\":1}\n",
    ] {
        assert_eq!(
            verdict_of(answer(201, &[], body)).ending,
            Some(Ending::Delivered),
            "{body:?}"
        );
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(verdict_of(answer(201, &[], &deep)).ending, Some(Ending::Delivered));
}

#[test]
fn a_2xx_with_another_body_is_a_server_fault_and_a_lost_response() {
    for body in ["<html>", "ok", "{\"a\":", "{} {}"] {
        let verdict = verdict_of(answer(200, &[("content-type", "application/json")], body));
        assert_eq!(
            (verdict.signal, verdict.lost_response),
            (Signal::Faulty, true),
            "{body:?}"
        );
        assert_eq!((verdict.ending, verdict.retry_after), (None, None), "{body:?}");
    }
}

#[test]
fn where_json_is_not_required_every_2xx_counts() {
    let conflict = ConflictSettings::default();
    let policy = VerdictPolicy {
        require_json: false,
        conflict: &conflict,
    };
    let page = Exchange::Answered(answer(200, &[], "<html>"));
    assert_eq!(judge(&page, &Past::default(), &policy).ending, Some(Ending::Delivered));
}

#[test]
fn a_body_longer_than_what_is_kept_is_judged_by_its_type_and_first_byte() {
    let cases = [
        (Some("application/json; charset=utf-8"), "{\"a\":", true),
        (Some("Application/Problem+JSON"), " [1,", true),
        (None, "{\"a\":", true),
        (Some("text/html"), "{\"a\":", false),
        (Some("application/json"), "<html>", false),
        (Some("application/json"), "", false),
        (None, "<html>", false),
    ];
    for (content_type, kept, delivered) in cases {
        let headers: Vec<_> = content_type.map(|kind| ("content-type", kind)).into_iter().collect();
        let mut long = answer(200, &headers, kept);
        long.body_length = 1 << 30;
        assert_eq!(
            verdict_of(long).ending == Some(Ending::Delivered),
            delivered,
            "{content_type:?} {kept:?}"
        );
    }
}

#[test]
fn no_answer_is_a_lost_response_unless_nothing_could_have_been_sent() {
    for kind in FaultKind::VARIANTS {
        for on_the_wire in [false, true] {
            let conflict = ConflictSettings::default();
            let policy = VerdictPolicy {
                require_json: true,
                conflict: &conflict,
            };
            let fault = Fault {
                kind: *kind,
                message: String::new(),
                status: Some(200),
            };
            let verdict = judge(&Exchange::Failed { fault, on_the_wire }, &Past::default(), &policy);
            let expected = match kind {
                FaultKind::Timeout => Verdict::overload(None, on_the_wire),
                FaultKind::Dns
                | FaultKind::Connect
                | FaultKind::Tls
                | FaultKind::Reset
                | FaultKind::CutOff
                | FaultKind::Interrupted => Verdict::fault(None, on_the_wire),
            };
            assert_eq!(verdict, expected);
        }
    }
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let seconds = |count| Some(RetryAfter::After(Duration::from_secs(count)));
    let date = "Mon, 23 Nov 2026 10:00:30 GMT";
    let cases: [(Headers, Option<RetryAfter>); 11] = [
        (&[("retry-after", "120")], seconds(120)),
        (&[("retry-after", " 0 ")], seconds(0)),
        (&[("retry-after", "99999999999999999999999999")], seconds(u64::MAX)),
        (
            &[("retry-after", date)],
            Some(RetryAfter::At(NOW.plus(Duration::from_secs(30)))),
        ),
        (
            &[("retry-after", date), ("date", "Mon, 23 Nov 2026 10:00:10 GMT")],
            seconds(20),
        ),
        (
            &[("retry-after", date), ("date", "yesterday")],
            Some(RetryAfter::At(NOW.plus(Duration::from_secs(30)))),
        ),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "1.5")], None),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "")], None),
        (&[], None),
    ];
    for (headers, retry_after) in cases {
        for status in [302, 408, 429, 500, 503] {
            assert_eq!(
                verdict_of(answer(status, headers, "")).retry_after,
                retry_after,
                "{headers:?}"
            );
        }
    }
}

#[test]
fn a_retry_after_in_the_past_asks_for_nothing() {
    assert_eq!(
        RetryAfter::At(NOW).wait(NOW.plus(Duration::from_secs(5))),
        Duration::ZERO
    );
    assert_eq!(
        RetryAfter::At(NOW.plus(Duration::from_secs(5))).wait(NOW),
        Duration::from_secs(5)
    );
}

#[test]
fn a_409_goes_by_the_rules_of_conflict() {
    let endings = [
        (ConflictPolicy::Override, Ending::Override),
        (ConflictPolicy::Park, Ending::Parked(ParkReason::Conflict)),
        (ConflictPolicy::DeadLetter, Ending::dead(DeadReason::Conflict)),
    ];
    for (chosen, ending) in endings {
        let conflict = ConflictSettings {
            policy: chosen,
            ..ConflictSettings::default()
        };
        let policy = VerdictPolicy {
            require_json: true,
            conflict: &conflict,
        };
        let verdict = judge(&Exchange::Answered(answer(409, &[], "{}")), &Past::default(), &policy);
        assert_eq!(
            (verdict.ending, verdict.rule.as_deref()),
            (Some(ending), Some("conflict.policy"))
        );
    }
}
