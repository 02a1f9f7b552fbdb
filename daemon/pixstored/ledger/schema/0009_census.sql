-- The counts of a store in one row, which is changed where it stands: a row for each state was looked for, taken out and
-- put in again four times a file, which was a tenth of what SQLite was busy with (measured).
PRAGMA user_version = 9;

CREATE TABLE census (
    store_id INTEGER PRIMARY KEY,
    -- files; a parked one is settling
    settling INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    published INTEGER NOT NULL DEFAULT 0,
    uncertain INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    contents_published INTEGER NOT NULL DEFAULT 0,
    contents_uncertain INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO census
SELECT
    store.id,
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'settling'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'pending'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'published'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'uncertain'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'rejected'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'failed'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'skipped'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'gone'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'file' AND state = 'withdrawn'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'content' AND state = 'published'), 0),
    coalesce((SELECT n FROM tally WHERE store_id = store.id AND kind = 'content' AND state = 'uncertain'), 0)
FROM store;

DROP TRIGGER file_came;
DROP TRIGGER file_changed;
DROP TRIGGER file_went;
DROP TRIGGER content_came;
DROP TRIGGER content_changed;
DROP TRIGGER content_went;
DROP TABLE tally;

CREATE TRIGGER store_came AFTER INSERT ON store BEGIN
    INSERT INTO census (store_id) VALUES (new.id);
END;

CREATE TRIGGER file_came AFTER INSERT ON file BEGIN
    UPDATE census SET
        settling = settling + new.parked,
        pending = pending + (new.state = 'pending') - new.parked,
        published = published + (new.state = 'published'),
        uncertain = uncertain + (new.state = 'uncertain'),
        rejected = rejected + (new.state = 'rejected'),
        failed = failed + (new.state = 'failed'),
        skipped = skipped + (new.state = 'skipped'),
        gone = gone + (new.state = 'gone'),
        withdrawn = withdrawn + (new.state = 'withdrawn')
    WHERE store_id = new.store_id;
END;

CREATE TRIGGER file_changed AFTER UPDATE OF state, parked ON file
WHEN old.state <> new.state OR old.parked <> new.parked BEGIN
    UPDATE census SET
        settling = settling + new.parked - old.parked,
        pending = pending + (new.state = 'pending') - new.parked - (old.state = 'pending') + old.parked,
        published = published + (new.state = 'published') - (old.state = 'published'),
        uncertain = uncertain + (new.state = 'uncertain') - (old.state = 'uncertain'),
        rejected = rejected + (new.state = 'rejected') - (old.state = 'rejected'),
        failed = failed + (new.state = 'failed') - (old.state = 'failed'),
        skipped = skipped + (new.state = 'skipped') - (old.state = 'skipped'),
        gone = gone + (new.state = 'gone') - (old.state = 'gone'),
        withdrawn = withdrawn + (new.state = 'withdrawn') - (old.state = 'withdrawn')
    WHERE store_id = new.store_id;
END;

CREATE TRIGGER file_went AFTER DELETE ON file BEGIN
    UPDATE census SET
        settling = settling - old.parked,
        pending = pending - (old.state = 'pending') + old.parked,
        published = published - (old.state = 'published'),
        uncertain = uncertain - (old.state = 'uncertain'),
        rejected = rejected - (old.state = 'rejected'),
        failed = failed - (old.state = 'failed'),
        skipped = skipped - (old.state = 'skipped'),
        gone = gone - (old.state = 'gone'),
        withdrawn = withdrawn - (old.state = 'withdrawn')
    WHERE store_id = old.store_id;
END;

CREATE TRIGGER content_came AFTER INSERT ON content BEGIN
    DELETE FROM sent WHERE store_id = new.store_id AND sha256 = new.sha256;
    INSERT INTO content_size (store_id, size) VALUES (new.store_id, new.size)
    ON CONFLICT DO NOTHING;
    UPDATE census SET
        contents_published = contents_published + (new.state = 'published'),
        contents_uncertain = contents_uncertain + (new.state = 'uncertain')
    WHERE store_id = new.store_id;
END;

CREATE TRIGGER content_changed AFTER UPDATE OF state ON content
WHEN old.state <> new.state BEGIN
    UPDATE census SET
        contents_published = contents_published + (new.state = 'published') - (old.state = 'published'),
        contents_uncertain = contents_uncertain + (new.state = 'uncertain') - (old.state = 'uncertain')
    WHERE store_id = new.store_id;
END;

CREATE TRIGGER content_went AFTER DELETE ON content BEGIN
    UPDATE census SET
        contents_published = contents_published - (old.state = 'published'),
        contents_uncertain = contents_uncertain - (old.state = 'uncertain')
    WHERE store_id = old.store_id;
END;
