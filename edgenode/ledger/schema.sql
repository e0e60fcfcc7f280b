-- The durable record of a node. Times are ns since 1970, digests and ids raw bytes.

CREATE TABLE chain (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  chain BLOB NOT NULL,            -- random, new at init and at restore
  next_seq INTEGER NOT NULL,
  prev BLOB NOT NULL              -- digest of the newest receipt
) STRICT;

CREATE TABLE manifests (
  digest BLOB PRIMARY KEY,        -- of the signed bytes
  name TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  module BLOB NOT NULL,           -- digest of the wasm, which lies in modules/
  data BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_name ON manifests (name, sequence);

CREATE TABLE jobs (
  id BLOB PRIMARY KEY,
  generation INTEGER NOT NULL,
  digest BLOB NOT NULL,           -- of the signed bytes
  data BLOB NOT NULL,
  manifest BLOB NOT NULL,         -- digest of the one that the reference meant when the job was accepted; empty for a stop
  accepted_ns INTEGER NOT NULL,   -- fixes the span of a job over "the last 60 s"
  steps INTEGER NOT NULL,         -- how many there will be
  next_step INTEGER NOT NULL,     -- the cursor
  state TEXT NOT NULL,            -- open, done, stopped, failed, quarantined
  reason TEXT NOT NULL,           -- why it stopped or failed
  failures INTEGER NOT NULL,      -- guest failures in a row
  guest_state BLOB NOT NULL,
  start_by INTEGER NOT NULL       -- s; until then the row stays, so that the same job is not taken twice
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs (state, accepted_ns);

CREATE TABLE receipts (
  chain BLOB NOT NULL,
  seq INTEGER NOT NULL,
  digest BLOB NOT NULL,
  job BLOB,
  generation INTEGER,
  step INTEGER,
  data BLOB NOT NULL,
  PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_job ON receipts (job, seq);

CREATE TABLE outbox (             -- receipts not yet acknowledged upstream
  chain BLOB NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejected (           -- receipts that the hub will never take, and why
  chain BLOB NOT NULL,
  seq INTEGER NOT NULL,
  code TEXT NOT NULL,
  PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE derived (            -- samples that a step made, until samples.db has them
  job BLOB NOT NULL,
  generation INTEGER NOT NULL,
  step INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (job, generation, step, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE relays (             -- which nodes this one passed a job on to
  job BLOB NOT NULL,
  generation INTEGER NOT NULL,
  node BLOB NOT NULL,
  state TEXT NOT NULL,            -- asked, refused, unreachable
  reason TEXT NOT NULL,
  PRIMARY KEY (job, generation, node)
) STRICT;                         -- with rowids: the oldest go first
