-- The last batches of events that were appended, so that one that is tried again is not appended again.
CREATE TABLE event_batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    batch BLOB NOT NULL UNIQUE
) STRICT;

-- Names of the tenants that were removed last, and not made again.
CREATE TABLE removed_tenant (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;
