//! Whether values fit one another: the API's URLs are put together, and what contradicts is named.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use super::layers::{ApiParts, OutboxParts, Parts, Setting};
use super::problem::{Problem, SetBy};
use super::{Config, RetrySettings, endpoint, server};
use crate::model::{Address, Server};

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

    /// The configuration; `None` when a problem leaves nothing to put in its place. `state` is the directory of what
    /// this host keeps of an outbox that is elsewhere.
    pub fn config(&mut self, parts: Parts, state: &Path, mut config: Config) -> Option<Config> {
        if let Address::Server(server) = &mut config.outbox.database {
            self.server(server, parts.outbox, state);
        }
        self.paths(&config);
        self.retry(&config.retry);
        (config.api.submit_url, config.api.result_types_url) = self.urls(&parts.api)?;
        Some(config)
    }

    /// Completes what the URL says of the outbox.
    fn server(&mut self, server: &mut Server, parts: OutboxParts, state: &Path) {
        const KEY: &str = "outbox.database";
        server.schema = parts.schema;
        server.node = if parts.node.is_empty() {
            server::host_name()
        } else {
            parts.node
        };
        server.allow_insecure = parts.allow_insecure || self.is_broken("outbox.allow_insecure");
        server.anchor = server::anchor(state);
        if !self.is_broken(KEY) {
            self.value(KEY, server::check_safety(server));
        }
        if server.password.is_some() {
            let wrong = "has a password in it, where everybody sees it who may read the configuration; write it into a \
                         file of mode 0600 and name that in outbox.password_file, or give the unit the credential \
                         outbox-password";
            let warning = self.problem(KEY, KEY, wrong);
            self.warnings.push(warning);
        }
    }

    /// Where results go, and where the list of result types is.
    fn urls(&mut self, address: &ApiParts) -> Option<(Url, Url)> {
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
        let (dir, rows) = (&config.inbox.dir, &config.inbox.database);
        if rows.starts_with(dir) {
            let remedy = "put it into a directory of its own";
            self.complain_of_pair("inbox.database", "inbox.dir", "lies inside", remedy);
        }
        let Address::File(outbox) = &config.outbox.database else {
            return;
        };
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
        if outbox.starts_with(dir) {
            let remedy = "put it into a directory of its own";
            self.complain_of_pair("outbox.database", "inbox.dir", "lies inside", remedy);
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
