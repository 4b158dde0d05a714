//! What a database that SQLite can no longer open still holds.
//!
//! SQLite finds a row from the root of its table downwards, so one damaged page hides all that lies below it, and a
//! damaged first page hides everything. Here each page is looked at by itself: what is a leaf of a table yields its
//! rows, which tell by the kinds of their columns what they are. Only reads; the file is opened by the caller, and no
//! SQLite ever sees it.
//!
//! The order of the first fifteen columns of `submission` and `delivery` is that of the first migration; later ones
//! only add columns after them.

mod pages;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

use rustix::process::{FlockType, fcntl_getlk};

use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, Digest, Payload, StateName, SubmissionId, SubmissionKey};

use pages::Pages;
use rows::{Head, PageView, Value};

/// A database that was read as far as it could be.
#[derive(Debug)]
pub struct Wreck {
    pages: Pages,
    damaged_pages: u64,
    standings: HashMap<i64, Standing>,
    /// What was claimed: a request may have been on the wire.
    flights: HashSet<i64>,
    /// Where the rows of `submission` lie, by their numbers; one number may lie at two places, of which one is out of
    /// date.
    places: Vec<RowPlace>,
}

/// Where a submission stood.
#[derive(Debug, Clone, Copy)]
struct Standing {
    state: StateName,
    maybe_sent: bool,
    overrides: bool,
    updated_at: i64,
}

#[derive(Debug, Clone, Copy)]
struct RowPlace {
    id: i64,
    created_at: i64,
    page: u32,
    cell: usize,
}

/// A submission that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: SubmissionId,
    /// When it was taken in.
    pub created_at: Timestamp,
    /// Its state; `None` where that could not be read.
    pub state: Option<StateName>,
    /// Whether it may have reached the API without our seeing the answer.
    pub maybe_sent: bool,
    pub key: Option<SubmissionKey>,
    /// The digest of the object, where a key is.
    pub digest: Option<Digest>,
    pub source: Option<String>,
    /// What a 409 means to it: its own word, or that of an operator who said that it overrides.
    pub on_conflict: Option<ConflictPolicy>,
    /// Not sent before this; `None`: as soon as it is its turn.
    pub not_before: Option<Timestamp>,
    /// What was to be sent.
    pub payload: Payload,
}

impl Wreck {
    /// Reads a database, and the WAL beside it where there is one, from end to end.
    pub fn read(database: File, wal: Option<File>) -> io::Result<Self> {
        let mut wreck = Self {
            pages: Pages::of(database, wal)?,
            damaged_pages: 0,
            standings: HashMap::new(),
            flights: HashSet::new(),
            places: Vec::new(),
        };
        for number in 1..=wreck.pages.count {
            wreck.read_page(number);
        }
        wreck.places.sort_by_key(|place| (place.id, place.page));
        Ok(wreck)
    }

    /// How many pages there are, and how many of them should hold rows and cannot be read.
    pub fn pages(&self) -> (u64, u64) {
        (u64::from(self.pages.count), self.damaged_pages)
    }

    /// Whether it holds anything of ours.
    pub fn is_ours(&self) -> bool {
        !self.standings.is_empty() || !self.places.is_empty()
    }

    /// The numbers of those that are not final, oldest first. Also those whose state could not be read: sent twice is
    /// better than never.
    pub fn open_ids(&self) -> Vec<SubmissionId> {
        let mut ids: Vec<i64> = self.places.iter().map(|place| place.id).collect();
        ids.extend(self.standings.keys());
        ids.sort_unstable();
        ids.dedup();
        let is_open = |id: &i64| self.standings.get(id).is_none_or(|standing| !is_final(standing.state));
        ids.into_iter().filter(is_open).map(SubmissionId).collect()
    }

    /// Every submission that has a row, by number and time of intake: what tells whether another outbox descends from
    /// the same one.
    pub fn lineage(&self) -> HashSet<(SubmissionId, Timestamp)> {
        let of = |place: &RowPlace| (SubmissionId(place.id), Timestamp::from_millis(place.created_at));
        self.places.iter().map(of).collect()
    }

    /// One of them; `None` where its row cannot be read.
    pub fn find(&self, id: SubmissionId) -> Option<Found> {
        let first = self.places.partition_point(|place| place.id < id.0);
        let mut places = self.places[first..].iter().take_while(|place| place.id == id.0);
        places.find_map(|place| self.found(place))
    }

    fn read_page(&mut self, number: u32) {
        let Ok(page) = self.pages.read(number) else {
            // A bad sector of the disk.
            self.damaged_pages += 1;
            return;
        };
        let cells = match rows::view(&self.pages, number, &page) {
            PageView::Rows(cells) => cells,
            PageView::Nothing => return,
            PageView::Damaged => {
                self.damaged_pages += 1;
                return;
            }
        };
        for cell in cells {
            let Some(head) = rows::head(&self.pages, &page, cell) else {
                continue;
            };
            if is_submission(&head) {
                let first = rows::first_values(&page, &head, 2);
                let created_at = first.and_then(|first| first.get(1)?.int()).unwrap_or_default();
                self.places.push(RowPlace {
                    id: head.id,
                    created_at,
                    page: number,
                    cell,
                });
            } else if let Some(standing) = standing(&page, &head) {
                let newest = self.standings.entry(head.id).or_insert(standing);
                if standing.updated_at > newest.updated_at {
                    *newest = standing;
                }
            } else if is_flight(&page, &head) {
                self.flights.insert(head.id);
            }
        }
    }

    fn found(&self, place: &RowPlace) -> Option<Found> {
        let page = self.pages.read(place.page).ok()?;
        let head = rows::head(&self.pages, &page, place.cell)?;
        let values = rows::values(&self.pages, &page, &head)?;
        let text = |column: usize| values[column].text().map(str::to_owned);
        let standing = self.standings.get(&place.id);
        let said = values[9].text().and_then(|word| word.parse().ok());
        let overrides = standing.is_some_and(|standing| standing.overrides);
        let digest = match &values[7] {
            Value::Blob(bytes) => bytes.as_slice().try_into().ok().map(Digest),
            Value::Null | Value::Int(_) | Value::Real | Value::Text(_) => None,
        };
        let payload = Payload::from_text(values[14].text()?);
        // Bytes of the payload may be damaged although all round them is well.
        if digest.is_some_and(|digest| digest != payload.digest()) {
            return None;
        }
        Some(Found {
            id: SubmissionId(place.id),
            created_at: Timestamp::from_millis(place.created_at),
            state: standing.map(|standing| standing.state),
            maybe_sent: self.flights.contains(&place.id) || standing.is_some_and(|standing| standing.maybe_sent),
            key: text(5).map(SubmissionKey),
            digest,
            source: text(8),
            on_conflict: if overrides {
                Some(ConflictPolicy::Override)
            } else {
                said
            },
            not_before: values[10].int().map(Timestamp::from_millis),
            payload,
        })
    }
}

/// The process that has this file open in SQLite, where one has.
pub fn holder(database: &File) -> Option<u32> {
    let held = fcntl_getlk(database, &FlockType::WriteLock.into()).ok().flatten()?;
    held.pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}

const fn is_final(state: StateName) -> bool {
    match state {
        StateName::Delivered | StateName::Dismissed => true,
        StateName::Pending | StateName::Sending | StateName::Dead | StateName::Parked => false,
    }
}

/// How a column is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Int,
    Text,
    Blob,
}

fn kind(serial: u64) -> Option<Kind> {
    match serial {
        0 => Some(Kind::Null),
        1..=6 | 8 | 9 => Some(Kind::Int),
        7 | 10 | 11 => None,
        _ if serial % 2 == 1 => Some(Kind::Text),
        _ => Some(Kind::Blob),
    }
}

/// Of each of its first columns, how it may be stored. `id` is the row's number, and stored as NULL.
const SUBMISSION: [&[Kind]; 15] = {
    use Kind::{Blob, Int, Null, Text};
    [
        &[Null],
        &[Int],
        &[Null, Text],
        &[Null, Text],
        &[Null, Text],
        &[Null, Text],
        &[Int],
        &[Null, Blob],
        &[Null, Text],
        &[Null, Text],
        &[Null, Int],
        &[Text],
        &[Null, Text],
        &[Int],
        &[Text],
    ]
};

fn is_submission(head: &Head) -> bool {
    let fits = |(serial, kinds): (&u64, &&[Kind])| kind(*serial).is_some_and(|kind| kinds.contains(&kind));
    head.types.len() >= SUBMISSION.len() && head.types.iter().zip(&SUBMISSION).all(fits)
}

/// A row of `flight`: attempt, time of the claim, waits served. Also one that was deleted and not written over: maybe
/// sent is the careful word.
fn is_flight(page: &[u8], head: &Head) -> bool {
    let kinds: Vec<Option<Kind>> = head.types.iter().map(|serial| kind(*serial)).collect();
    let fits = kinds == [Some(Kind::Null), Some(Kind::Int), Some(Kind::Int), Some(Kind::Int)];
    fits && rows::first_values(page, head, 4).is_some_and(|values| values[1].int().is_some_and(|attempt| attempt > 0))
}

/// The columns of `delivery` up to the one that was changed last.
const DELIVERY: usize = 15;

fn standing(page: &[u8], head: &Head) -> Option<Standing> {
    if head.types.len() < DELIVERY {
        return None;
    }
    let values = rows::first_values(page, head, DELIVERY)?;
    let state = match values[2].text()? {
        "head" | "waiting" => StateName::Pending,
        other => other.parse().ok()?,
    };
    Some(Standing {
        state,
        maybe_sent: values[10].int()? != 0 || state == StateName::Sending,
        overrides: values[11].int()? == 2,
        updated_at: values[14].int()?,
    })
}
