//! Standard output, and what its end means.
//!
//! Who only looks may stop when nobody reads any more (`list | head`). Who changes something may not: what was asked
//! for is done to its end, and a list of it that could not be written is told on standard error, since a script that
//! sees 0 believes that it has seen everything.

use std::io::{self, IsTerminal as _, Write};

use super::exit::{Exit, is_broken_pipe};
use super::render::escape;

/// On a terminal each line comes at once, in its order with what is said on standard error; into a pipe or a file in
/// blocks.
pub fn standard_output() -> Box<dyn Write> {
    let out = io::stdout();
    if out.is_terminal() {
        Box::new(out)
    } else {
        Box::new(io::BufWriter::new(out))
    }
}

/// A failure of it, in words.
pub fn describe(error: &io::Error) -> String {
    format!("standard output cannot be written: {error}")
}

/// A message for the operator, on standard error. It may have lines; everything else that is hidden is escaped. Where
/// nobody reads standard error there is nobody to tell.
pub fn note(message: &str) {
    let _ = writeln!(io::stderr(), "reten-outbox: {}", escape::lines(message));
}

/// The output of who only looks: its failure ends the looking.
pub struct UntilClosed<'a> {
    out: &'a mut dyn Write,
}

impl<'a> UntilClosed<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out }
    }

    /// Writes what is still held back. A reader who left (`| head`) has seen what they wanted: no failure at all.
    pub fn finish(&mut self, exit: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
        let flushed = self.flush();
        match (exit, flushed) {
            (Err(error), _) if is_broken_pipe(&error) => Ok(Exit::Done),
            (Err(error), _) => Err(error),
            (Ok(exit), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(exit), Ok(())) => Ok(exit),
        }
    }
}

impl Write for UntilClosed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(named)
    }
}

/// "No space left on device" alone could be anything's.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        // `write_all` tries again.
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, describe(&error)),
    }
}

/// An output that never stops who writes to it: its first failure is remembered, and from then on it goes nowhere.
pub struct Lasting<'a> {
    out: &'a mut dyn Write,
    lost: Option<io::Error>,
}

impl<'a> Lasting<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, lost: None }
    }

    /// Writes what is still held back; why the output is not all there, where it is not.
    pub fn finish(mut self) -> Option<io::Error> {
        self.keep_on(|out| out.flush());
        self.lost
    }

    fn keep_on(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.lost.is_none() {
            self.lost = write(self.out).err();
        }
    }
}

impl Write for Lasting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep_on(|out| out.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.keep_on(|out| out.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then has no room.
    struct Small(usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_writes_goes_on_and_the_first_failure_is_told_at_the_end() {
        let mut small = Small(5);
        let mut out = Lasting::new(&mut small);
        for _ in 0..3 {
            writeln!(out, "four").unwrap();
        }
        assert_eq!(out.finish().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        let mut whole = Vec::new();
        let mut out = Lasting::new(&mut whole);
        writeln!(out, "four").unwrap();
        assert!(out.finish().is_none());
        assert_eq!(whole, b"four\n");
    }
}
