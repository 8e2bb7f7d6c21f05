"""dockerd in namespaces and a cgroup of its own, which clients are compared on."""

from __future__ import annotations

import json
import os
import pathlib

import ocikit


class Dockerd(ocikit.Machine):
    """dockerd with an image, in namespaces of its own."""

    def __init__(self) -> None:
        super().__init__("docker-cli-")
        self.socket = f"{self.folder}/docker.sock"
        config = {
            "data-root": f"{self.folder}/root",
            "exec-root": f"{self.folder}/exec",
            "pidfile": f"{self.folder}/pid",
            "hosts": [f"unix://{self.socket}"],
            "cgroup-parent": os.path.basename(self.folder),
        }
        pathlib.Path(self.folder, "daemon.json").write_text(json.dumps(config))
        os.makedirs("/run/docker", exist_ok=True)
        start = f"mount -t tmpfs none /run/docker && exec dockerd --config-file {self.folder}/daemon.json"
        self.daemon("sh", "-c", start)
        self.until("docker", "-H", f"unix://{self.socket}", "version")

    def close(self) -> None:
        super().close()
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"**/{os.path.basename(self.folder)}"):
            for path in sorted(top.glob("**/"), reverse=True):
                path.rmdir()
