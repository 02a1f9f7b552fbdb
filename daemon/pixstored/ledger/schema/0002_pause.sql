-- Somebody has asked that nothing be sent for a while: at most one row.
PRAGMA user_version = 2;

CREATE TABLE pause (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    since REAL NOT NULL,
    until REAL -- NULL: until somebody says so
) STRICT;
