//! `.json`: one object, or an array of them, of any length, item by item.

use super::raw_result::{BOM, ParseFault, Position, RawResult, line_breaks};

/// Finds the items in the bytes of one file.
#[derive(Debug, Clone)]
pub struct JsonSplitter {
    bytes_max: usize,
    state: JsonState,
    /// The bytes of the present item.
    buffer: Vec<u8>,
    /// Where the present item begins.
    start: u64,
    start_place: Position,
    /// How many bytes have come.
    at: u64,
    line: u64,
    /// Where the present line begins.
    line_start: u64,
    is_array: bool,
    found: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonState {
    /// Before the value; so many bytes of a BOM have come.
    Start {
        bom: usize,
    },
    /// Behind `[` or a comma.
    BeforeItem,
    Item(Inside),
    /// Behind an item of an array.
    AfterItem,
    End,
}

/// Where in an item: only what tells where it ends. Its grammar is checked when it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inside {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
}

impl JsonSplitter {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: JsonState::Start { bom: 0 },
            buffer: Vec::new(),
            start: 0,
            start_place: Position {
                line: 1,
                column: 1,
                item: None,
            },
            at: 0,
            line: 1,
            line_start: 0,
            is_array: false,
            found: 0,
        }
    }

    pub(super) fn found(&self) -> u64 {
        self.found
    }

    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<RawResult>, ParseFault> {
        while let Some((&byte, rest)) = input.split_first() {
            if let JsonState::Item(inside) = self.state {
                let (length, now) = inside.advance(input);
                if self.buffer.len() + length > self.bytes_max {
                    return Err(self.start_place.over(self.bytes_max));
                }
                self.hold(&input[..length]);
                *input = &input[length..];
                self.state = JsonState::Item(now);
                if now.depth == 0 {
                    return self.item().map(Some);
                }
            } else {
                self.between(byte)?;
                // An item's first byte is not taken here: it belongs to the item.
                if !matches!(self.state, JsonState::Item(_)) {
                    self.pass(byte);
                    *input = rest;
                }
            }
        }
        Ok(None)
    }

    pub(super) fn finish(&mut self) -> Result<(), ParseFault> {
        let why = match self.state {
            JsonState::End => return Ok(()),
            JsonState::Start { .. } => "the file is empty; it is to be one result object or an array of them".into(),
            JsonState::BeforeItem | JsonState::AfterItem => {
                format!("not JSON: EOF in the array, behind item {}", self.found)
            }
            JsonState::Item(_) => return Err(self.start_place.syntax(&self.buffer, false)),
        };
        Err(ParseFault {
            place: self.here(),
            why,
            unfinished: true,
        })
    }

    /// A byte outside the items.
    fn between(&mut self, byte: u8) -> Result<(), ParseFault> {
        if let JsonState::Start { bom } = self.state {
            if self.at == bom as u64 && BOM.get(bom) == Some(&byte) {
                self.state = JsonState::Start { bom: bom + 1 };
                return Ok(());
            }
            if bom != 0 && bom != BOM.len() {
                return Err(self.wrong("not JSON: the beginning of a byte order mark without its end"));
            }
        }
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(());
        }
        self.state = match (self.state, byte) {
            (JsonState::Start { .. } | JsonState::BeforeItem, b'{') => self.begin(),
            (JsonState::Start { .. }, b'[') => {
                self.is_array = true;
                JsonState::BeforeItem
            }
            (JsonState::Start { .. }, 0xfe | 0xff) => {
                return Err(self.wrong("not UTF-8 (it begins like UTF-16); write the file in UTF-8"));
            }
            (JsonState::Start { .. }, _) => {
                let why = format!(
                    "it begins with {}; a .json file is one result object or an array of them",
                    shown(byte)
                );
                return Err(self.wrong(&why));
            }
            (JsonState::BeforeItem, b']') if self.found == 0 => {
                return Err(self.wrong("the array is empty; it is to hold result objects"));
            }
            (JsonState::BeforeItem, _) => {
                let why = format!("each item is to be an object; this one begins with {}", shown(byte));
                return Err(self.wrong(&why));
            }
            (JsonState::AfterItem, b',') => JsonState::BeforeItem,
            (JsonState::AfterItem, b']') => JsonState::End,
            (JsonState::AfterItem, _) => {
                let why = format!("not JSON: expected `,` or `]` behind an item, not {}", shown(byte));
                return Err(self.wrong(&why));
            }
            (JsonState::End, _) => {
                return Err(self.wrong("more behind the end of the value; one object a line is NDJSON, named .ndjson"));
            }
            (JsonState::Item(inside), _) => JsonState::Item(inside),
        };
        Ok(())
    }

    fn begin(&mut self) -> JsonState {
        self.start = self.at;
        self.start_place = Position {
            item: self.is_array.then_some(self.found + 1),
            ..self.here()
        };
        JsonState::Item(Inside {
            depth: 0,
            in_string: false,
            is_escaped: false,
        })
    }

    fn item(&mut self) -> Result<RawResult, ParseFault> {
        self.found += 1;
        self.state = if self.is_array {
            JsonState::AfterItem
        } else {
            JsonState::End
        };
        let text = self.start_place.text(std::mem::take(&mut self.buffer))?;
        Ok(RawResult {
            place: self.start_place,
            span: self.start..self.at,
            text: Ok(text),
            ended: true,
        })
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let lines = line_breaks(bytes);
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            self.line += lines;
            self.line_start = self.at + last as u64 + 1;
        }
        self.at += bytes.len() as u64;
    }

    fn pass(&mut self, byte: u8) {
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
            self.line_start = self.at;
        }
    }

    fn here(&self) -> Position {
        Position {
            line: self.line,
            column: self.at - self.line_start + 1,
            item: None,
        }
    }

    fn wrong(&self, why: &str) -> ParseFault {
        ParseFault {
            place: Position {
                item: matches!(self.state, JsonState::BeforeItem).then_some(self.found + 1),
                ..self.here()
            },
            why: why.into(),
            unfinished: false,
        }
    }
}

impl Inside {
    /// How many of these bytes belong to the item, and where it is then: at depth 0 it has ended.
    fn advance(mut self, bytes: &[u8]) -> (usize, Self) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, self);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), self)
    }
}

/// A byte as a message shows it.
fn shown(byte: u8) -> String {
    match byte {
        b'[' => "an array".into(),
        b'"' => "a string".into(),
        b'0'..=b'9' | b'-' => "a number".into(),
        b'!'..=b'~' => format!("`{}`", char::from(byte)),
        _ => format!("byte 0x{byte:02X}"),
    }
}
