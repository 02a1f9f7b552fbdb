-- Two facts, two tables: a file (a path at a store) points at a content (a SHA-256 at a store, with its link).
-- Paths, names of files and of watches are BLOBs (os.fsencode): not every name is UTF-8.
-- Times ending in _ns are of the file system, in nanoseconds; all others are seconds since the epoch, UTC.
-- Inodes and devices are unsigned; from 2^63 on they are kept as the signed number with the same bits. Times of
-- the file system beyond the year 2262 do not fit 64 bits: they are kept as decimal text.

PRAGMA application_id = 1885960307; -- "pixs"
PRAGMA user_version = 1;

CREATE TABLE store (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE folder (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    watch BLOB -- the name of the watch it lay in when last asked; NULL: never in one
) STRICT;

CREATE TABLE adoption (
    store_id INTEGER NOT NULL REFERENCES store (id),
    root BLOB NOT NULL,
    adopted_at_ns INTEGER NOT NULL,
    filesystem BLOB,
    PRIMARY KEY (store_id, root)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the id of a row that is gone must not come back while a worker still holds a claim on it.
CREATE TABLE file (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    store_id INTEGER NOT NULL REFERENCES store (id),
    folder_id INTEGER NOT NULL REFERENCES folder (id),
    name BLOB NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('pending', 'published', 'uncertain', 'rejected', 'failed', 'skipped', 'gone', 'withdrawn')
    ),
    reason TEXT,
    size INTEGER NOT NULL,
    mtime_ns ANY NOT NULL CHECK (typeof(mtime_ns) IN ('integer', 'text')),
    ctime_ns ANY NOT NULL CHECK (typeof(ctime_ns) IN ('integer', 'text')),
    inode INTEGER NOT NULL,
    device INTEGER NOT NULL,
    sha256 BLOB CHECK (length(sha256) = 32),
    lane INTEGER NOT NULL CHECK (lane IN (0, 1)), -- 0 fresh, 1 backlog
    position INTEGER, -- in the queue, smallest first: the arrival of a fresh file, minus the mtime of another
    parked INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
    loose INTEGER NOT NULL DEFAULT 0 CHECK (loose IN (0, 1)), -- asked for by name: belongs to no watch
    missing_at REAL,
    seen_at REAL NOT NULL, -- first seen as it is
    changed_at REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at REAL,
    UNIQUE (store_id, folder_id, name),
    CHECK ((state = 'pending') = (position IS NOT NULL)),
    CHECK (state = 'pending' OR (parked = 0 AND next_try_at IS NULL)),
    CHECK (state NOT IN ('published', 'withdrawn') OR sha256 IS NOT NULL)
) STRICT;

CREATE INDEX file_queue ON file (store_id, lane, position, parked, next_try_at, size, sha256)
WHERE state = 'pending';

CREATE INDEX file_small ON file (store_id, size)
WHERE state = 'pending' AND parked = 0 AND lane = 1;

CREATE INDEX file_due ON file (store_id, next_try_at)
WHERE state = 'pending' AND parked = 0 AND next_try_at IS NOT NULL;

CREATE INDEX file_oldest ON file (store_id, changed_at)
WHERE state = 'pending';

CREATE INDEX file_pending_content ON file (store_id, sha256)
WHERE state = 'pending' AND sha256 IS NOT NULL;

CREATE INDEX file_rejected ON file (store_id, sha256)
WHERE state = 'rejected';

CREATE INDEX file_failed ON file (store_id)
WHERE state = 'failed';

CREATE INDEX file_loose ON file (folder_id)
WHERE loose = 1;

CREATE INDEX file_unwatched ON file (folder_id)
WHERE state = 'skipped' AND reason = 'watch removed';

CREATE INDEX file_inode ON file (store_id, inode);

-- The primary key is the promise: nothing is uploaded twice.
CREATE TABLE content (
    store_id INTEGER NOT NULL REFERENCES store (id),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    state TEXT NOT NULL CHECK (state IN ('sent', 'published', 'uncertain', 'withdrawn')),
    size INTEGER NOT NULL,
    link TEXT,
    remote_id TEXT, -- NULL: the last path segment of the link
    comment TEXT,
    file_id INTEGER, -- the file that carried it
    sent_at REAL,
    published_at REAL,
    why TEXT,
    PRIMARY KEY (store_id, sha256),
    CHECK (state <> 'published' OR (link IS NOT NULL AND published_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX content_sent ON content (store_id)
WHERE state = 'sent';

-- A content a path had before; the path has other content by now.
CREATE TABLE superseded (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES store (id),
    folder_id INTEGER NOT NULL REFERENCES folder (id),
    name BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    at REAL NOT NULL,
    UNIQUE (store_id, folder_id, name, sha256)
) STRICT;

-- How the tries ended of what did not succeed at once.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    file_id INTEGER NOT NULL REFERENCES file (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('published', 'uncertain', 'rejected', 'postponed', 'failed')),
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX attempt_file ON attempt (file_id);

-- How long fresh files took from their last change to their link; only of the last days.
CREATE TABLE delay (
    store_id INTEGER NOT NULL,
    at REAL NOT NULL,
    file_id INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (store_id, at, file_id)
) STRICT, WITHOUT ROWID;

-- The sizes contents have or had: a file of another size cannot be a duplicate. An index of `content` would
-- carry its whole primary key a second time.
CREATE TABLE content_size (
    store_id INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (store_id, size)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER content_size_known AFTER INSERT ON content BEGIN
    INSERT INTO content_size (store_id, size) VALUES (new.store_id, new.size)
    ON CONFLICT DO NOTHING;
END;

-- Counts kept as they change: a million rows are not counted again for each `status`.
CREATE TABLE tally (
    store_id INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('file', 'content')),
    state TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (store_id, kind, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER file_came AFTER INSERT ON file BEGIN
    INSERT INTO tally (store_id, kind, state, n)
    VALUES (new.store_id, 'file', iif(new.parked, 'settling', new.state), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER file_changed AFTER UPDATE OF state, parked ON file
WHEN old.state <> new.state OR old.parked <> new.parked BEGIN
    UPDATE tally SET n = n - 1
    WHERE store_id = old.store_id AND kind = 'file' AND state = iif(old.parked, 'settling', old.state);
    INSERT INTO tally (store_id, kind, state, n)
    VALUES (new.store_id, 'file', iif(new.parked, 'settling', new.state), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER file_went AFTER DELETE ON file BEGIN
    UPDATE tally SET n = n - 1
    WHERE store_id = old.store_id AND kind = 'file' AND state = iif(old.parked, 'settling', old.state);
END;

CREATE TRIGGER content_came AFTER INSERT ON content BEGIN
    INSERT INTO tally (store_id, kind, state, n) VALUES (new.store_id, 'content', new.state, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER content_changed AFTER UPDATE OF state ON content
WHEN old.state <> new.state BEGIN
    UPDATE tally SET n = n - 1 WHERE store_id = old.store_id AND kind = 'content' AND state = old.state;
    INSERT INTO tally (store_id, kind, state, n) VALUES (new.store_id, 'content', new.state, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER content_went AFTER DELETE ON content BEGIN
    UPDATE tally SET n = n - 1 WHERE store_id = old.store_id AND kind = 'content' AND state = old.state;
END;

-- `model.Known` of every file, in the order of `sqlite_values.known_of`; then what it is looked up by.
CREATE VIEW known AS
SELECT
    file.id, folder.path AS folder, file.name, file.state, file.reason,
    file.size, file.mtime_ns, file.ctime_ns, file.inode, file.device,
    file.sha256, file.missing_at IS NOT NULL AS missing, file.parked,
    file.store_id, file.folder_id
FROM file JOIN folder ON folder.id = file.folder_id;

-- `model.Link` of files that have one now, in the order of `sqlite_values.link_of`; then what it is chosen by.
CREATE VIEW linked AS
SELECT
    file.id, folder.path AS folder, file.name, content.link, content.remote_id, content.sha256, content.size,
    content.published_at, iif(file.loose, NULL, folder.watch) AS watch, content.comment, store.name AS store,
    file.state, file.store_id
FROM file
JOIN folder ON folder.id = file.folder_id
JOIN store ON store.id = file.store_id
JOIN content ON content.store_id = file.store_id AND content.sha256 = file.sha256
WHERE file.state IN ('published', 'withdrawn') AND content.link IS NOT NULL AND content.published_at IS NOT NULL;

-- The same of what was superseded.
CREATE VIEW linked_before AS
SELECT
    superseded.id, folder.path AS folder, superseded.name, content.link, content.remote_id, content.sha256,
    content.size, content.published_at, folder.watch, content.comment, store.name AS store,
    iif(content.state = 'withdrawn', 'withdrawn', 'superseded') AS state, superseded.store_id
FROM superseded
JOIN folder ON folder.id = superseded.folder_id
JOIN store ON store.id = superseded.store_id
JOIN content ON content.store_id = superseded.store_id AND content.sha256 = superseded.sha256
WHERE content.link IS NOT NULL AND content.published_at IS NOT NULL;
