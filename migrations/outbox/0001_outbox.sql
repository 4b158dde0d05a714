-- The outbox, version 1. Forward only: once landed this file is never edited; what changes later is a new file beside it.
--
-- Conventions. Times are INTEGER milliseconds since 1970 in UTC, bound as parameters and never SQLite's own "now", so that the program's
-- clock is the only one. Words (states, reasons, outcomes) are TEXT and the very words of the contract: a person with sqlite3 reads them,
-- a CHECK refuses others, and five bytes more a row buy no table of codes that two places must agree on. Every table is STRICT: a
-- number that arrives as text is a fault, not a surprise at three in the morning.
--
-- The program runs each file in one transaction together with `PRAGMA user_version` = its number (and, for the first, `PRAGMA
-- application_id`), so a crash leaves the old version or the new one. No table of migrations beside it: the version must be readable in
-- the header before anything else of a database is trusted.

-- What was taken in. Wide, and written once: after admission only `edit` and a key that is yielded touch a row here. Sending, retrying and
-- settling happen in `delivery`, so that a hot row is 60 bytes and not a payload.
--
-- AUTOINCREMENT, because ids are the order of an activity and people quote them: one may never be given out twice, even when the newest
-- submission was purged.
--
-- Not chosen: a column with the activity's key. It is `lower(activity_id)`, else `provider_activity_id`; what has to be found by it is found
-- by `delivery.lane`.
CREATE TABLE submission (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at           INTEGER NOT NULL,
    -- The ids as they were written, read once at intake: nothing is parsed again at delivery.
    activity_id          TEXT,
    provider_activity_id TEXT,
    commerce_external_id TEXT,
    -- The producer's key. Several rows may name the same one (a second object under a used key is kept as a dead letter); at most one holds
    -- it. It is held from admission until the row is deleted or a mended twin replaces it.
    submission_key       TEXT,
    holds_key            INTEGER NOT NULL DEFAULT 0 CHECK (holds_key IN (0, 1)),
    -- SHA-256 of members and values in any order: tells a repetition from another object under the same key. NULL where there is no key.
    digest               BLOB CHECK (length(digest) = 32),
    source               TEXT,
    on_conflict          TEXT CHECK (on_conflict IN ('override', 'park', 'dead_letter')),
    -- As it was asked for, for ever; what of it still has to be waited for stands in `delivery`.
    not_before           INTEGER,
    -- Where it came from: {"file":…,"line":…}, {"row":…} or {"user":…}.
    origin               TEXT    NOT NULL CHECK (json_valid(origin)),
    -- Why local validation refused it, in one line.
    invalid              TEXT,
    -- Whether nothing but the tenant's list of result types speaks against it: what a changed list may make valid. Kept, and not read out
    -- of the line above, which is for people; and a fault of its `$outbox` cannot be found again in the payload.
    by_result_types      INTEGER NOT NULL DEFAULT 0 CHECK (by_result_types IN (0, 1)),
    -- The request's body, byte for byte. TEXT and not BLOB, so that it can be read where it lies.
    payload              TEXT    NOT NULL,
    CHECK (holds_key = 0 OR submission_key IS NOT NULL)
) STRICT;

-- Partial: most producers give no key, and then this index costs nothing.
CREATE UNIQUE INDEX submission_key ON submission (submission_key) WHERE holds_key = 1;
-- What is to be judged again when the list changes.
CREATE INDEX submission_by_result_types ON submission (id) WHERE by_result_types = 1;

-- Where each submission stands. Narrow, and rewritten two or three times in a row's life.
--
-- `pending` of the contract is two states here. `head` may be sent; `waiting` stands behind the head (or the sending one) of its activity.
-- That makes claiming flat: the alternative, `NOT EXISTS (an earlier one of this activity)` while claiming, took half a second a claim
-- with a million rows behind one stuck activity.
CREATE TABLE delivery (
    id               INTEGER PRIMARY KEY REFERENCES submission (id),
    -- 64 bits of a hash of the activity's key; NULL where a result names no activity. NULLs never collide in a unique index, so those never
    -- wait for one another.
    lane             INTEGER,
    state            TEXT    NOT NULL CHECK (state IN ('head', 'waiting', 'sending', 'delivered', 'dead', 'parked', 'dismissed')),
    reason           TEXT,
    -- When the next attempt is due. Kept, unused, in the final states. Read through the claim's clamp: a clock that was set back must not
    -- leave a retry due next year.
    next_at          INTEGER NOT NULL,
    -- A `not_before` that has not passed yet; cleared by the first claim after it. A column of its own, because the clamp must not touch it:
    -- a producer may well mean next year.
    not_before       INTEGER,
    -- Claims over its whole life, never given back: with the id, the guard of every settlement.
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Attempts charged, and waits served, since it last started anew: what the retry schedule and `retry.max_age` count. Waits, and not
    -- a first time to subtract, because clocks are set and gates are closed.
    tries            INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    waited_ms        INTEGER NOT NULL DEFAULT 0 CHECK (waited_ms >= 0),
    -- The status of its last answer.
    http_status      INTEGER,
    -- An earlier attempt with this payload may have reached the API without our seeing the answer.
    lost_response    INTEGER NOT NULL DEFAULT 0 CHECK (lost_response IN (0, 1)),
    -- 0 no, 1 a policy decided so, 2 a person did. A requeue forgets the policy's word (it will be asked again) and keeps the person's.
    hard_override    INTEGER NOT NULL DEFAULT 0 CHECK (hard_override IN (0, 1, 2)),
    -- The key was refused on it before, and the gate's opening put it back.
    was_unauthorized INTEGER NOT NULL DEFAULT 0 CHECK (was_unauthorized IN (0, 1)),
    -- It was put back, by a person or by a rule, and is no fresh one any more. For the rest of its life: a hundred thousand that were
    -- requeued at once and are all retried must not crowd out what is new either.
    requeued         INTEGER NOT NULL DEFAULT 0 CHECK (requeued IN (0, 1)),
    -- When the state last changed; of a sending one, when it was claimed (there is no second column for that).
    updated_at       INTEGER NOT NULL,
    CHECK (state <> 'waiting' OR lane IS NOT NULL),
    CHECK (CASE state
        WHEN 'dead' THEN coalesce(reason IN ('rejected', 'invalid', 'conflict', 'retries_exhausted', 'unauthorized'), 0)
        WHEN 'parked' THEN coalesce(reason IN ('conflict', 'conflict_after_lost_response'), 0)
        ELSE reason IS NULL END)
) STRICT;

-- The rule of the house, kept by the database itself: of one activity at most one may be sent or be next. Whatever a bug above tries, the
-- second one is refused here.
CREATE UNIQUE INDEX delivery_live ON delivery (lane) WHERE lane IS NOT NULL AND (state = 'head' OR state = 'sending');
-- Whose turn comes next in an activity: the smallest id (every index ends in the id by itself).
CREATE INDEX delivery_waiting ON delivery (lane) WHERE state = 'waiting';
-- What is due, fresh and put back each in an order of their own, so that a claim finds the beginning of both; and apart from it what is held
-- by `not_before`, which no clamp may reach.
CREATE INDEX delivery_due ON delivery (requeued, next_at) WHERE state = 'head' AND not_before IS NULL;
CREATE INDEX delivery_held ON delivery (not_before) WHERE state = 'head' AND not_before IS NOT NULL;
-- The least tried first, for a probe during an outage. An index and not a bounded look at what is due: after an hour of outage the
-- untried ones stand behind everything that was tried long ago.
CREATE INDEX delivery_probe ON delivery (tries) WHERE state = 'head' AND not_before IS NULL;
-- Everything of an activity, whatever its state.
CREATE INDEX delivery_lane ON delivery (lane) WHERE lane IS NOT NULL;
-- What lists and recovery ask for, newest or oldest first. Each holds the rows of its state only; no index names every row by its state,
-- since that one would be written at every step and be worth nothing for the state that nearly all rows are in.
CREATE INDEX delivery_pending ON delivery (id) WHERE state = 'head' OR state = 'waiting';
CREATE INDEX delivery_sending ON delivery (id) WHERE state = 'sending';
CREATE INDEX delivery_dead ON delivery (id) WHERE state = 'dead';
CREATE INDEX delivery_parked ON delivery (id) WHERE state = 'parked';
-- Retention and purging, oldest first; and how long the oldest dead letter has waited.
CREATE INDEX delivery_delivered_since ON delivery (updated_at) WHERE state = 'delivered';
CREATE INDEX delivery_dismissed_since ON delivery (updated_at) WHERE state = 'dismissed';
CREATE INDEX delivery_dead_since ON delivery (updated_at) WHERE state = 'dead';

-- How many are in each state of the contract, kept by the transactions that change them: counting millions of rows for a status line
-- would take seconds. A test counts both ways after random operations.
CREATE TABLE tally (
    state TEXT    PRIMARY KEY CHECK (state IN ('pending', 'sending', 'delivered', 'dead', 'parked', 'dismissed')),
    n     INTEGER NOT NULL CHECK (n >= 0)
) STRICT, WITHOUT ROWID;
INSERT INTO tally (state, n) VALUES
    ('pending', 0), ('sending', 0), ('delivered', 0), ('dead', 0), ('parked', 0), ('dismissed', 0);

-- The newest delivered submission of each activity, as long as any submission of it is kept: what makes an older one *superseded*. A table
-- of its own and not a look at the delivered rows, because retention takes those away earlier.
CREATE TABLE lane_memory (
    lane         INTEGER PRIMARY KEY,
    delivered_id INTEGER NOT NULL
) STRICT;

-- Every attempt that ended, with what came back. Written when it ends; that it began is `delivery.attempts`, which was committed before the
-- request left. Clustered by its key (WITHOUT ROWID): one tree to write, and a submission's attempts lie together.
CREATE TABLE attempt (
    submission    INTEGER NOT NULL REFERENCES delivery (id),
    number        INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    elapsed_ms    INTEGER NOT NULL,
    hard_override INTEGER NOT NULL CHECK (hard_override IN (0, 1)),
    outcome       TEXT    NOT NULL CHECK (outcome IN
        ('delivered', 'accepted', 'retry', 'override', 'dead', 'parked', 'released', 'interrupted')),
    lost_response INTEGER NOT NULL CHECK (lost_response IN (0, 1)),
    -- Of the answer; or of the status line that came before the body was cut off.
    status        INTEGER,
    -- [["content-type","application/json"], …]: those of the kept headers that were there.
    headers       TEXT CHECK (headers IS NULL OR json_valid(headers)),
    -- The first bytes of the body as received, and its true length. There exactly when a complete answer came.
    body          BLOB,
    body_length   INTEGER,
    fault         TEXT CHECK (fault IN ('dns', 'connect', 'tls', 'timeout', 'reset', 'cut_off', 'interrupted')),
    fault_message TEXT,
    PRIMARY KEY (submission, number),
    CHECK ((body IS NULL) = (body_length IS NULL))
) STRICT, WITHOUT ROWID;

-- Every change that is no attempt: what people and rules did. `show` merges both.
CREATE TABLE history (
    seq         INTEGER PRIMARY KEY,
    submission  INTEGER NOT NULL REFERENCES delivery (id),
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    what        TEXT    NOT NULL,
    detail      TEXT,
    -- The payload that an edit replaced.
    old_payload TEXT
) STRICT;
CREATE INDEX history_submission ON history (submission);

-- What this closing of the gate dead-lettered as `unauthorized`: requeued, and forgotten, in the transaction that opens it.
CREATE TABLE episode (
    id INTEGER PRIMARY KEY REFERENCES delivery (id)
) STRICT;

-- Proofs that something was taken out of the inbox; forgotten when the source is durably gone. A file is known by name and inode together
-- with what was read of it: inodes are reused. Modification times are TEXT, since nanoseconds of far years outgrow 64 bits.
CREATE TABLE receipt_file (
    name        BLOB    NOT NULL,
    inode       INTEGER NOT NULL,
    modified_ns TEXT    NOT NULL,
    taken       INTEGER NOT NULL,
    lines       INTEGER NOT NULL,
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (name, inode)
) STRICT, WITHOUT ROWID;

-- The digest belongs to the key: after a power cut the inbox may give a rolled-back id out again, to another row.
CREATE TABLE receipt_row (
    inbox  BLOB    NOT NULL CHECK (length(inbox) = 16),
    row    INTEGER NOT NULL,
    digest BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (inbox, row, digest)
) STRICT, WITHOUT ROWID;

-- The few values that outlive a process: the gate, a pause, the list of result types.
CREATE TABLE memory (
    name  TEXT    PRIMARY KEY,
    value TEXT    NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

-- For the person with sqlite3. The program never reads it.
CREATE VIEW outbox AS
SELECT d.id,
       s.submission_key AS key,
       s.activity_id,
       s.provider_activity_id,
       s.source,
       CASE WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END AS state,
       d.reason,
       d.attempts,
       d.http_status,
       CASE WHEN d.state IN ('head', 'waiting')
           THEN strftime('%Y-%m-%dT%H:%M:%fZ', max(d.next_at, coalesce(d.not_before, d.next_at)) / 1000.0, 'unixepoch') END AS next_attempt_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.updated_at / 1000.0, 'unixepoch') AS updated_at,
       s.origin,
       s.invalid,
       s.payload
  FROM delivery AS d JOIN submission AS s ON s.id = d.id;
