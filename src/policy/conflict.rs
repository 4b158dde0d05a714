//! The `[conflict]` rules: what to do about a 409.

use std::time::Duration;

use crate::model::ConflictPolicy;

/// `[conflict]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConflictSettings {
    /// What to do when no rule matches.
    pub policy: ConflictPolicy,
    /// Override only results whose `occurred_at` is at most this old, else park; `None` = any age.
    pub override_within: Option<Duration>,
    /// What to do after a lost response; decides before every other rule.
    pub after_lost_response: AfterLostResponse,
    /// The first that matches wins.
    pub rules: Vec<Rule>,
}

/// `conflict.after_lost_response`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterLostResponse {
    /// The ordinary rules decide.
    #[default]
    Policy,
    /// The registered result is taken for ours: delivered.
    Accept,
}

/// One `[[conflict.rules]]`: every condition that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The last delivered result of this activity was ours and older (or was not).
    pub registered_by_us: Option<bool>,
    /// The submission's source.
    pub source: Option<String>,
    /// `task_result.result` is one of these.
    pub result: Option<Vec<String>>,
    /// `status` is one of these.
    pub status: Option<Vec<String>>,
    /// What to do then.
    pub policy: ConflictPolicy,
}
