-- The outbox in PostgreSQL, version 2: how it went, minute by minute. Nothing that was there changes: programs that know version 1 alone go
-- on beside those that know this one.
--
-- Each daemon counts in memory and writes one row a minute, and adds it to the totals, in one transaction of its own: no delivery waits for
-- it. `total` is locked for that moment by one node after the other, in the order of names. What the columns mean is said with SQLite's
-- (`migrations/outbox/0004_minutes.sql`).
CREATE TABLE minute (
    until          bigint NOT NULL,
    since          bigint NOT NULL,
    pending        bigint,
    sending        bigint,
    delivered      bigint,
    dead           bigint,
    parked         bigint,
    dismissed      bigint,
    oldest_pending bigint,
    oldest_due     bigint,
    oldest_dead    bigint,
    in_flight      bigint,
    node           text COLLATE "C" NOT NULL,
    name           text   NOT NULL,
    counts         text   NOT NULL,
    gate           text COLLATE "C",
    gate_changes   text,
    PRIMARY KEY (until, node)
);

CREATE TABLE total (
    figure text COLLATE "C" NOT NULL PRIMARY KEY,
    value  bigint NOT NULL CHECK (value >= 0)
) WITH (fillfactor = 50);

UPDATE schema_version SET version = 2;
