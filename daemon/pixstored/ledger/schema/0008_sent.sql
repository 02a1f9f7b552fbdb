-- What is noted before the last bytes of a request go, in a table of its own: as small as there are uploads on their
-- way, and a content is written once, when it is known what became of it. As a state of `content` the note was written
-- there first, by its hash, so at another place of the file for each: a third of all that was written (measured).
PRAGMA user_version = 8;

-- A content that may be at the store, and nobody knows yet. It is either here or in `content`, never in both.
CREATE TABLE sent (
    store_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    size INTEGER NOT NULL,
    comment TEXT,
    file_id INTEGER NOT NULL, -- the file that carries it
    unchanged INTEGER NOT NULL CHECK (unchanged IN (0, 1)), -- 1: its row still tells of what is sent
    sent_at REAL NOT NULL,
    PRIMARY KEY (store_id, sha256)
) STRICT, WITHOUT ROWID;

INSERT INTO sent (store_id, sha256, size, comment, file_id, unchanged, sent_at)
SELECT store_id, sha256, size, comment, file_id, 0, sent_at FROM content WHERE state = 'sent';

DELETE FROM content WHERE state = 'sent';

DROP INDEX content_sent;

-- The promise: what is known is not sent.
CREATE TRIGGER sent_unless_known BEFORE INSERT ON sent
WHEN EXISTS (SELECT 1 FROM content WHERE store_id = new.store_id AND sha256 = new.sha256) BEGIN
    SELECT raise(IGNORE);
END;

-- One trigger instead of two: each is a program of its own for SQLite.
DROP TRIGGER content_size_known;
DROP TRIGGER content_came;

CREATE TRIGGER content_came AFTER INSERT ON content BEGIN
    DELETE FROM sent WHERE store_id = new.store_id AND sha256 = new.sha256;
    INSERT INTO content_size (store_id, size) VALUES (new.store_id, new.size)
    ON CONFLICT DO NOTHING;
    INSERT INTO tally (store_id, kind, state, n) VALUES (new.store_id, 'content', new.state, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;

-- What is known of a content at a store, wherever it stands.
CREATE VIEW content_known AS
SELECT store_id, sha256, state, link, why FROM content
UNION ALL
SELECT store_id, sha256, 'sent', NULL, NULL FROM sent;
