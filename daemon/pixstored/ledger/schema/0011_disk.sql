-- When each disk that was seen under a watched folder was adopted there: cards take turns in one place.
PRAGMA user_version = 11;

CREATE TABLE disk (
    store_id INTEGER NOT NULL REFERENCES store (id),
    root BLOB NOT NULL,
    identity BLOB NOT NULL, -- as at the beginning of `adoption.filesystem`
    adopted_at_ns INTEGER NOT NULL,
    PRIMARY KEY (store_id, root, identity)
) STRICT, WITHOUT ROWID;

INSERT INTO disk (store_id, root, identity, adopted_at_ns)
SELECT store_id, root, CAST(substr(noted, 1, instr(noted || ' at /', ' at /') - 1) AS BLOB), adopted_at_ns
FROM (SELECT store_id, root, adopted_at_ns, CAST(filesystem AS TEXT) AS noted FROM adoption)
WHERE noted IS NOT NULL AND noted NOT LIKE '? at %';
