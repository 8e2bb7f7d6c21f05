"""Which module answers which request: modules are loaded with the first request for something of theirs, so
that a server is ready at once and keeps only what is used. A test compares this with the ROUTES of all."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "system": ("GET /_ping", "HEAD /_ping", "GET /version", "GET /info"),
    "auth": ("POST /auth",),
    "builds.route": ("POST /build", "POST /build/prune", "POST /build/cancel"),
    "buildkit.routes": ("POST /grpc", "POST /session"),
    "containers.archive": (
        "HEAD /containers/{id}/archive", "GET /containers/{id}/archive",
        "PUT /containers/{id}/archive",
    ),
    "containers.contents": ("GET /containers/{id}/changes", "GET /containers/{id}/export", "POST /commit"),
    "containers.create": ("POST /containers/create",),
    "containers.exec": (
        "POST /containers/{id}/exec", "POST /exec/{id}/start", "POST /exec/{id}/resize",
        "GET /exec/{id}/json",
    ),
    "containers.life": (
        "POST /containers/{id}/start", "POST /containers/{id}/stop",
        "POST /containers/{id}/restart", "POST /containers/{id}/kill", "POST /containers/{id}/wait",
        "POST /containers/{id}/pause", "POST /containers/{id}/unpause",
        "POST /containers/{id}/rename", "DELETE /containers/{id}",
        "DELETE /containers/{id}/{alias}",
    ),
    "containers.logs": ("GET /containers/{id}/logs",),
    "containers.look": ("GET /containers/json", "GET /containers/{id}/json", "GET /containers/{id}/top"),
    "containers.prune": ("POST /containers/prune",),
    "containers.stats": ("GET /containers/{id}/stats",),
    "containers.streams": (
        "POST /containers/{id}/attach", "GET /containers/{id}/attach/ws",
        "POST /containers/{id}/resize",
    ),
    "containers.update": ("POST /containers/{id}/update",),
    "distribution": ("GET /distribution/{name:.+}/json",),
    "events": ("GET /events",),
    "images.archives": ("GET /images/get", "POST /images/load", "GET /images/{name:.+}/get"),
    "images.change": ("POST /images/prune", "POST /images/{name:.+}/tag", "DELETE /images/{name:.+}"),
    "images.disk": ("GET /system/df",),
    "images.look": ("GET /images/json", "GET /images/{name:.+}/json", "GET /images/{name:.+}/history"),
    "images.registry": ("POST /images/create", "GET /images/search", "POST /images/{name:.+}/push"),
    "networks": (
        "GET /networks", "GET /networks/", "POST /networks/create", "POST /networks/prune",
        "GET /networks/{id}", "DELETE /networks/{id}", "POST /networks/{id}/connect",
        "POST /networks/{id}/disconnect",
    ),
    "swarm": (
        "POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "GET /swarm",
        "GET /swarm/unlockkey", "POST /swarm/unlock", "POST /swarm/update",
        "GET /services/{id}/logs", "GET /nodes", "GET /nodes/{id}", "DELETE /nodes/{id}",
        "POST /nodes/{id}/update", "GET /services", "GET /services/{id}", "DELETE /services/{id}",
        "POST /services/{id}/update", "POST /services/create", "GET /tasks", "GET /tasks/{id}",
        "GET /tasks/{id}/logs", "GET /secrets", "GET /secrets/{id}", "DELETE /secrets/{id}",
        "POST /secrets/{id}/update", "POST /secrets/create", "GET /configs", "GET /configs/{id}",
        "DELETE /configs/{id}", "POST /configs/{id}/update", "POST /configs/create", "GET /plugins",
        "GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create",
        "GET /plugins/{name:.+}/json", "DELETE /plugins/{name:.+}",
        "POST /plugins/{name:.+}/enable", "POST /plugins/{name:.+}/disable",
        "POST /plugins/{name:.+}/upgrade", "POST /plugins/{name:.+}/push",
        "POST /plugins/{name:.+}/set",
    ),
    "volumes": (
        "GET /volumes", "POST /volumes/create", "POST /volumes/prune", "GET /volumes/{name}",
        "PUT /volumes/{name}", "DELETE /volumes/{name}",
    ),
}  # fmt: skip
