-- Files that wait though their path had a link: they were only touched, perhaps, so they are hashed whether or not
-- anything may be sent.
PRAGMA user_version = 6;

ALTER TABLE file ADD COLUMN had_link INTEGER NOT NULL DEFAULT 0 CHECK (had_link IN (0, 1));

UPDATE file SET had_link = 1
WHERE state = 'pending' AND EXISTS (
    SELECT 1 FROM superseded
    WHERE superseded.store_id = file.store_id AND superseded.folder_id = file.folder_id AND superseded.name = file.name
);

CREATE INDEX file_recheck ON file (store_id)
WHERE state = 'pending' AND had_link = 1 AND parked = 0 AND sha256 IS NULL AND next_try_at IS NULL;
