-- Contents that the store refused, and under which extension: they stay refused there, whatever becomes of the file that
-- was refused (it is touched, changed, or renamed), until somebody asks for another try.
PRAGMA user_version = 12;

CREATE TABLE refused (
    store_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    extension BLOB NOT NULL, -- lower case, its dot included
    reason TEXT,
    PRIMARY KEY (store_id, sha256, extension)
) STRICT, WITHOUT ROWID;

-- What is behind the last dot of a name, unless only dots are before it: `rtrim` leaves what is up to that dot. (`lower`
-- knows ASCII only: a file with another extension in capitals may be sent once more.)
INSERT INTO refused (store_id, sha256, extension, reason)
SELECT
    store_id, sha256,
    iif(trim(until_dot, '.') = '', x'', CAST(lower(substr(name, length(until_dot))) AS BLOB)),
    reason
FROM (
    SELECT store_id, sha256, name, rtrim(name, replace(name, '.', '')) AS until_dot, reason
    FROM (
        SELECT store_id, sha256, CAST(name AS TEXT) AS name, reason FROM file
        WHERE state = 'rejected' AND sha256 IS NOT NULL
    )
)
WHERE true ON CONFLICT DO NOTHING;

-- They are hashed before they are sent.
INSERT INTO content_size (store_id, size)
SELECT store_id, size FROM file WHERE state = 'rejected' AND sha256 IS NOT NULL
ON CONFLICT DO NOTHING;
