"""What of /proc and /sys is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from estiva.runtime.security import kernel_paths


def test_hidden_paths() -> None:
    masked = kernel_paths.masked_paths()
    for path in ("/proc/kcore", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"):
        assert path in masked
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(kernel_paths.READONLY_PATHS)
    assert not set(masked) & set(kernel_paths.READONLY_PATHS)


def test_thermal_counters_are_hidden_where_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_paths, "_CPUS", str(tmp_path))
    assert kernel_paths.masked_paths() == list(kernel_paths.MASKED_PATHS)
    for name in ("cpu0/thermal_throttle", "cpu1", "cpu10", "cpufreq", "cpuidle"):
        (tmp_path / name).mkdir(parents=True)
    more = kernel_paths.masked_paths()[len(kernel_paths.MASKED_PATHS) :]
    assert more == [f"{tmp_path}/{name}/thermal_throttle" for name in ("cpu0", "cpu1", "cpu10")]


def test_of_proc_only_single_files_may_be_mounted_over() -> None:
    assert "/proc/meminfo" in kernel_paths.PROC_FILES
    assert not [path for path in kernel_paths.PROC_FILES if path.count("/") != 2 or path == "/proc/sys"]
