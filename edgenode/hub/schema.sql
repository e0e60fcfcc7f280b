-- hub.db, version 1. Times are ns since 1970; digests are SHA-256.

CREATE TABLE nodes (
    id               INTEGER PRIMARY KEY,
    public_key       BLOB NOT NULL UNIQUE,
    name             TEXT NOT NULL,               -- as the last node document has it
    receipts         INTEGER NOT NULL DEFAULT 0,  -- counted in the transaction that stores them
    conflicts        INTEGER NOT NULL DEFAULT 0,
    last_received_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE node_documents (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    data   BLOB NOT NULL
) STRICT;

CREATE TABLE receipts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- the cursor of those who read back: it never comes twice
    node          INTEGER NOT NULL REFERENCES nodes,
    chain         BLOB NOT NULL,
    seq           INTEGER NOT NULL,
    digest        BLOB NOT NULL,
    job           BLOB,     -- of its core, or of its notice where that names one
    generation    INTEGER,
    step          INTEGER,
    revision      INTEGER,
    core          BLOB,     -- its digest; NULL when the receipt is of no step
    received_ns   INTEGER NOT NULL,
    node_document INTEGER NOT NULL REFERENCES node_documents,
    data          BLOB NOT NULL,
    UNIQUE (node, chain, seq)
) STRICT;

CREATE INDEX receipts_by_job ON receipts (job, id) WHERE job IS NOT NULL;
CREATE INDEX receipts_by_step ON receipts (job, node, generation, step, revision) WHERE core IS NOT NULL;

-- Evidence. 'core': a second answer of one node to the same step; both receipts are stored. 'seq': a second receipt in the same place of a
-- chain, which only a copied key or a restored state folder makes; it is rejected, and its bytes are kept here.
CREATE TABLE conflicts (
    id            INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('core', 'seq')),
    first         INTEGER NOT NULL REFERENCES receipts,
    second        INTEGER REFERENCES receipts,
    digest        BLOB NOT NULL UNIQUE,  -- of the second receipt
    received_ns   INTEGER NOT NULL,
    node_document INTEGER NOT NULL REFERENCES node_documents,
    data          BLOB,
    CHECK ((kind = 'core') = (second IS NOT NULL) AND (kind = 'seq') = (data IS NOT NULL))
) STRICT;
