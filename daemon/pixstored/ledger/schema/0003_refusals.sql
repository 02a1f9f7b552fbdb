-- What the store's answers have taught: by them a store that refuses everything is told from files it does not take.
PRAGMA user_version = 3;

ALTER TABLE store ADD COLUMN url TEXT; -- where it was when that was learned

-- Contents that were refused in a way that may be the store's own fault.
CREATE TABLE refusal (
    store_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    answered INTEGER NOT NULL DEFAULT 0 CHECK (answered IN (0, 1)), -- 1: something was published since
    put_back INTEGER NOT NULL DEFAULT 0 CHECK (put_back IN (0, 1)), -- 1: its files wait again, as it was the store
    PRIMARY KEY (store_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX refusal_in_a_row ON refusal (store_id, put_back)
WHERE answered = 0;

-- By extension (lower case, its dot included): how often it was refused with 415, and whether it was ever accepted.
CREATE TABLE extension_lesson (
    store_id INTEGER NOT NULL,
    extension BLOB NOT NULL,
    refused INTEGER NOT NULL,
    accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    PRIMARY KEY (store_id, extension)
) STRICT, WITHOUT ROWID;

-- The smallest file refused with 413 that is larger than all accepted ones, and the largest accepted one: bytes.
CREATE TABLE size_lesson (
    store_id INTEGER PRIMARY KEY,
    refused INTEGER,
    accepted INTEGER NOT NULL
) STRICT;

-- Contents that were sent a second time after an uncertain upload: not a third time.
CREATE TABLE resent (
    store_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (store_id, sha256)
) STRICT, WITHOUT ROWID;
