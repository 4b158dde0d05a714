//! JSON laid out for reading, token by token: the same members, order and digits. Nothing is parsed into numbers, and
//! nothing recurses.

use serde::de::IgnoredAny;

/// Deeper levels are indented no further: 10,000 levels would otherwise be 100 MB of blanks.
const INDENT_LEVELS_MAX: usize = 32;

/// The text laid out; `None` when it is not JSON.
pub fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(character);
                while rest.next_if(|(_, next)| next.is_ascii_whitespace()).is_some() {}
                if let Some((_, close)) = rest.next_if(|(_, next)| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                let end = end_of_string(&text[at..]) + at;
                out.push_str(&text[at..end]);
                while rest.next_if(|(place, _)| *place < end).is_some() {}
            }
            other => out.push(other),
        }
    }
    Some(out)
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth.min(INDENT_LEVELS_MAX)));
}

/// The length of the string literal with which a text begins, quotes included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_order_and_digits_stay() {
        let text = r#"{"b":12345678901234567890123.50,"a":[1,{}, [ ],"x, \"y\": {"],"b":null}"#;
        let expected = "{\n  \"b\": 12345678901234567890123.50,\n  \"a\": [\n    1,\n    {},\n    [],\n    \"x, \\\"y\\\": {\"\n  ],\n  \"b\": null\n}";
        assert_eq!(pretty(text).as_deref(), Some(expected));
        assert_eq!(pretty(expected).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        assert_eq!(pretty("<html>"), None);
        assert_eq!(pretty("{\"a\":"), None);
        assert_eq!(pretty(" true ").as_deref(), Some("true"));
    }

    #[test]
    fn deep_nesting_is_laid_out_without_recursion() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let text = pretty(&deep).unwrap();
        assert!(text.len() < 2_000_000);
        assert_eq!(text.replace(['\n', ' '], ""), deep);
    }
}
