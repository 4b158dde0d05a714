-- The outbox, version 4: how it went, minute by minute.
--
-- Submissions say what became of each of them, as long as they are kept. How many came in and went out at which time, how long answers took
-- and when the gate was closed follows from them only while all of them are there, and only by reading all of them. So the daemon counts
-- in memory and writes one row here a minute: never in a commit that a delivery waits for.
--
-- A quiet stretch, in which nothing was counted and nothing of the queue changed, is one row. Between two rows of a node that do not touch
-- (`since` after the `until` before it) no daemon counted: it was stopped, or it was killed and the last minute is lost. What a command
-- counts (`enqueue`) is a row of the node `command`, whose gauges are NULL.
--
-- `counts` is an object of names and numbers, zeros left out, and not a column each: what is counted one day needs no migration then, and an
-- outbox that is carried elsewhere keeps the counts of a version that knew more. Rows leave after 30 days, some with each new one.
CREATE TABLE minute (
    -- When it was written, and from when on it counts.
    until          INTEGER NOT NULL,
    since          INTEGER NOT NULL,
    -- Whose it is: a daemon's identity where several share the outbox (after a move), empty where there is only one.
    node           TEXT    NOT NULL,
    -- How people call that node.
    name           TEXT    NOT NULL,
    counts         TEXT    NOT NULL CHECK (json_valid(counts)),
    -- How the queue stood at its end.
    pending        INTEGER,
    sending        INTEGER,
    delivered      INTEGER,
    dead           INTEGER,
    parked         INTEGER,
    dismissed      INTEGER,
    oldest_pending INTEGER,
    oldest_due     INTEGER,
    oldest_dead    INTEGER,
    in_flight      INTEGER,
    -- The gate at its end, and what it went through: [[when, state, why], …]. A gate opens and closes within a minute, too.
    gate           TEXT,
    gate_changes   TEXT    CHECK (gate_changes IS NULL OR json_valid(gate_changes)),
    PRIMARY KEY (until, node)
) STRICT, WITHOUT ROWID;

-- All that was ever counted, by the names of `counts`: written with each minute, and kept when that leaves. A sum of the rows above would
-- fall when one of them goes, and who watches a counter takes that for a restart.
CREATE TABLE total (
    figure TEXT    NOT NULL PRIMARY KEY,
    value  INTEGER NOT NULL CHECK (value >= 0)
) STRICT, WITHOUT ROWID;
