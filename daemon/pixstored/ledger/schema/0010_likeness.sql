-- Private files by what they are known by where inodes are made up anew at each mount: their size and mtime.
PRAGMA user_version = 10;

CREATE INDEX file_private ON file (store_id, size, mtime_ns)
WHERE state = 'skipped' AND reason = 'baseline';

CREATE INDEX displaced_likeness ON displaced (store_id, size, mtime_ns);
