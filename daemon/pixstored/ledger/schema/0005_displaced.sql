-- Private (baseline) files whose path another file has taken: one that turns up under another name stays private.
PRAGMA user_version = 5;

-- By what a rename leaves as it is, and where they were: devices have other numbers after each start of the machine.
CREATE TABLE displaced (
    id INTEGER PRIMARY KEY, -- the oldest first
    store_id INTEGER NOT NULL REFERENCES store (id),
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns ANY NOT NULL CHECK (typeof(mtime_ns) IN ('integer', 'text')),
    device INTEGER NOT NULL,
    folder_id INTEGER NOT NULL REFERENCES folder (id),
    UNIQUE (store_id, inode, size, mtime_ns, device)
) STRICT;
