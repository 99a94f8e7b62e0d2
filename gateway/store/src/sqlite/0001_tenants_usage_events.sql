-- Moments are milliseconds since 1970-01-01T00:00:00Z. Lists and objects are JSON.
CREATE TABLE tenant (
    name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    namespaces TEXT NOT NULL CHECK (json_valid(namespaces)),
    limits TEXT NOT NULL CHECK (json_valid(limits)),
    revision INTEGER NOT NULL CHECK (revision > 0),
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
    id TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    tenant TEXT NOT NULL REFERENCES tenant (name) ON DELETE CASCADE,
    namespace TEXT,
    kind TEXT NOT NULL,
    verifier BLOB NOT NULL,
    root TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    scopes TEXT NOT NULL CHECK (json_valid(scopes)),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    successor TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX credential_tenant ON credential (tenant);

CREATE TABLE usage (
    hour_ms INTEGER NOT NULL CHECK (hour_ms % 3600000 = 0),
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    kernel TEXT NOT NULL,
    backend TEXT NOT NULL,
    outcome TEXT NOT NULL,
    billable INTEGER NOT NULL CHECK (billable IN (0, 1)),
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    device_us INTEGER NOT NULL,
    queue_us INTEGER NOT NULL,
    cpu_us INTEGER NOT NULL,
    reference_us INTEGER NOT NULL,
    fallbacks INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, tenant, namespace, kernel, backend, outcome, billable)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_tenant ON usage (tenant, hour_ms);

-- The last batches of usage that were added, so that one that is tried again is not added again.
CREATE TABLE usage_batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    batch BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    tenant TEXT,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE INDEX event_tenant ON event (tenant, sequence);
