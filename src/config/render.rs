//! The effective configuration as TOML, for `check-config`: every key in the contract's order, with where its value
//! came from. It reads back as the same configuration, except for secrets, which are hidden.

use std::fmt::Write as _;

use config::{Value, ValueKind};

use super::keys::{self, RULES};
use super::load::Loaded;
use super::problem::SetBy;
use super::values::toml_of;

impl Loaded {
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for (place, section) in keys::sections().into_iter().enumerate() {
            let blank_line = if place == 0 { "" } else { "\n" };
            push(&mut out, format_args!("{blank_line}[{section}]\n"));
            for key in keys::keys_of(section) {
                let Some(setting) = self.settings.get(&key.path()) else {
                    continue;
                };
                let from = match &setting.by {
                    SetBy::Default => String::new(),
                    by @ (SetBy::File { .. } | SetBy::Environment(_)) => format!("  # from {by}"),
                };
                if setting.key == RULES {
                    push_rules(&mut out, &setting.value, &from);
                } else {
                    let value = toml_of(&setting.value);
                    push(&mut out, format_args!("{} = {value}{from}\n", key.name));
                }
            }
        }
        out
    }
}

/// `[[conflict.rules]]`, once a rule; they come last in their section, because plain keys cannot follow them.
fn push_rules(out: &mut String, rules: &Value, from: &str) {
    let ValueKind::Array(rules) = &rules.kind else { return };
    for rule in rules {
        push(out, format_args!("[[{RULES}]]{from}\n"));
        let ValueKind::Table(members) = &rule.kind else {
            continue;
        };
        for key in keys::keys_of(RULES) {
            if let Some(value) = members.get(&key.name) {
                push(out, format_args!("{} = {}\n", key.name, toml_of(value)));
            }
        }
    }
}

/// Writing to a `String` cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
