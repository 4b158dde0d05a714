-- The outbox, version 2: what the first months at work taught. Every row of version 1 stays.

-- Receipts of files learn two things.
--
-- Whose they are: `inbox` is the random id that the inbox directory carries. A path is no identity: at a start before its disk is mounted it
-- names another, empty directory, in which no taken file is found, and receipts that were forgotten for that let every file be taken twice
-- once the disk is back. In the key, since two disks have the same inode numbers. Empty: of version 1, when directories had no id; the first
-- start gives it the one of the directory that is there.
--
-- What its lines were judged by: `result_bytes_max` is the `inbox.max_result_size` of the file's first reading, and holds until the file is
-- done. With another one, a line that was called bad would be good at the second reading, and be neither taken nor rejected. NULL: of
-- version 1.
--
-- Written anew, because SQLite cannot change a key.
CREATE TABLE receipt_file_2 (
    inbox            BLOB    NOT NULL CHECK (length(inbox) IN (0, 16)),
    name             BLOB    NOT NULL,
    inode            INTEGER NOT NULL,
    modified_ns      TEXT    NOT NULL,
    taken            INTEGER NOT NULL,
    lines            INTEGER NOT NULL,
    digest           BLOB    NOT NULL CHECK (length(digest) = 32),
    result_bytes_max INTEGER,
    PRIMARY KEY (inbox, name, inode)
) STRICT, WITHOUT ROWID;
INSERT INTO receipt_file_2 (inbox, name, inode, modified_ns, taken, lines, digest)
SELECT x'', name, inode, modified_ns, taken, lines, digest FROM receipt_file;
DROP TABLE receipt_file;
ALTER TABLE receipt_file_2 RENAME TO receipt_file;

-- Which submission took the place of this one: the last twin that came with its key, or with the token that an export wrote. Known here and not
-- only in its history, because the same export may be dropped twice: the second time finds the twin, and drops what the twin has already.
ALTER TABLE submission ADD COLUMN replaced_by INTEGER;
