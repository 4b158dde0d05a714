-- Version 3: claims in a table of their own, lanes numbered in the order of intake, and no index that a delivery does not need.
--
-- What it is for: version 1 rewrote a row and up to a dozen index entries at random places for every claim and every outcome. Measured in
-- plain SQLite (200,000 pending, `synchronous=FULL`, groups of 64), claim, outcome and commit cost 68 µs a result there and 19 µs here.
--
-- Everything of an old outbox is carried over in one transaction: a crash leaves the old version whole, and the next start begins again. The
-- narrow table is copied and its indexes are built anew, sorted, which is far quicker than changing them row by row; the wide ones
-- (`submission`, `attempt`, `history`) stay as they lie. Foreign keys are off while this runs: the copy takes the name that others refer to.

-- What is claimed: a request may be on the wire, or about to be. `sending` of the contract is "has a row here", so a claim writes nothing
-- else, and a start after a crash finds what was left by reading this table, however large the outbox is. The row goes with the outcome, which
-- is refused where id and attempt are not found here.
CREATE TABLE flight (
    id         INTEGER PRIMARY KEY,
    -- The number of this attempt; `delivery.attempts` follows when it has ended.
    attempt    INTEGER NOT NULL CHECK (attempt > 0),
    claimed_at INTEGER NOT NULL,
    -- The waits served until then; `delivery.waited_ms` follows.
    waited_ms  INTEGER NOT NULL CHECK (waited_ms >= 0)
) STRICT;

-- The activities of which a submission is kept, by 64 bits of a hash of their key. Looked up at intake alone: everything else goes by the
-- number, which is the number of the activity's first submission (or one that no submission has, where an edit founded it: those are negative). So all indexes on
-- lanes lie in the order of intake, and the outcomes of a group touch a handful of pages instead of one a row.
CREATE TABLE lane (
    hash         INTEGER PRIMARY KEY,
    number       INTEGER NOT NULL,
    -- The newest delivered submission that retention has taken away: with those that are kept, what makes an older one *superseded*. Written
    -- by the sweep, not by the delivery.
    delivered_id INTEGER
) STRICT;

INSERT INTO flight (id, attempt, claimed_at, waited_ms)
    SELECT id, attempts, updated_at, waited_ms FROM delivery INDEXED BY delivery_sending WHERE state = 'sending' AND attempts > 0;

INSERT INTO lane (hash, number, delivered_id)
    SELECT d.lane, min(d.id), (SELECT m.delivered_id FROM lane_memory AS m WHERE m.lane = d.lane)
      FROM delivery AS d INDEXED BY delivery_lane WHERE d.lane IS NOT NULL GROUP BY d.lane;
CREATE UNIQUE INDEX lane_number ON lane (number);

-- As in version 1, but for `sending`, which is no state of its own any more: see there for what each column means.
CREATE TABLE delivery_new (
    id               INTEGER PRIMARY KEY REFERENCES submission (id),
    -- `lane.number`; NULL where a result names no activity.
    lane             INTEGER,
    state            TEXT    NOT NULL CHECK (state IN ('head', 'waiting', 'delivered', 'dead', 'parked', 'dismissed')),
    reason           TEXT,
    next_at          INTEGER NOT NULL,
    not_before       INTEGER,
    -- Attempts that ended, given back ones among them: the number of the last one.
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    tries            INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    waited_ms        INTEGER NOT NULL DEFAULT 0 CHECK (waited_ms >= 0),
    http_status      INTEGER,
    lost_response    INTEGER NOT NULL DEFAULT 0 CHECK (lost_response IN (0, 1)),
    hard_override    INTEGER NOT NULL DEFAULT 0 CHECK (hard_override IN (0, 1, 2)),
    was_unauthorized INTEGER NOT NULL DEFAULT 0 CHECK (was_unauthorized IN (0, 1)),
    requeued         INTEGER NOT NULL DEFAULT 0 CHECK (requeued IN (0, 1)),
    updated_at       INTEGER NOT NULL,
    CHECK (state <> 'waiting' OR lane IS NOT NULL),
    CHECK (CASE state
        WHEN 'dead' THEN coalesce(reason IN ('rejected', 'invalid', 'conflict', 'retries_exhausted', 'unauthorized'), 0)
        WHEN 'parked' THEN coalesce(reason IN ('conflict', 'conflict_after_lost_response'), 0)
        ELSE reason IS NULL END)
) STRICT;

INSERT INTO delivery_new (id, lane, state, reason, next_at, not_before, attempts, tries, waited_ms, http_status, lost_response, hard_override,
        was_unauthorized, requeued, updated_at)
    SELECT d.id, (SELECT l.number FROM lane AS l WHERE l.hash = d.lane), CASE d.state WHEN 'sending' THEN 'head' ELSE d.state END, d.reason,
           d.next_at, d.not_before,
           -- Version 1 counted a claim when it was made.
           CASE d.state WHEN 'sending' THEN max(d.attempts - 1, 0) ELSE d.attempts END,
           CASE d.state WHEN 'sending' THEN max(d.tries - 1, 0) ELSE d.tries END,
           d.waited_ms, d.http_status, d.lost_response, d.hard_override, d.was_unauthorized, d.requeued, d.updated_at
      FROM delivery AS d ORDER BY d.id;
-- Made anew at the end: it may not name what is not there.
DROP VIEW outbox;
DROP TABLE delivery;
ALTER TABLE delivery_new RENAME TO delivery;
DROP TABLE lane_memory;

-- The rule of the house, kept by the database itself: of one activity at most one may be sent or be next, and that one is its head.
CREATE UNIQUE INDEX delivery_live ON delivery (lane) WHERE lane IS NOT NULL AND state = 'head';
CREATE INDEX delivery_waiting ON delivery (lane) WHERE state = 'waiting';
CREATE INDEX delivery_due ON delivery (requeued, next_at) WHERE state = 'head' AND not_before IS NULL;
CREATE INDEX delivery_held ON delivery (not_before) WHERE state = 'head' AND not_before IS NOT NULL;
CREATE INDEX delivery_probe ON delivery (tries) WHERE state = 'head' AND not_before IS NULL;
CREATE INDEX delivery_lane ON delivery (lane) WHERE lane IS NOT NULL;
-- The newest delivered of an activity: what version 1 wrote down at each delivery.
CREATE INDEX delivery_newest ON delivery (lane) WHERE state = 'delivered' AND lane IS NOT NULL;
CREATE INDEX delivery_pending ON delivery (id) WHERE state = 'head' OR state = 'waiting';
CREATE INDEX delivery_dead ON delivery (id) WHERE state = 'dead';
CREATE INDEX delivery_parked ON delivery (id) WHERE state = 'parked';
CREATE INDEX delivery_delivered_since ON delivery (updated_at) WHERE state = 'delivered';
CREATE INDEX delivery_dismissed_since ON delivery (updated_at) WHERE state = 'dismissed';
CREATE INDEX delivery_dead_since ON delivery (updated_at) WHERE state = 'dead';

-- What is `sending` is counted in `flight`, which is small; `pending` includes it.
UPDATE tally SET n = n + (SELECT n FROM tally WHERE state = 'sending') WHERE state = 'pending';
DELETE FROM tally WHERE state = 'sending';

-- The newest delivered submission of each activity, kept or taken away by retention; NULL where there is none.
CREATE VIEW delivered_last AS
SELECT l.number AS lane,
       nullif(max(coalesce((SELECT n.id FROM delivery AS n INDEXED BY delivery_newest
                             WHERE n.lane = l.number AND n.state = 'delivered' ORDER BY n.id DESC LIMIT 1), 0),
                  coalesce(l.delivered_id, 0)), 0) AS id
  FROM lane AS l;

-- For the person with sqlite3. The program never reads it.
CREATE VIEW outbox AS
SELECT d.id,
       s.submission_key AS key,
       s.activity_id,
       s.provider_activity_id,
       s.source,
       CASE WHEN f.id IS NOT NULL THEN 'sending' WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END AS state,
       d.reason,
       coalesce(f.attempt, d.attempts) AS attempts,
       d.http_status,
       CASE WHEN f.id IS NULL AND d.state IN ('head', 'waiting')
           THEN strftime('%Y-%m-%dT%H:%M:%fZ', max(d.next_at, coalesce(d.not_before, d.next_at)) / 1000.0, 'unixepoch') END AS next_attempt_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(f.claimed_at, d.updated_at) / 1000.0, 'unixepoch') AS updated_at,
       s.origin,
       s.invalid,
       s.payload
  FROM delivery AS d JOIN submission AS s ON s.id = d.id LEFT JOIN flight AS f ON f.id = d.id;
