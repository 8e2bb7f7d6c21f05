"""The tables of the state database. A row exists only after what it speaks of is on the disk.

names ----> images ----> layers <---- layer_blobs ----> blobs
              ^
containers ---+        container_volumes ----> volumes        leases ----> containers
build_cache --+        endpoints ----> networks, containers
              ^
states -------+        state_users ----> states        (their users are containers, and states)

endpoints say to which networks that somebody made containers belong, also while they don't run; leases hold
the addresses of those that do.

images.created is what the config says, images.added when the row came (both seconds since 1970). A hidden
image is a build's intermediate result: not listed, and gone with the last build_cache row or container that
needs it.
"""

from __future__ import annotations

VERSION = 3

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE layers (diff_id TEXT PRIMARY KEY, driver TEXT NOT NULL, size INTEGER NOT NULL,
    implied TEXT NOT NULL DEFAULT '[]', created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE layer_blobs (digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX layer_blobs_diff_id ON layer_blobs (diff_id);
CREATE TABLE images (id TEXT PRIMARY KEY, config TEXT NOT NULL, manifest TEXT, size INTEGER NOT NULL,
    created REAL NOT NULL, added REAL NOT NULL, hidden INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, image TEXT NOT NULL, manifest TEXT, updated REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX names_image ON names (image);
CREATE TABLE repo_digests (name TEXT NOT NULL, digest TEXT NOT NULL, image TEXT NOT NULL,
    PRIMARY KEY (name, digest)) WITHOUT ROWID;
CREATE INDEX repo_digests_image ON repo_digests (image);
CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT, status TEXT NOT NULL,
    created REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE volumes (name TEXT PRIMARY KEY, created REAL NOT NULL, anonymous INTEGER NOT NULL,
    labels TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE container_volumes (container TEXT NOT NULL, volume TEXT NOT NULL,
    PRIMARY KEY (container, volume)) WITHOUT ROWID;
CREATE TABLE leases (network TEXT NOT NULL, address TEXT NOT NULL, container TEXT NOT NULL,
    PRIMARY KEY (network, address)) WITHOUT ROWID;
CREATE INDEX leases_container ON leases (container);
CREATE TABLE build_cache (key TEXT PRIMARY KEY, image TEXT NOT NULL, created REAL NOT NULL,
    used REAL NOT NULL) WITHOUT ROWID;
"""

NETWORKS = """
CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL,
    created REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoints (network TEXT NOT NULL, container TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (network, container)) WITHOUT ROWID;
CREATE INDEX endpoints_container ON endpoints (container);
ALTER TABLE volumes ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
"""

STATES = """
CREATE TABLE states (id TEXT PRIMARY KEY, name TEXT UNIQUE, image TEXT NOT NULL, created REAL NOT NULL,
    record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state_users (user TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (user, state)) WITHOUT ROWID;
CREATE INDEX state_users_state ON state_users (state);
"""

# The statements that bring a database of version N to N + 1, by N.
MIGRATIONS: dict[int, str] = {0: SCHEMA, 1: NETWORKS, 2: STATES}


def steps(version: int) -> list[str]:
    """The scripts that bring a database of `version` to VERSION, in order."""
    return [MIGRATIONS[step] for step in range(version, VERSION)]
