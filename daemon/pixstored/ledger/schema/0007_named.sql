-- Files that somebody asked for by name (`publish PATH`): the rules of their watch do not turn them away.
PRAGMA user_version = 7;

CREATE TABLE named (
    file_id INTEGER PRIMARY KEY REFERENCES file (id) ON DELETE CASCADE
) STRICT;
