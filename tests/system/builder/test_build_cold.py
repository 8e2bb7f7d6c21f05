"""What a build loads whose steps are all in the cache: a real one, as ./estiva starts it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from enginekit import CHECKOUT, IMAGE, host

TEXT = f"""
# syntax=docker/dockerfile:1
FROM {IMAGE} AS one
ARG WHO=us
ENV A=b
COPY --chmod=644 a* /a/
RUN cat /a/a > /b
FROM {IMAGE}
WORKDIR /work
COPY --from=one /b ./
USER 1000
EXPOSE 80
LABEL a=b
CMD ["cat", "b"]
"""
CODE = """
import os, sys
sys.path.append(sys.argv.pop(1))
from estiva.cli.main import main
leave = os._exit

def told(status):
    print(*sys.modules, flush=True)
    leave(status)

os._exit = told
main()
"""
DEAR = {
    "argparse", "asyncio", "base64", "bz2", "collections", "contextlib", "copy", "csv", "dataclasses",
    "enum", "functools", "_hashlib", "hashlib", "inspect", "ipaddress", "json", "lzma", "pathlib", "re", "select",
    "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "typing", "urllib.parse",
}  # fmt: skip
APART = (
    "estiva.engine.launch", "estiva.engine.builds.container", "estiva.engine.builds.worker",
    "estiva.builder.steps.mounts", "estiva.builder.solver.check", "estiva.builder.frontend.lint",
    "estiva.builder.frontend.excerpt", "estiva.builder.exporters.attest", "estiva.builder.fetch.address",
    "estiva.builder.files.untar", "estiva.builder.files.copier", "estiva.builder.files.direct",
    "estiva.cli.build.calls", "estiva.cli.build.progress.plain", "estiva.registry", "estiva.store.archive",
)  # fmt: skip


@pytest.mark.parametrize("pieces", [64, 1 << 19])
def test_a_cached_build_loads_what_it_needs_and_nothing_dear(tmp_path: pathlib.Path, pieces: int) -> None:
    (tmp_path / "Dockerfile").write_text(TEXT.lstrip())
    (tmp_path / "a").write_text("a" * pieces)
    words = ["build", "-q", "-t", "mine", str(tmp_path)]
    with host() as box:
        first = box.out(*words)
        done = subprocess.run(
            [*box.prefix, sys.executable, "-I", "-S", "-c", CODE, f"{CHECKOUT}/src", *words],
            env=box.env,
            capture_output=True,
            text=True,
            check=True,
        )
        image, _, modules = done.stdout.partition("\n")
        assert image == first  # found, all of it
        loaded = set(modules.split())
        assert "estiva.builder.steps.copy" in loaded
        dear = {"hashlib", "_hashlib"} if pieces > 1 << 18 else set()  # worth it for much to be hashed
        assert loaded & DEAR == dear
        assert not [name for name in loaded if name.startswith(APART)]
