"""The messages of BuildKit's protocol, with the fields that are used here.

api/services/control, frontend/gateway/pb, session/*, solver/pb of moby/buildkit; types of tonistiigi/fsutil;
google/rpc/status.proto.
"""

from __future__ import annotations

from estiva.api.buildkit.wire import BOOL, BYTES, INT, TEXT, Schema

EMPTY = Schema({})
TIMESTAMP = Schema({"seconds": (1, INT), "nanos": (2, INT)})
ANY = Schema({"url": (1, TEXT), "value": (2, BYTES)})
STATUS = Schema({"code": (1, INT), "message": (2, TEXT), "details": (3, [ANY])})
HEALTH = Schema({"status": (1, INT)})
CHUNK = Schema({"data": (1, BYTES)})  # BytesMessage of several services

# --- solver/pb ---
PLATFORM = Schema({"architecture": (1, TEXT), "os": (2, TEXT), "variant": (3, TEXT)})
SOURCE_OP = Schema({"identifier": (1, TEXT), "attrs": (2, {TEXT: TEXT})})
INPUT = Schema({"digest": (1, TEXT), "index": (2, INT)})
COPY = Schema({"src": (1, TEXT), "dest": (2, TEXT)})
FILE_OP = Schema({"actions": (2, [Schema({"copy": (4, COPY)})])})
OP = Schema(
    {"inputs": (1, [INPUT]), "source": (3, SOURCE_OP), "file": (4, FILE_OP), "platform": (10, PLATFORM)}
)
OP_METADATA = Schema({"caps": (5, {TEXT: BOOL})})
DEFINITION = Schema({"def": (1, [BYTES]), "metadata": (2, {TEXT: OP_METADATA})})
SOURCE_INFO = Schema({"filename": (1, TEXT), "data": (2, BYTES), "language": (4, TEXT)})
POSITION = Schema({"line": (1, INT), "character": (2, INT)})
RANGE = Schema({"start": (1, POSITION), "end": (2, POSITION)})

# --- api/types, api/services/control ---
VERSION = Schema({"package": (1, TEXT), "version": (2, TEXT), "revision": (3, TEXT)})
WORKER = Schema(
    {
        "id": (1, TEXT),
        "labels": (2, {TEXT: TEXT}),
        "platforms": (3, [PLATFORM]),
        "version": (5, VERSION),
    }
)
WORKERS = Schema({"record": (1, [WORKER])})
INFO = Schema({"version": (1, VERSION)})
EXPORTER = Schema({"type": (1, TEXT), "attrs": (2, {TEXT: TEXT})})
CACHE_ENTRY = EXPORTER
CACHE = Schema({"exports": (4, [CACHE_ENTRY]), "imports": (5, [CACHE_ENTRY])})
SOLVE = Schema(
    {
        "ref": (1, TEXT),
        "definition": (2, DEFINITION),
        "exporter": (3, TEXT),
        "exporter_attrs": (4, {TEXT: TEXT}),
        "session": (5, TEXT),
        "frontend": (6, TEXT),
        "attrs": (7, {TEXT: TEXT}),
        "cache": (8, CACHE),
        "entitlements": (9, [TEXT]),
        "inputs": (10, {TEXT: DEFINITION}),
        "policy": (12, BYTES),
        "exporters": (13, [EXPORTER]),
    }
)
SOLVED = Schema({"response": (1, {TEXT: TEXT})})
BY_REF = Schema({"ref": (1, TEXT)})  # StatusRequest, EvaluateRequest, UpdateBuildHistoryRequest
VERTEX = Schema(
    {
        "digest": (1, TEXT),
        "inputs": (2, [TEXT]),
        "name": (3, TEXT),
        "cached": (4, BOOL),
        "started": (5, TIMESTAMP),
        "completed": (6, TIMESTAMP),
        "error": (7, TEXT),
    }
)
VERTEX_STATUS = Schema(
    {
        "id": (1, TEXT),
        "vertex": (2, TEXT),
        "name": (3, TEXT),
        "current": (4, INT),
        "total": (5, INT),
        "timestamp": (6, TIMESTAMP),
        "started": (7, TIMESTAMP),
        "completed": (8, TIMESTAMP),
    }
)
VERTEX_LOG = Schema({"vertex": (1, TEXT), "timestamp": (2, TIMESTAMP), "stream": (3, INT), "msg": (4, BYTES)})
VERTEX_WARNING = Schema(
    {
        "vertex": (1, TEXT),
        "level": (2, INT),
        "short": (3, BYTES),
        "detail": (4, [BYTES]),
        "url": (5, TEXT),
        "info": (6, SOURCE_INFO),
        "ranges": (7, [RANGE]),
    }
)
PROGRESS = Schema(
    {
        "vertexes": (1, [VERTEX]),
        "statuses": (2, [VERTEX_STATUS]),
        "logs": (3, [VERTEX_LOG]),
        "warnings": (4, [VERTEX_WARNING]),
    }
)
PRUNE = Schema(
    {
        "filter": (1, [TEXT]),
        "all": (2, BOOL),
        "keep_duration": (3, INT),
        "keep_bytes": (4, INT),
        "most": (5, INT),
        "free": (6, INT),
    }
)
USAGE = Schema(
    {
        "id": (1, TEXT),
        "mutable": (2, BOOL),
        "in_use": (3, BOOL),
        "size": (4, INT),
        "created": (6, TIMESTAMP),
        "used": (7, TIMESTAMP),
        "count": (8, INT),
        "description": (9, TEXT),
        "type": (10, TEXT),
        "shared": (11, BOOL),
    }
)
DISK_USAGE = Schema({"filter": (1, [TEXT])})
DISK_USED = Schema({"record": (1, [USAGE])})

# --- frontend/gateway/pb ---
CAP = Schema({"id": (1, TEXT), "enabled": (2, BOOL)})
PONG = Schema({"frontend": (1, [CAP]), "llb": (2, [CAP]), "workers": (3, [WORKER])})
REF = Schema({"id": (1, TEXT), "def": (2, DEFINITION)})
REFS = Schema({"refs": (1, {TEXT: REF})})
RESULT = Schema({"ref": (3, REF), "refs": (4, REFS), "metadata": (10, {TEXT: BYTES})})
RETURN = Schema({"result": (1, RESULT), "error": (2, STATUS)})
BRIDGE_SOLVE = Schema(
    {
        "definition": (1, DEFINITION),
        "frontend": (2, TEXT),
        "opt": (3, {TEXT: TEXT}),
        "imports": (12, [CACHE_ENTRY]),
        "inputs": (13, {TEXT: DEFINITION}),
        "evaluate": (14, BOOL),
        "policies": (15, [BYTES]),
    }
)
BRIDGE_SOLVED = Schema({"result": (3, RESULT)})
RESOLVE_IMAGE = Schema({"ref": (1, TEXT), "platform": (2, PLATFORM), "mode": (3, TEXT)})
RESOLVED_IMAGE = Schema({"digest": (1, TEXT), "config": (2, BYTES), "ref": (3, TEXT)})
FILE_RANGE = Schema({"offset": (1, INT), "length": (2, INT)})
FILE_REQUEST = Schema({"ref": (1, TEXT), "path": (2, TEXT), "range": (3, FILE_RANGE)})

# --- session ---
STAT = Schema(
    {
        "path": (1, TEXT),
        "mode": (2, INT),
        "uid": (3, INT),
        "gid": (4, INT),
        "size": (5, INT),
        "mtime": (6, INT),
        "link": (7, TEXT),
        "xattrs": (10, {TEXT: BYTES}),
    }
)
FILE = Schema({"data": (1, BYTES)})
FILE_STAT = Schema({"stat": (1, STAT)})
PACKET = Schema({"type": (1, INT), "stat": (2, STAT), "id": (3, INT), "data": (4, BYTES)})
PACKET_STAT, PACKET_REQ, PACKET_DATA, PACKET_FIN, PACKET_ERR = range(5)
HOST = Schema({"host": (1, TEXT)})
CREDENTIALS = Schema({"user": (1, TEXT), "secret": (2, TEXT)})
SECRET_REQUEST = Schema({"id": (1, TEXT)})
AGENT_REQUEST = SECRET_REQUEST

# --- containerd's content service ---
CONTENT_READ = Schema({"digest": (1, TEXT), "offset": (2, INT), "size": (3, INT)})
CONTENT_READING = Schema({"offset": (1, INT), "data": (2, BYTES)})
CONTENT_WRITE = Schema(
    {
        "action": (1, INT),
        "ref": (2, TEXT),
        "total": (3, INT),
        "expected": (4, TEXT),
        "offset": (5, INT),
        "data": (6, BYTES),
    }
)
CONTENT_WRITTEN = Schema({"action": (1, INT), "offset": (4, INT), "digest": (6, TEXT)})
