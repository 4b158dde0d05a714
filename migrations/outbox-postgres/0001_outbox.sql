-- The outbox in PostgreSQL, version 1. Forward only: once landed this file is never edited; what changes later is a new file beside it.
--
-- The program runs it in one transaction, in the schema that `outbox.schema` names (first in `search_path`), under an advisory lock:
-- several daemons may start at once on nothing. No triggers and no functions: two versions of the program may run beside one another.
--
-- Conventions, as in SQLite. Times are milliseconds since 1970 in UTC. Words are the contract's own, in the collation "C". Payloads, keys
-- and bodies are BYTEA, since TEXT cannot hold a NUL; the view `outbox` shows them as text. There are no foreign keys on what is written at
-- every step: each insert of a child would lock its parent's row and write WAL for it.

-- Drawn while the lane is locked, so that in each activity the order of numbers is the order of commits. Never given out twice.
CREATE SEQUENCE submission_id;

-- What was taken in. Wide, and written once.
CREATE TABLE submission (
    id                   bigint   NOT NULL PRIMARY KEY,
    created_at           bigint   NOT NULL,
    not_before           bigint,
    -- The twin that took its place last.
    replaced_by          bigint,
    activity_id          text COLLATE "C",
    provider_activity_id text COLLATE "C",
    commerce_external_id text COLLATE "C",
    -- The producer's key; at most one row holds it.
    submission_key       bytea,
    holds_key            boolean  NOT NULL DEFAULT false,
    digest               bytea    CHECK (octet_length(digest) = 32),
    source               text COLLATE "C",
    on_conflict          text COLLATE "C" CHECK (on_conflict IN ('override', 'park', 'dead_letter')),
    origin               text     NOT NULL,
    invalid              text,
    by_result_types      boolean  NOT NULL DEFAULT false,
    payload              bytea    NOT NULL,
    CHECK (NOT holds_key OR submission_key IS NOT NULL)
);
-- A long key would not fit into a row of an index.
CREATE UNIQUE INDEX submission_key ON submission (sha256(submission_key)) WHERE holds_key;
CREATE INDEX submission_by_result_types ON submission (id) WHERE by_result_types;

-- The activities of which a submission is kept, by 64 bits of a hash of their key. The row's lock is the mutex of its activity: whoever adds
-- a submission to it, or changes which of them is next, holds it. `delivered_id` is the newest delivered one: what makes an older one
-- superseded.
CREATE TABLE lane (
    lane         bigint NOT NULL PRIMARY KEY,
    delivered_id bigint
) WITH (fillfactor = 70);

-- What is not done with: next of its activity (`head`), behind another one (`waiting`), or claimed by a node (`sending`). Hot, and no larger
-- than the backlog; a final outcome moves the row to `settled`, and a requeue moves it back.
CREATE TABLE delivery (
    id               bigint   NOT NULL PRIMARY KEY,
    lane             bigint,
    next_at          bigint   NOT NULL,
    not_before       bigint,
    -- The waits served since it last started anew, up to the last claim.
    waited_ms        bigint   NOT NULL DEFAULT 0 CHECK (waited_ms >= 0),
    -- When the state last changed; of a sending one, when it was claimed.
    updated_at       bigint   NOT NULL,
    -- The incarnation that sends it.
    node             bigint,
    -- Claims over its whole life, the present one included: with the id, the node and the time of the claim the fence of every outcome.
    attempts         integer  NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Attempts charged since it last started anew, the present one included.
    tries            integer  NOT NULL DEFAULT 0 CHECK (tries >= 0),
    http_status      integer,
    hard_override    smallint NOT NULL DEFAULT 0 CHECK (hard_override IN (0, 1, 2)),
    lost_response    boolean  NOT NULL DEFAULT false,
    was_unauthorized boolean  NOT NULL DEFAULT false,
    requeued         boolean  NOT NULL DEFAULT false,
    state            text COLLATE "C" NOT NULL CHECK (state IN ('head', 'waiting', 'sending')),
    CHECK (state <> 'waiting' OR lane IS NOT NULL),
    CHECK ((state = 'sending') = (node IS NOT NULL))
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000, autovacuum_vacuum_cost_delay = 0);
-- The rule of the house, kept by the database itself: of one activity at most one may be sent or be next.
CREATE UNIQUE INDEX delivery_live ON delivery (lane) WHERE lane IS NOT NULL AND (state = 'head' OR state = 'sending');
-- Each predicate below has a word that only the statements made for it use: a planner without statistics then has no other choice.
CREATE INDEX delivery_waiting ON delivery (lane, id) WHERE lane IS NOT NULL AND state = 'waiting';
CREATE INDEX delivery_due ON delivery (requeued, next_at, id) WHERE state = 'head' AND not_before IS NULL;
CREATE INDEX delivery_held ON delivery (not_before, id) WHERE state = 'head' AND not_before IS NOT NULL;
CREATE INDEX delivery_probe ON delivery (tries, id) WHERE state = 'head' AND not_before IS NULL AND tries >= 0;
CREATE INDEX delivery_sending ON delivery (id) WHERE state = 'sending';

-- What is done with, until retention or a purge takes it away.
CREATE TABLE settled (
    id               bigint   NOT NULL PRIMARY KEY,
    lane             bigint,
    waited_ms        bigint   NOT NULL DEFAULT 0,
    updated_at       bigint   NOT NULL,
    attempts         integer  NOT NULL DEFAULT 0,
    tries            integer  NOT NULL DEFAULT 0,
    http_status      integer,
    hard_override    smallint NOT NULL DEFAULT 0,
    lost_response    boolean  NOT NULL DEFAULT false,
    was_unauthorized boolean  NOT NULL DEFAULT false,
    requeued         boolean  NOT NULL DEFAULT false,
    state            text COLLATE "C" NOT NULL CHECK (state IN ('delivered', 'dead', 'parked', 'dismissed')),
    reason           text COLLATE "C",
    CHECK (CASE state
        WHEN 'dead' THEN coalesce(reason IN ('rejected', 'invalid', 'conflict', 'retries_exhausted', 'unauthorized'), false)
        WHEN 'parked' THEN coalesce(reason IN ('conflict', 'conflict_after_lost_response'), false)
        ELSE reason IS NULL END)
);
CREATE INDEX settled_lane ON settled (lane, id) WHERE lane IS NOT NULL;
CREATE INDEX settled_dead ON settled (id) WHERE state = 'dead';
CREATE INDEX settled_parked ON settled (id) WHERE state = 'parked';
CREATE INDEX settled_delivered_since ON settled (updated_at, id) WHERE state = 'delivered';
CREATE INDEX settled_dismissed_since ON settled (updated_at, id) WHERE state = 'dismissed';
CREATE INDEX settled_dead_since ON settled (updated_at, id) WHERE state = 'dead';

-- Every attempt that ended.
CREATE TABLE attempt (
    submission    bigint  NOT NULL,
    number        integer NOT NULL,
    node          bigint,
    started_at    bigint  NOT NULL,
    elapsed_ms    bigint  NOT NULL,
    hard_override boolean NOT NULL,
    lost_response boolean NOT NULL,
    status        integer,
    body_length   bigint,
    outcome       text COLLATE "C" NOT NULL CHECK (outcome IN
        ('delivered', 'accepted', 'retry', 'override', 'dead', 'parked', 'released', 'interrupted')),
    headers       text,
    body          bytea,
    fault         text COLLATE "C" CHECK (fault IN ('dns', 'connect', 'tls', 'timeout', 'reset', 'cut_off', 'interrupted')),
    fault_message text,
    PRIMARY KEY (submission, number),
    CHECK ((body IS NULL) = (body_length IS NULL))
);

-- Every change that is no attempt.
CREATE TABLE history (
    submission  bigint NOT NULL,
    seq         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at          bigint NOT NULL,
    actor       text   NOT NULL,
    what        text   NOT NULL,
    detail      text,
    old_payload bytea,
    PRIMARY KEY (submission, seq)
);

-- What a refused key dead-lettered, by that key's scope: requeued, and forgotten, in the transaction that opens its gate.
CREATE TABLE episode (
    id    bigint NOT NULL PRIMARY KEY,
    scope text COLLATE "C" NOT NULL
);
CREATE INDEX episode_scope ON episode (scope, id);

-- Proofs that something was taken out of an inbox, under that inbox's own random id: every node has one.
CREATE TABLE receipt_file (
    inbox            bytea  NOT NULL CHECK (octet_length(inbox) IN (0, 16)),
    name             bytea  NOT NULL,
    inode            bigint NOT NULL,
    taken            bigint NOT NULL,
    lines            bigint NOT NULL,
    result_bytes_max bigint,
    modified_ns      text   NOT NULL,
    digest           bytea  NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (inbox, inode, name)
);
CREATE TABLE receipt_row (
    inbox  bytea  NOT NULL CHECK (octet_length(inbox) = 16),
    "row"  bigint NOT NULL,
    digest bytea  NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (inbox, "row", digest)
);

-- The few values that outlive a process. A name without `@` is everybody's; `name@…` is a node's or a key's. `turn` tells a beat that
-- something was written.
CREATE SEQUENCE memory_turn;
CREATE TABLE memory (
    name   text COLLATE "C" NOT NULL PRIMARY KEY,
    value  text    NOT NULL,
    at     bigint  NOT NULL,
    turn   bigint  NOT NULL DEFAULT nextval('memory_turn'),
    -- Of a gate: nothing is claimed in order while it is.
    closed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- How many are in each state: one row, and what came since, folded into it now and then. A row that every commit changed would make all nodes
-- queue behind one another's disk.
CREATE TABLE tally (
    pending   bigint NOT NULL,
    sending   bigint NOT NULL,
    delivered bigint NOT NULL,
    dead      bigint NOT NULL,
    parked    bigint NOT NULL,
    dismissed bigint NOT NULL
);
INSERT INTO tally VALUES (0, 0, 0, 0, 0, 0);
CREATE TABLE tally_delta (
    seq       bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pending   bigint NOT NULL,
    sending   bigint NOT NULL,
    delivered bigint NOT NULL,
    dead      bigint NOT NULL,
    parked    bigint NOT NULL,
    dismissed bigint NOT NULL
);

-- The daemons. A row is one incarnation: its beat goes up once a second, and who has not seen it go up for six fences it.
CREATE TABLE node (
    id         bigint  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at bigint  NOT NULL,
    beat       bigint  NOT NULL DEFAULT 0,
    -- When it last beat, by the database's clock: for people, never for a decision.
    seen_at    bigint  NOT NULL,
    -- When a gate with this key last let a result through.
    in_flight  integer NOT NULL DEFAULT 0,
    -- It must claim and settle nothing any more.
    fenced_at  bigint,
    -- It ended by itself, and left nothing behind.
    is_stopped boolean NOT NULL DEFAULT false,
    identity   bytea   NOT NULL CHECK (octet_length(identity) = 16),
    boot       text    NOT NULL,
    name       text    NOT NULL,
    version    text    NOT NULL,
    gate       text    NOT NULL DEFAULT 'open',
    scope      text COLLATE "C" NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

-- Whose departure is next, where `delivery.max_per_second` limits the whole outbox: microseconds since 1970.
CREATE TABLE pace (next_us bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO pace VALUES (0);

CREATE TABLE schema_version (
    application    text    NOT NULL,
    version        integer NOT NULL,
    -- The oldest version of the tables that a program may know and still work with these.
    oldest_version integer NOT NULL
);
INSERT INTO schema_version VALUES ('reten-outbox', 1, 1);

-- Where each submission is: of the six states of the contract, `head` and `waiting` are `pending`.
CREATE VIEW standing AS
SELECT id, lane, state, NULL::text COLLATE "C" AS reason, next_at, not_before AS held_until, waited_ms, updated_at, attempts, tries, http_status,
       hard_override, lost_response, was_unauthorized, requeued, node
  FROM delivery
UNION ALL
SELECT id, lane, state, reason, updated_at, NULL::bigint, waited_ms, updated_at, attempts, tries, http_status,
       hard_override, lost_response, was_unauthorized, requeued, NULL::bigint
  FROM settled;

-- For the person with psql. The program never reads it. What holds a NUL is shown with escapes, so that one row spoils no list.
CREATE VIEW outbox AS
SELECT d.id,
       CASE WHEN position('\x00'::bytea IN s.submission_key) = 0 THEN convert_from(s.submission_key, 'UTF8')
            ELSE encode(s.submission_key, 'escape') END AS key,
       s.activity_id,
       s.provider_activity_id,
       s.source,
       CASE WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END AS state,
       d.reason,
       d.attempts,
       d.http_status,
       CASE WHEN d.state IN ('head', 'waiting') THEN to_timestamp(greatest(d.next_at, coalesce(d.held_until, d.next_at)) / 1000.0) END AS next_attempt_at,
       to_timestamp(s.created_at / 1000.0) AS created_at,
       to_timestamp(d.updated_at / 1000.0) AS updated_at,
       n.name AS node,
       s.origin,
       s.invalid,
       CASE WHEN position('\x00'::bytea IN s.payload) = 0 THEN convert_from(s.payload, 'UTF8') ELSE encode(s.payload, 'escape') END AS payload
  FROM standing AS d JOIN submission AS s ON s.id = d.id LEFT JOIN node AS n ON n.id = d.node;
