//! The effective configuration as TOML, for `check-config`: every key in the contract's order, with where its value
//! came from. It reads back as the same configuration, except for secrets, which are hidden.

use std::fmt::Write as _;

use config::{Value, ValueKind};

use super::keys::{SECTIONS, Takes};
use super::load::Loaded;
use super::problem::{Origin, masked};

impl Loaded {
    /// The effective configuration.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for (place, section) in SECTIONS.iter().enumerate() {
            let blank_line = if place == 0 { "" } else { "\n" };
            push(&mut out, format_args!("{blank_line}[{}]\n", section.name));
            for key in section.keys {
                let name = format!("{}.{}", section.name, key.name);
                let Some(setting) = self.settings.get(&name) else {
                    continue;
                };
                let from = match &setting.origin {
                    Origin::Default => String::new(),
                    origin @ (Origin::File { .. } | Origin::Environment(_)) => format!("  # from {origin}"),
                };
                match key.takes {
                    Takes::Value(_) => push(
                        &mut out,
                        format_args!("{} = {}{from}\n", key.name, toml_of(&setting.value)),
                    ),
                    Takes::Tables(keys) => {
                        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                        push_tables(&mut out, &name, &setting.value, &names, &from);
                    }
                }
            }
        }
        out
    }
}

/// `[[name]]`, once a table; they come last in their section, because plain keys cannot follow them.
fn push_tables(out: &mut String, name: &str, tables: &Value, keys: &[&str], from: &str) {
    let ValueKind::Array(tables) = &tables.kind else { return };
    for table in tables {
        push(out, format_args!("[[{name}]]{from}\n"));
        let ValueKind::Table(members) = &table.kind else {
            continue;
        };
        for key in keys {
            if let Some(value) = members.get(*key) {
                push(out, format_args!("{key} = {}\n", toml_of(value)));
            }
        }
    }
}

/// Writing to a `String` cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn toml_of(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => quoted(&masked(text)),
        ValueKind::Boolean(on) => on.to_string(),
        ValueKind::I64(number) => number.to_string(),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        // No key takes any of these (`super::kind`).
        ValueKind::Nil | ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_) | ValueKind::Table(_) => {
            quoted(&value.to_string())
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() || c.escape_debug().len() > 1 && c != '\'' => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    };
    let inner: String = text.chars().map(escaped).collect();
    format!("\"{inner}\"")
}
