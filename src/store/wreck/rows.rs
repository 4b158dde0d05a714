//! Rows in the leaves of tables: SQLite's record format, read without trusting a byte of it.

use super::pages::{HEADER, Pages, Use};

/// A leaf of a table; the other kinds of pages in a tree.
const LEAF: u8 = 0x0d;
const OTHERS: [u8; 3] = [0x02, 0x05, 0x0a];

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Real,
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Null | Self::Real | Self::Text(_) | Self::Blob(_) => None,
        }
    }

    /// The text, where it is UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Null | Self::Int(_) | Self::Real | Self::Blob(_) => None,
        }
    }
}

/// What a page yields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageView {
    /// The places of its rows.
    Rows(Vec<usize>),
    /// No rows, and none were to be expected.
    Nothing,
    /// It should hold a part of a tree, and does not.
    Damaged,
}

/// Looks for rows in a page.
pub(super) fn view(pages: &Pages, number: u32, page: &[u8]) -> PageView {
    let usage = pages.use_of(number);
    if matches!(usage, Use::Free | Use::Own | Use::Overflow) {
        return PageView::Nothing;
    }
    let start = if number == 1 { HEADER } else { 0 };
    let kind = page.get(start).copied().unwrap_or_default();
    if kind == LEAF {
        let count = usize::from(half(page, start + 3).unwrap_or_default());
        let cells = (0..count).map_while(|cell| half(page, start + 8 + 2 * cell).map(usize::from));
        return PageView::Rows(
            cells
                .filter(|place| *place > start + 8 && *place < pages.usable)
                .collect(),
        );
    }
    let is_tree = OTHERS.contains(&kind);
    let is_empty = page.iter().all(|byte| *byte == 0);
    match usage {
        Use::Unknown if is_tree || is_empty => PageView::Nothing,
        Use::Tree if is_tree => PageView::Nothing,
        Use::Unknown | Use::Tree => PageView::Damaged,
        Use::Free | Use::Own | Use::Overflow => PageView::Nothing,
    }
}

/// A row's number, and how its columns are stored: enough to say which table it is of, without following it into other
/// pages.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    /// Of the whole record.
    length: usize,
    /// Of it, what lies in this page, and where.
    local: std::ops::Range<usize>,
    /// Serial types, and where the values begin.
    pub(super) types: Vec<u64>,
    values: usize,
}

/// The head of the row at this place of a page; `None` where it makes no sense.
pub(super) fn head(pages: &Pages, page: &[u8], place: usize) -> Option<Head> {
    let (length, more) = varint(page, place)?;
    let (id, more) = varint(page, more).map(|(id, more)| (id.cast_signed(), more))?;
    let length = usize::try_from(length).ok()?;
    if length > pages.count as usize * pages.usable {
        return None;
    }
    let here = local_bytes(length, pages.usable);
    let local = more..more + here;
    let record = page.get(local.clone())?;
    let (header, mut at) = varint(record, 0)?;
    let header = usize::try_from(header).ok().filter(|header| *header <= record.len())?;
    let mut types = Vec::new();
    while at < header {
        let (kind, more) = varint(record, at)?;
        types.push(kind);
        at = more;
    }
    Some(Head {
        id,
        length,
        local,
        types,
        values: header,
    })
}

/// The values of a row, as far as its page and the ones that it goes on in can be read.
pub(super) fn values(pages: &Pages, page: &[u8], head: &Head) -> Option<Vec<Value>> {
    let record = record(pages, page, head)?;
    let mut at = head.values;
    let mut values = Vec::with_capacity(head.types.len());
    for kind in &head.types {
        let length = length_of(*kind)?;
        let bytes = record.get(at..at.checked_add(length)?)?;
        at += length;
        values.push(value(*kind, bytes));
    }
    Some(values)
}

/// The values of its first columns, of those that lie in the page itself.
pub(super) fn first_values(page: &[u8], head: &Head, count: usize) -> Option<Vec<Value>> {
    let record = page.get(head.local.clone())?;
    let mut at = head.values;
    let mut values = Vec::with_capacity(count);
    for kind in head.types.iter().take(count) {
        let length = length_of(*kind)?;
        values.push(value(*kind, record.get(at..at.checked_add(length)?)?));
        at += length;
    }
    Some(values)
}

fn record(pages: &Pages, page: &[u8], head: &Head) -> Option<Vec<u8>> {
    let mut record = page.get(head.local.clone())?.to_vec();
    let mut next = if record.len() < head.length {
        word(page, head.local.end)?
    } else {
        0
    };
    while record.len() < head.length {
        if next < 2 || next > pages.count || matches!(pages.use_of(next), Use::Tree | Use::Free | Use::Own) {
            return None;
        }
        let page = pages.read(next).ok()?;
        next = word(&page, 0)?;
        let rest = (head.length - record.len()).min(pages.usable - 4);
        // Never more pages than the length says: a chain that bites its tail ends too.
        record.extend_from_slice(page.get(4..4 + rest)?);
    }
    Some(record)
}

/// How many bytes of a record of this length lie in the leaf itself.
fn local_bytes(length: usize, usable: usize) -> usize {
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let here = least + (length - least) % (usable - 4);
    if here <= most { here } else { least }
}

fn length_of(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(kind).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from((kind - 12) / 2).ok(),
    }
}

fn value(kind: u64, bytes: &[u8]) -> Value {
    match kind {
        0 => Value::Null,
        8 => Value::Int(0),
        9 => Value::Int(1),
        1..=6 => {
            let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
                -1
            } else {
                0
            };
            Value::Int(
                bytes
                    .iter()
                    .fold(sign, |value: i64, byte| value << 8 | i64::from(*byte)),
            )
        }
        7 => Value::Real,
        _ if kind % 2 == 1 => Value::Text(bytes.to_vec()),
        _ => Value::Blob(bytes.to_vec()),
    }
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for place in 0..9 {
        let byte = *bytes.get(at)?;
        at += 1;
        if place == 8 {
            return Some((value << 8 | u64::from(byte), at));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((value, at))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
