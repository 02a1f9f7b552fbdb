-- The links file as it was left, when it told of every link: at most one row, and none while somebody may add links.
PRAGMA user_version = 4;

CREATE TABLE links_file (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    looked TEXT NOT NULL
) STRICT;
