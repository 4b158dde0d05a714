-- The row inbox, version 1. Forward only: once landed this file is never edited; what changes later is a new file beside it.
--
-- A file of its own, because anybody who may drop results may write it: the outbox must not be within reach. Foreign SQLites write it, some of
-- them old, so everything here is understood by 3.8 (2013): no STRICT, no generated columns, no function younger than that in a CHECK,
-- and a rollback journal, for a WAL leaves files beside it that need an owner.
--
-- The program runs this in one transaction together with `PRAGMA application_id` and `PRAGMA user_version` = the file's number.

-- What waits to be taken. A row is deleted once it is in the outbox.
--
-- AUTOINCREMENT, because a receipt in the outbox says "the row of this id, with this content": an id that is given out again would be a
-- puzzle. (After a power cut SQLite may still do so, with ids of rolled-back rows; so a receipt knows the content as well.)
CREATE TABLE inbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    -- One result, a JSON object. The CHECK refuses at the INSERT what could never be taken, where its producer still hears of it: a blob, or
    -- more than 16 MiB. Whether it is JSON is not asked here: old SQLites have no json_valid, and such a row becomes a dead letter.
    payload        TEXT NOT NULL CHECK (typeof(payload) = 'text' AND length(CAST(payload AS BLOB)) <= 16777216),
    -- The same as the members of `$outbox` in the payload, which go before them.
    submission_key TEXT,
    on_conflict    TEXT,
    source         TEXT
);

-- Rows that cannot be taken: larger than inbox.max_result_size, or no text after all. They stay until a person deletes them.
-- No type on the columns that are copied: what was there stays what it was.
CREATE TABLE rejected (
    id             INTEGER PRIMARY KEY,
    inbox_row      INTEGER NOT NULL,
    payload,
    submission_key,
    on_conflict,
    source,
    reason         TEXT NOT NULL,
    -- RFC 3339 in UTC.
    rejected_at    TEXT NOT NULL
);

-- What this file is: `inbox_id`, 16 random bytes, so that receipts of a deleted file never speak of its successor.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
INSERT INTO meta (name, value) VALUES ('inbox_id', randomblob(16));
