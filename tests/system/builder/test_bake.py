"""Two targets of a bake file, one on the other's base, built beside each other."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host

# each goes on once the other is there, and only then
MEET = "RUN --mount=type=cache,target=/c touch /c/{me} && until test -e /c/{other}; do sleep 0.05; done"
FILE = """
variable "TAG" {{
  default = "one"
}}
group "default" {{
  targets = ["web", "db"]
}}
target "base" {{
  dockerfile-inline = "FROM {image}\\nRUN echo base > /base"
}}
target "web" {{
  contexts = {{ base = "target:base" }}
  args = {{ TAG = TAG }}
  tags = ["web:${{TAG}}"]
  dockerfile-inline = <<EOT
FROM base
ARG TAG
{web}
RUN echo $TAG > /tag
EOT
}}
target "db" {{
  contexts = {{ base = "target:base" }}
  tags = ["db"]
  dockerfile-inline = <<EOT
FROM {image}
{db}
COPY --from=base /base /copied
EOT
}}
target "bad" {{
  dockerfile-inline = "FROM {image}\\nRUN exit 3"
}}
target "slow" {{
  tags = ["slow"]
  dockerfile-inline = "FROM {image}\\nRUN sleep 1000"
}}
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def test_two_targets_at_once_and_the_first_failure_stops_the_other(box: Host, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "docker-bake.hcl"
    web, db = MEET.format(me="web", other="db"), MEET.format(me="db", other="web")
    file.write_text(FILE.format(image=IMAGE, web=web, db=db))
    metadata = tmp_path / "metadata.json"
    common = ("-f", str(file), "--set", f"*.context={tmp_path}", "--set", "*.network=none")
    said = box.estiva("bake", *common, "--metadata-file", str(metadata)).stderr
    assert "[base 2/2] RUN echo base" in said and "named web:one" in said and "named db" in said
    assert box.out("run", "--rm", "--network", "none", "web:one", "cat", "/base", "/tag").split() == [
        "base",
        "one",
    ]
    assert box.out("run", "--rm", "--network", "none", "db", "cat", "/copied").split() == ["base"]
    made = json.loads(metadata.read_text())
    assert sorted(made) == ["base", "db", "web"] and "image.name" not in made["base"]
    names = box.out("images", "--format", "{{.Repository}}").split()
    assert "base" not in names

    failed = box.estiva("bake", *common, "bad", "slow", status=1)
    assert "estiva: target bad: Dockerfile:2: RUN exit 3: exit status 3" in failed.stderr
    assert "slow" not in box.out("images", "--format", "{{.Repository}}").split()
