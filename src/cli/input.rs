//! What `enqueue` and `validate` read: files, or standard input, in the inbox's formats.
//!
//! Everything is read twice (first checked, then taken), so what can be read only once is kept in a temporary file
//! without a name.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::intake::parse::{Format, ParseFault, Position};
use crate::intake::result_reader::{ReadError, ResultReader};
use crate::model::Origin;

use super::exit::CliError;
use super::render::escape::visible;

/// The largest first object that is looked at to tell the format of an input without a name: as large as a row of the
/// inbox may be.
const SNIFFED_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub struct ResultFile {
    /// The path as it was given, or `-`.
    pub shown: String,
    /// In bytes.
    pub size: u64,
    /// The name without its directory; `None`: standard input.
    name: Option<String>,
    file: File,
    format: Format,
}

/// Opens them all; none, or `-`, is standard input. One that cannot be opened is an error before anything is read.
pub fn open_all(paths: &[PathBuf]) -> anyhow::Result<Vec<ResultFile>> {
    if paths.is_empty() {
        return Ok(vec![standard_input()?]);
    }
    let open = |path: &PathBuf| {
        if path == Path::new("-") {
            standard_input()
        } else {
            named(path)
        }
    };
    paths.iter().map(open).collect()
}

fn standard_input() -> anyhow::Result<ResultFile> {
    let (file, size) = kept(&mut io::stdin().lock()).context("standard input cannot be read")?;
    Ok(ResultFile {
        shown: "-".into(),
        size,
        name: None,
        format: sniff(&file, size)?,
        file,
    })
}

fn named(path: &Path) -> anyhow::Result<ResultFile> {
    let cannot_read = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(cannot_read)?;
    let found = file.metadata().with_context(cannot_read)?;
    if found.is_dir() {
        return Err(CliError::Refused(format!("{} is a directory; name the files in it", path.display())).into());
    }
    let mut size = found.len();
    if !found.is_file() {
        (file, size) = kept(&mut file).with_context(cannot_read)?;
    }
    let format = match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => Format::Json,
        Some("ndjson" | "jsonl") => Format::Lines,
        _ => sniff(&file, size).with_context(cannot_read)?,
    };
    Ok(ResultFile {
        shown: path.display().to_string(),
        size,
        name: Some(
            path.file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
        ),
        file,
        format,
    })
}

/// A copy of what can be read only once.
fn kept(input: &mut impl io::Read) -> io::Result<(File, u64)> {
    let mut file = tempfile::tempfile()?;
    let size = io::copy(input, &mut file)?;
    file.flush()?;
    Ok((file, size))
}

/// An array, or one object over any number of lines, is JSON; several objects are lines.
fn sniff(file: &File, size: u64) -> io::Result<Format> {
    let mut pieces = ResultReader::new(file.try_clone()?, size, Format::Json, SNIFFED_BYTES_MAX);
    let first = match pieces.read_next() {
        Ok(Some(piece)) if piece.place.item.is_some() => return Ok(Format::Json),
        Ok(_) => pieces.read_next(),
        Err(error) => Err(error),
    };
    match first {
        Ok(_) => Ok(Format::Json),
        Err(ReadError::Io(error)) => Err(error),
        // It breaks off within the first object, or is wrong within an array: as JSON the fault is named best.
        Err(ReadError::Bad(bad)) if bad.unfinished || bad.place.item.is_some() => Ok(Format::Json),
        Err(ReadError::Bad(_)) => Ok(Format::Lines),
    }
}

impl ResultFile {
    /// Its results, from the beginning.
    pub fn pieces(&self, bytes_max: usize) -> io::Result<ResultReader> {
        Ok(ResultReader::new(
            self.file.try_clone()?,
            self.size,
            self.format,
            bytes_max,
        ))
    }

    /// Where a result of it comes from; `user` is who brought it.
    pub fn origin(&self, place: Position, user: &str) -> Origin {
        let line = (self.format == Format::Lines).then_some(place.line);
        match &self.name {
            Some(name) => Origin::File {
                name: name.clone(),
                line,
                item: place.item,
            },
            None => Origin::User {
                name: user.to_owned(),
                line: line.or(place.item),
            },
        }
    }

    /// A line about something wrong in it: `file:line:column: why`.
    pub fn wrong(&self, bad: &ParseFault) -> String {
        self.about(bad.place, &format!("{}: {}", bad.place.column, bad.why), ":")
    }

    /// A line about a result of it: `file:line: what`.
    pub fn says(&self, place: Position, what: &str) -> String {
        self.about(place, what, ": ")
    }

    fn about(&self, place: Position, what: &str, gap: &str) -> String {
        let item = place.item.map(|item| format!(" (item {item})")).unwrap_or_default();
        visible(&format!("{}:{}{gap}{what}{item}", self.shown, place.line)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_without_a_name_tells_its_format() {
        let cases = [
            ("{\n\"a\":1\n}\n", Format::Json),
            ("[{},\n{}]", Format::Json),
            ("{}\n{}\n", Format::Lines),
            ("{\"a\":}\n{}\n", Format::Lines),
            ("not json\n{}\n", Format::Lines),
            ("{\"a\":1,", Format::Json),
            ("[1]", Format::Json),
            ("", Format::Json),
        ];
        for (text, expected) in cases {
            let (file, size) = kept(&mut text.as_bytes()).unwrap();
            assert_eq!(sniff(&file, size).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.json");
        assert!(format!("{:#}", open_all(&[missing]).unwrap_err()).contains("missing.json"));
        assert!(format!("{:#}", open_all(&[dir.path().to_owned()]).unwrap_err()).contains("directory"));
    }
}
