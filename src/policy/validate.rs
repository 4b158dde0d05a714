//! A payload against the API's contract (reten-api.md, "Submit a result") and the list of result types.

use std::time::Duration;

/// `[validation]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationSettings {
    /// What a violation leads to.
    pub mode: ValidationMode,
    /// Whether the list of result types is fetched and used.
    pub result_types: bool,
    /// How often the list is fetched again.
    pub refresh: Duration,
    /// The values that `status` may have.
    pub statuses: Vec<String>,
}

/// `validation.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationMode {
    /// A violation makes a dead letter, `invalid`.
    #[default]
    Strict,
    /// A violation is logged, and the result is sent.
    Warn,
    /// Nothing is looked at.
    Off,
}

/// One result type as the API lists it (reten-api.md, "List result types").
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultType {
    /// What `task_result.result` must hold.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// Whether `future_scheduled_at` must be there and lie in the future.
    #[serde(default)]
    pub requires_future_scheduled_at: bool,
}
