//! Entries of the systemd journal in its native protocol: a field a line, `RETEN_` before our names, so that
//! `journalctl RETEN_EVENT=dead_lettered` finds them.
//!
//! An entry ends with an empty line and goes out as one datagram, on the thread of [`lines`](super::lines): a journald
//! that stands still holds that thread up and nobody else, and what no longer fits the buffer is counted. (The crate
//! `tracing-journald` sends in the caller's place, on a socket that waits: with journald stopped the daemon would stop
//! with it.)

use std::env;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::{Event, Level};

use super::escape::{push_field_value, push_text_value};
use super::events::TARGET;
use super::fields::{Fields, Sorted};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// What ends an entry. No value has a line break, so that it cannot be within one.
const END: &[u8] = b"\n\n";

/// Room for most entries: each field twice, in the message and by itself.
const ENTRY_BYTES_USUAL: usize = 640;

/// The socket, as something to write whole entries to.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// A socket that may wait. It is not connected, so that a journald that was started anew is found again.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::unbound()?,
        })
    }
}

impl Write for Journal {
    /// Sends the first entry of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = bytes.windows(END.len()).position(|two| two == END);
        let entry = &bytes[..end.map_or(bytes.len(), |end| end + END.len())];
        self.socket.send_to(entry, SOCKET)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether there is a journal to write to.
pub(super) fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// Begins a line on standard error that the journal is to keep as an error (`sd-daemon(3)`); without it a line is one
/// of information.
pub const ERROR_MARK: &str = "<3>";

/// Whether standard error is the journal's: the service manager says so by device and inode (`systemd.exec(5)`), which
/// a shell that was started in the service and redirects it would still inherit.
pub fn is_standard_error() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(rustix::stdio::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// The entry of an event, with the empty line that ends it.
pub(super) fn entry(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut entry = JournalEntry {
        fields: String::with_capacity(ENTRY_BYTES_USUAL),
        message: String::new(),
    };
    let _ = write!(
        entry.fields,
        "PRIORITY={}\nSYSLOG_IDENTIFIER=reten-outbox\n",
        priority(*metadata.level())
    );
    if !metadata.target().starts_with(TARGET) {
        entry.event("dependency");
        entry.text("target", metadata.target());
    }
    event.record(&mut Sorted(&mut entry));
    let JournalEntry { mut fields, message } = entry;
    fields.push_str("MESSAGE=");
    fields.push_str(&message);
    fields.push_str("\n\n");
    fields
}

/// Of syslog, as `journalctl -p` knows them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// An entry in the making: the fields, and the same as one line for people.
struct JournalEntry {
    fields: String,
    message: String,
}

impl Fields for JournalEntry {
    fn event(&mut self, name: &str) {
        self.message.push_str(name);
        self.field("event", |out| push_field_value(out, name));
    }

    fn text(&mut self, name: &str, value: &str) {
        let _ = write!(self.message, " {name}=");
        push_text_value(&mut self.message, value);
        self.field(name, |out| push_field_value(out, value));
    }

    fn plain(&mut self, name: &str, value: &dyn fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.message, " {name}={value}");
        self.field(name, |out| {
            let _ = write!(out, "{value}");
        });
    }
}

impl JournalEntry {
    /// Journald takes capitals, digits and underscores, and drops every other field.
    fn field(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.fields.push_str("RETEN_");
        let known = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        self.fields.extend(name.chars().map(known));
        self.fields.push('=');
        value(&mut self.fields);
        self.fields.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Subscriber;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
    use tracing_subscriber::registry;

    use super::*;
    use crate::telemetry::events;

    /// Keeps what would have been sent.
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(entry(event));
        }
    }

    fn entries_of(log: impl FnOnce()) -> Vec<String> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        with_default(registry().with(Kept(Arc::clone(&kept))), log);
        kept.lock().unwrap().clone()
    }

    #[test]
    fn an_entry_has_each_field_by_itself_and_all_in_the_message() {
        let entries =
            entries_of(|| events::file_rejected("a b.json", "line 1\nis bad", "rejected/a b.json", "correct it"));
        assert_eq!(
            entries,
            [
                "PRIORITY=3\nSYSLOG_IDENTIFIER=reten-outbox\nRETEN_EVENT=file_rejected\nRETEN_FILE=a b.json\nRETEN_ERROR=line 1\\nis bad\n\
              RETEN_MOVED_TO=rejected/a b.json\nRETEN_HINT=correct it\n\
              MESSAGE=file_rejected file=\"a b.json\" error=\"line 1\\nis bad\" moved_to=\"rejected/a b.json\" hint=\"correct it\"\n\n"
            ]
        );
    }

    #[test]
    fn a_value_from_outside_can_neither_end_an_entry_nor_add_a_field() {
        let entries = entries_of(|| events::warning("x\n\nPRIORITY=0\nMESSAGE=forged", "y\r\nRETEN_EVENT=forged"));
        assert_eq!(entries[0].matches("\n\n").count(), 1, "{entries:?}");
        assert_eq!(
            entries[0].lines().filter(|line| line.starts_with("MESSAGE=")).count(),
            1
        );
        assert_eq!(
            entries[0]
                .lines()
                .filter(|line| line.starts_with("RETEN_EVENT="))
                .count(),
            1
        );
    }

    #[test]
    fn levels_are_the_journals_priorities() {
        let priorities = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(priority);
        assert_eq!(priorities, [3, 4, 6, 7, 7]);
    }
}
