//! Every key of the contract with what it takes, in the contract's order.

use std::time::Duration;

use super::kind::Kind;

/// One `[section]`.
pub(super) struct Section {
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// One key of a section, or of a rule.
pub(super) struct Key {
    pub name: &'static str,
    pub takes: Takes,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// One value (or a plain list).
    Value(Kind),
    /// `[[section.key]]`, any number of times, each with these keys.
    Tables(&'static [Key]),
}

/// From here on a wrong name is taken for a misspelt one: `dri` is two thirds of `dir`, `inbox` is not meant by
/// `index`.
const ALIKE_MIN: f64 = 0.65;

/// Zero means something: at once, or never.
const FROM_ZERO: Kind = Kind::Duration { min: Duration::ZERO };
/// Zero would be a loop without a pause, or a timeout that no answer can meet.
const ABOVE_ZERO: Kind = Kind::Duration {
    min: Duration::from_millis(1),
};
/// What is kept of a body and what a result may be: less than 1 KiB cuts the documented errors off, more than 16 MiB
/// (times `max_in_flight`) is memory that nobody meant to spend. The row inbox refuses longer payloads at the INSERT
/// too.
const BODY: Kind = Kind::Size {
    min: 1 << 10,
    max: 16 << 20,
};
const ANY_COUNT: Kind = Kind::Count { min: 0, max: u32::MAX };
const POLICY: Kind = Kind::OneOf(&["override", "park", "dead_letter"]);

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        takes: Takes::Value(kind),
    }
}

/// The sections and their keys, in the contract's order.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "api",
        keys: &[
            key("base_url", Kind::Text),
            key("submit_path", Kind::Text),
            key("result_types_path", Kind::Text),
            key("key_file", Kind::OptionalPath),
            key("allow_insecure_http", Kind::Switch),
            key("connect_timeout", ABOVE_ZERO),
            key("timeout", ABOVE_ZERO),
            key("ca_file", Kind::OptionalPath),
            key("proxy", Kind::Text),
            key("require_json", Kind::Switch),
            key("max_error_body", BODY),
        ],
    },
    Section {
        name: "inbox",
        keys: &[
            key("dir", Kind::Path),
            key("database", Kind::Path),
            key("settle", FROM_ZERO),
            key("rescan", ABOVE_ZERO),
            key("max_result_size", BODY),
            key("max_pending", ANY_COUNT),
            key("min_free_disk", Kind::Size { min: 0, max: u64::MAX }),
        ],
    },
    Section {
        name: "outbox",
        keys: &[
            key("database", Kind::Path),
            key("keep_delivered", Kind::Keep),
            key("keep_dismissed", Kind::Keep),
        ],
    },
    Section {
        name: "delivery",
        keys: &[
            // Each one is a socket, a buffer and a claimed row; more only moves the queue into the server.
            key("max_in_flight", Kind::Count { min: 1, max: 1024 }),
            key("max_per_second", ANY_COUNT),
            key("reject_fuse", ANY_COUNT),
            key("shutdown_timeout", FROM_ZERO),
        ],
    },
    Section {
        name: "retry",
        keys: &[
            key("initial_interval", ABOVE_ZERO),
            // Below 1 the waits would shrink; above 100 the second one is the last.
            key("multiplier", Kind::Fraction { min: 1.0, max: 100.0 }),
            key("randomization_factor", Kind::Fraction { min: 0.0, max: 1.0 }),
            key("max_interval", ABOVE_ZERO),
            key("max_age", FROM_ZERO),
            key("max_attempts", ANY_COUNT),
        ],
    },
    Section {
        name: "conflict",
        keys: &[
            key("policy", POLICY),
            key("override_within", FROM_ZERO),
            key("after_lost_response", Kind::OneOf(&["policy", "accept"])),
            Key {
                name: "rules",
                takes: Takes::Tables(RULE),
            },
        ],
    },
    Section {
        name: "auth",
        keys: &[key("probe_interval", ABOVE_ZERO), key("requeue", Kind::Switch)],
    },
    Section {
        name: "validation",
        keys: &[
            key("mode", Kind::OneOf(&["strict", "warn", "off"])),
            key("result_types", Kind::Switch),
            key("refresh", ABOVE_ZERO),
            key("statuses", Kind::Texts),
        ],
    },
    Section {
        name: "log",
        keys: &[
            key("level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"])),
            key("format", Kind::OneOf(&["auto", "text", "json", "journald"])),
            key("summary_interval", ABOVE_ZERO),
        ],
    },
];

/// The keys of one `[[conflict.rules]]`; all but the last are conditions.
const RULE: &[Key] = &[
    key("registered_by_us", Kind::Switch),
    key("source", Kind::Text),
    key("result", Kind::Texts),
    key("status", Kind::Texts),
    key("policy", POLICY),
];

/// The key of this name, whatever the case of its letters (the environment's are upper case).
pub(super) fn find(section: &str, name: &str) -> Option<(&'static Section, &'static Key)> {
    let section = SECTIONS.iter().find(|known| known.name.eq_ignore_ascii_case(section))?;
    let key = section
        .keys
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(name))?;
    Some((section, key))
}

/// What is said of a key that is not known: the one that was meant, as far as can be guessed.
pub(super) fn cure(section: &str, name: &str) -> String {
    if section == "api" && ["key", "api_key", "apikey", "token", "secret"].contains(&name) {
        return "a key does not belong in the configuration: put it into the file that api.key_file names".to_owned();
    }
    let keys_of = |known: &'static Section| known.keys.iter().map(move |key| (known.name, key.name));
    let here = SECTIONS.iter().filter(|known| known.name == section).flat_map(keys_of);
    let elsewhere = SECTIONS.iter().filter(|known| known.name != section).flat_map(keys_of);
    if let Some((section, name)) = nearest(name, here.clone()).or_else(|| nearest(name, elsewhere)) {
        return format!("did you mean {section}.{name}?");
    }
    let names: Vec<&str> = here.map(|(_, name)| name).collect();
    if names.is_empty() {
        return format!("sections are {}", section_names());
    }
    format!("known in [{section}]: {}", names.join(", "))
}

/// What is said of a section that is not known.
pub(super) fn section_cure(section: &str) -> String {
    if let Some((name, _)) = nearest(section, SECTIONS.iter().map(|known| (known.name, known.name))) {
        return format!("did you mean [{name}]?");
    }
    format!("known: {}", section_names())
}

fn section_names() -> String {
    let names: Vec<String> = SECTIONS.iter().map(|known| format!("[{}]", known.name)).collect();
    names.join(", ")
}

/// The pair whose second name is most like this one, where one is like enough to have been meant.
fn nearest(
    name: &str,
    known: impl Iterator<Item = (&'static str, &'static str)>,
) -> Option<(&'static str, &'static str)> {
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_ascii_lowercase(), known);
    known
        .map(|pair| (alike(pair.1), pair))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, pair)| pair)
}
