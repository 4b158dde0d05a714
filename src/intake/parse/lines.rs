//! NDJSON: one object a line. Blank lines are skipped; a BOM at the beginning and CRLF are fine.

use super::raw_result::{BOM, ParseFault, Position, RawResult};

/// Finds the lines in the bytes of one file.
#[derive(Debug, Clone)]
pub struct LineSplitter {
    bytes_max: usize,
    /// What came of the present line, at most `bytes_max` and what is cut off its ends.
    buffer: Vec<u8>,
    /// Whether more came of it than that.
    is_over: bool,
    /// The number of the present line, from 1.
    line: u64,
    /// Where the present line (or the rest of one that was given out without its break) begins in the file.
    start: u64,
    /// The column at which that is, from 0.
    column: u64,
    /// How many bytes have come.
    at: u64,
    found: u64,
}

/// What may be cut off a line: a BOM before it, CR after it.
const CUT_MAX: usize = BOM.len() + 1;

impl LineSplitter {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            buffer: Vec::new(),
            is_over: false,
            line: 1,
            start: 0,
            column: 0,
            at: 0,
            found: 0,
        }
    }

    pub(super) fn found(&self) -> u64 {
        self.found
    }

    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<RawResult> {
        while !input.is_empty() {
            let end = input.iter().position(|byte| *byte == b'\n');
            let (part, rest) = match end {
                Some(end) => (&input[..end], &input[end + 1..]),
                None => (*input, &input[input.len()..]),
            };
            self.hold(part);
            self.at += (input.len() - rest.len()) as u64;
            *input = rest;
            if end.is_some() {
                let piece = self.piece(true);
                self.line += 1;
                self.start = self.at;
                self.column = 0;
                if piece.is_some() {
                    return piece;
                }
            }
        }
        None
    }

    /// The last line where it has no line break. What comes after it later is the rest of that line.
    pub(super) fn finish(&mut self) -> Result<Option<RawResult>, ParseFault> {
        let piece = self.piece(false);
        if piece.is_none() && self.found == 0 {
            return Err(ParseFault {
                place: Position {
                    line: self.line,
                    column: 1,
                    item: None,
                },
                why: "the file is empty; each line is to be one result object".into(),
                unfinished: true,
            });
        }
        self.column += self.at - self.start;
        self.start = self.at;
        Ok(piece)
    }

    fn hold(&mut self, part: &[u8]) {
        let room = (self.bytes_max + CUT_MAX).saturating_sub(self.buffer.len());
        self.is_over |= part.len() > room;
        self.buffer.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// What is held, as a line; `None` when it is blank.
    fn piece(&mut self, ended: bool) -> Option<RawResult> {
        let mut bytes = std::mem::take(&mut self.buffer);
        let is_over = std::mem::take(&mut self.is_over);
        let bom = if self.start == 0 && bytes.starts_with(BOM) {
            BOM.len()
        } else {
            0
        };
        bytes.drain(..bom);
        if ended && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if !is_over && bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return None;
        }
        self.found += 1;
        let place = Position {
            line: self.line,
            column: self.column + bom as u64 + 1,
            item: None,
        };
        let line_break = u64::from(ended);
        Some(RawResult {
            place,
            span: self.start + bom as u64..self.at - line_break,
            text: if is_over || bytes.len() > self.bytes_max {
                Err(place.over(self.bytes_max))
            } else {
                place.text(bytes)
            },
            ended,
        })
    }
}
