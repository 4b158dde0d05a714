//! What is logged, and how.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// `log.level`, the gravest first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Level {
    /// Only what needs an operator.
    Error,
    /// And what may need one.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And each result taken in.
    Debug,
    /// And everything else.
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// By what standard error is.
    #[default]
    Auto,
    Text,
    /// One JSON object a line.
    Json,
    /// Native journal fields.
    Journald,
}
