//! From what is written to what is meant: URLs are put together, zeros become "none", and values that do not fit one
//! another are named.

use std::collections::BTreeMap;

use crate::policy::conflict::{ConflictRule, ConflictSettings};
use crate::policy::schedule::RetrySettings;
use crate::policy::validate::ValidationSettings;

use super::endpoint;
use super::problem::{Origin, Problem};
use super::raw::{Raw, RawApi, RawConflict, RawRetry, RawRule};
use super::reader::Setting;
use super::{Api, Auth, Config, Delivery, Inbox, Log, OutboxSettings};

/// Everything that is wrong so far, and the settings with their places.
pub(super) struct Checker<'a> {
    settings: &'a BTreeMap<String, Setting>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl<'a> Checker<'a> {
    /// `problems` is what reading found; a key that is named there keeps its default, and is not judged against others.
    pub fn new(settings: &'a BTreeMap<String, Setting>, problems: Vec<Problem>) -> Self {
        Self {
            settings,
            problems,
            warnings: Vec::new(),
        }
    }

    /// The configuration; `None` when a problem leaves nothing to put in its place.
    pub fn config(&mut self, raw: Raw) -> Option<Config> {
        self.paths(&raw);
        self.retry(&raw.retry);
        let api = self.api(raw.api);
        Some(Config {
            api: api?,
            inbox: Inbox {
                dir: raw.inbox.dir,
                database: raw.inbox.database,
                settle: raw.inbox.settle,
                rescan: raw.inbox.rescan,
                max_result_size: raw.inbox.max_result_size,
                max_pending: above_zero(raw.inbox.max_pending),
                min_free_disk: raw.inbox.min_free_disk,
            },
            outbox: OutboxSettings {
                database: raw.outbox.database,
                keep_delivered: raw.outbox.keep_delivered,
                keep_dismissed: raw.outbox.keep_dismissed,
            },
            delivery: Delivery {
                max_in_flight: raw.delivery.max_in_flight,
                max_per_second: above_zero(raw.delivery.max_per_second),
                reject_fuse: above_zero(raw.delivery.reject_fuse),
                shutdown_timeout: raw.delivery.shutdown_timeout,
            },
            retry: RetrySettings {
                initial_interval: raw.retry.initial_interval,
                multiplier: raw.retry.multiplier,
                randomization_factor: raw.retry.randomization_factor,
                max_interval: raw.retry.max_interval,
                max_age: above_zero(raw.retry.max_age),
                max_attempts: above_zero(raw.retry.max_attempts),
            },
            conflict: conflict(raw.conflict),
            auth: Auth {
                probe_interval: raw.auth.probe_interval,
                requeue: raw.auth.requeue,
            },
            validation: ValidationSettings {
                mode: raw.validation.mode,
                result_types: raw.validation.result_types,
                refresh: raw.validation.refresh,
                statuses: raw.validation.statuses,
            },
            log: Log {
                level: raw.log.level,
                format: raw.log.format,
                summary_interval: raw.log.summary_interval,
            },
        })
    }

    fn api(&mut self, raw: RawApi) -> Option<Api> {
        // With a switch that cannot be read, nobody knows what was meant.
        let insecure = raw.allow_insecure_http || self.is_broken("api.allow_insecure_http");
        let base = endpoint::base(&raw.base_url, insecure);
        let base = self.value("api.base_url", base);
        let (submit, result_types) = match &base {
            Some(base) => (
                endpoint::join(base, &raw.submit_path),
                endpoint::join(base, &raw.result_types_path),
            ),
            None => return None,
        };
        let submit_url = self.value("api.submit_path", submit);
        let result_types_url = self.value("api.result_types_path", result_types);
        let proxy = match raw.proxy.as_str() {
            "" => None,
            text => self.value("api.proxy", endpoint::proxy(text)),
        };
        Some(Api {
            submit_url: submit_url?,
            result_types_url: result_types_url?,
            key_file: raw.key_file,
            connect_timeout: raw.connect_timeout,
            timeout: raw.timeout,
            ca_file: Some(raw.ca_file).filter(|path| !path.as_os_str().is_empty()),
            proxy,
            require_json: raw.require_json,
            max_error_body: raw.max_error_body,
        })
    }

    /// Files that must not be one another: the inbox is written by strangers, the outbox is ours.
    fn paths(&mut self, raw: &Raw) {
        let (dir, rows, outbox) = (&raw.inbox.dir, &raw.inbox.database, &raw.outbox.database);
        if rows == outbox {
            self.complain_of_pair(
                "inbox.database",
                "outbox.database",
                "is the same file as",
                "give each its own file and directory",
            );
        } else if rows.parent() == outbox.parent() && !outbox.starts_with(dir) {
            let remedy = "who may drop rows can also reach the outbox; give each its own directory";
            self.warn_of_pair(
                "inbox.database",
                "outbox.database",
                "lies in the same directory as",
                remedy,
            );
        }
        for (key, path) in [("inbox.database", rows), ("outbox.database", outbox)] {
            if path.starts_with(dir) {
                self.complain_of_pair(key, "inbox.dir", "lies inside", "put it into a directory of its own");
            }
        }
    }

    fn retry(&mut self, retry: &RawRetry) {
        if retry.max_interval < retry.initial_interval {
            let remedy = "write an initial_interval that is not longer than max_interval";
            self.complain_of_pair(
                "retry.max_interval",
                "retry.initial_interval",
                "is shorter than",
                remedy,
            );
        }
    }

    /// The value, or none and a problem at the place where the key was set.
    fn value<T>(&mut self, key: &str, checked: Result<T, String>) -> Option<T> {
        checked
            .map_err(|wrong| self.problems.push(self.problem(key, key, &wrong)))
            .ok()
    }

    /// Says that two values do not fit one another.
    fn complain_of_pair(&mut self, key: &str, other: &str, relation: &str, remedy: &str) {
        if !self.is_broken(key) && !self.is_broken(other) {
            let problem = self.problem_of_pair(key, other, relation, remedy);
            self.problems.push(problem);
        }
    }

    fn warn_of_pair(&mut self, key: &str, other: &str, relation: &str, remedy: &str) {
        let warning = self.problem_of_pair(key, other, relation, remedy);
        self.warnings.push(warning);
    }

    fn problem_of_pair(&self, key: &str, other: &str, relation: &str, remedy: &str) -> Problem {
        // At the one that was set: the other may be a default, which has no line to mend.
        let is_set = |key: &str| {
            self.settings
                .get(key)
                .is_some_and(|setting| setting.origin != Origin::Default)
        };
        let place = if is_set(key) { key } else { other };
        self.problem(
            place,
            key,
            &format!("{relation} {other} = {}; {remedy}", self.found(other)),
        )
    }

    fn problem(&self, place: &str, key: &str, wrong: &str) -> Problem {
        Problem {
            place: self
                .settings
                .get(place)
                .map_or_else(String::new, |setting| setting.origin.to_string()),
            key: Some(place.to_owned()),
            message: format!("{key} = {} {wrong}", self.found(key)),
        }
    }

    fn found(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", |setting| &setting.found)
    }

    fn is_broken(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key.as_deref() == Some(key))
    }
}

/// Zero as the contract has it: no limit, never.
fn above_zero<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn conflict(raw: RawConflict) -> ConflictSettings {
    let rule = |raw: RawRule| ConflictRule {
        registered_by_us: raw.registered_by_us,
        source: raw.source,
        result: raw.result,
        status: raw.status,
        policy: raw.policy,
    };
    ConflictSettings {
        policy: raw.policy,
        override_within: above_zero(raw.override_within),
        after_lost_response: raw.after_lost_response,
        rules: raw.rules.into_iter().map(rule).collect(),
    }
}
