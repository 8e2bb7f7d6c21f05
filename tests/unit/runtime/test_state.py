"""state.json, and whether a pid is still the one of it."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.errors import EstivaError
from estiva.runtime import state


def test_state(tmp_path: Any) -> None:
    import os

    from estiva.linux import procinfo

    run_dir = str(tmp_path / "c" / "id")
    assert state.read(run_dir) is None
    state.write(run_dir, {"pid": 5, "name": "ü"})
    assert state.read(run_dir) == {"pid": 5, "name": "ü"}
    assert os.stat(run_dir).st_mode & 0o777 == 0o700
    assert os.stat(run_dir + "/state.json").st_mode & 0o777 == 0o600
    (tmp_path / "c" / "id" / "state.json").write_text("[")
    with pytest.raises(EstivaError):
        state.read(run_dir)
    assert state.alive(os.getpid(), procinfo.start_time(os.getpid()))
    assert not state.alive(os.getpid(), 1)
    assert not state.alive(0, 1)
    assert not state.alive(1 << 22, 1)


def test_a_zombie_is_not_alive() -> None:
    import os

    from estiva.linux import procinfo

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not state.alive(pid, procinfo.start_time(pid))
    os.waitpid(pid, 0)
