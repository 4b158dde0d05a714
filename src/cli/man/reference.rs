//! The page of the configuration file, made of the commented defaults: what is explained there is explained here in the
//! same words.

use std::fmt::Write as _;

/// The page's name, as it is installed.
pub const FILE: &str = "reten-outbox.toml.5";

const HEAD: &str = r".TH reten-outbox.toml 5
.SH NAME
reten\-outbox.toml \- configuration of reten\-outbox
.SH SYNOPSIS
.I /etc/reten\-outbox/config.toml
.br
.I /etc/reten\-outbox/conf.d/*.toml
.SH DESCRIPTION
";

const FOOT: &str = r".SH SEE ALSO
.BR reten\-outbox (8),
.BR reten\-outbox\-check\-config (8)
";

/// The page, in roff.
pub fn page(defaults: &str) -> String {
    let mut page = Page {
        out: HEAD.to_owned(),
        comment: Vec::new(),
    };
    for line in defaults.lines() {
        page.line(line);
    }
    page.flush();
    page.out + FOOT
}

struct Page<'a> {
    out: String,
    /// The comment that is being read, without its `#`: of the section, of the key that follows, or of its own.
    comment: Vec<&'a str>,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &'a str) {
        if let Some(comment) = line.strip_prefix('#') {
            self.comment.push(comment.strip_prefix(' ').unwrap_or(comment));
        } else if line.starts_with('[') {
            self.flush();
            self.roff(format_args!(".SH {}", escaped(line)));
        } else if let Some((key, rest)) = line.split_once(" = ") {
            let (value, remark) = rest.split_once("  #").unwrap_or((rest, ""));
            self.roff(format_args!(
                ".TP\n.B {} = {}",
                escaped(key.trim()),
                escaped(value.trim())
            ));
            self.comment
                .extend(Some(remark.trim()).filter(|remark| !remark.is_empty()));
            self.tell();
        } else {
            self.flush();
        }
    }

    /// Ends a comment that no key follows.
    fn flush(&mut self) {
        if !self.comment.is_empty() {
            self.roff(format_args!(".PP"));
            self.tell();
        }
    }

    /// Writes the comment: as prose, and from a line that is itself configuration on as it is.
    fn tell(&mut self) {
        let comment = std::mem::take(&mut self.comment);
        let example = comment
            .iter()
            .position(|line| line.starts_with('['))
            .unwrap_or(comment.len());
        for line in &comment[..example] {
            if line.is_empty() {
                self.roff(format_args!(".PP"));
            } else {
                self.roff(format_args!("{}", escaped(line)));
            }
        }
        if example < comment.len() {
            self.roff(format_args!(".PP\n.nf"));
            comment[example..]
                .iter()
                .for_each(|line| self.roff(format_args!("{}", escaped(line))));
            self.roff(format_args!(".fi"));
        }
    }

    fn roff(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{line}");
    }
}

/// Text that roff prints as it is: no escape sequence, no request at a line's beginning, no hyphen instead of a
/// minus sign.
fn escaped(text: &str) -> String {
    let safe = text.replace('\\', "\\e").replace('-', "\\-");
    if safe.starts_with(['.', '\'']) {
        format!("\\&{safe}")
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn a_key_is_told_with_its_default_and_its_comment() {
        let page = page(
            "# About it all.\n\n[api]\n# How long - in all.\ntimeout = \"30s\"  # .so never\n# After it:\n# [[api.rules]]\n# a = 1\n",
        );
        let body = page.strip_prefix(HEAD).unwrap().strip_suffix(FOOT).unwrap();
        assert_eq!(
            body,
            ".PP\nAbout it all.\n.SH [api]\n.TP\n.B timeout = \"30s\"\nHow long \\- in all.\n\\&.so never\n.PP\nAfter it:\n.PP\n.nf\n[[api.rules]]\na = 1\n.fi\n"
        );
    }

    #[test]
    fn no_key_is_left_out() {
        let page = page(DEFAULTS);
        let keys = DEFAULTS
            .lines()
            .filter(|line| !line.starts_with(['#', '[']))
            .filter_map(|line| line.split_once(" = "));
        for (key, _) in keys {
            assert!(page.contains(&format!("\n.B {key} = ")), "{key}");
        }
    }
}
