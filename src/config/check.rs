//! Whether values fit one another: the API's URLs are put together, and what contradicts is named.

use std::collections::BTreeMap;

use url::Url;

use super::layers::{Address, Setting};
use super::problem::{Problem, SetBy};
use super::{Config, RetrySettings, endpoint};

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
    pub fn config(&mut self, address: &Address, mut config: Config) -> Option<Config> {
        self.paths(&config);
        self.retry(&config.retry);
        (config.api.submit_url, config.api.result_types_url) = self.urls(address)?;
        Some(config)
    }

    /// Where results go, and where the list of result types is.
    fn urls(&mut self, address: &Address) -> Option<(Url, Url)> {
        // With a switch that cannot be read, nobody knows what was meant.
        let insecure = address.allow_insecure_http || self.is_broken("api.allow_insecure_http");
        let base = self.value("api.base_url", endpoint::base(&address.base_url, insecure))?;
        let submit = self.value("api.submit_path", endpoint::join(&base, &address.submit_path));
        let result_types = endpoint::join(&base, &address.result_types_path);
        let result_types = self.value("api.result_types_path", result_types);
        Some((submit?, result_types?))
    }

    /// Files that must not be one another: the inbox is written by strangers, the outbox is ours.
    fn paths(&mut self, config: &Config) {
        let (dir, rows, outbox) = (&config.inbox.dir, &config.inbox.database, &config.outbox.database);
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

    fn retry(&mut self, retry: &RetrySettings) {
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
                .is_some_and(|setting| setting.by != SetBy::Default)
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
                .map_or_else(String::new, |setting| setting.by.to_string()),
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
