"""What a container uses (engine/containers/stats.py), once or each second (Engine API, ContainerStats)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva import timestamps
from estiva.api import answers, streaming
from estiva.api.app import api_version
from estiva.engine.containers import stats as reading
from estiva.errors import Conflict, NotFound

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine

INTERVAL = 1.0  # seconds between two readings
NEVER = "0001-01-01T00:00:00Z"
ONE_SHOT = (1, 41)  # the version that has that word
BLKIO = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def nothing() -> dict[str, Any]:
    """CPUStats of no reading."""
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def shape(name: str, container_id: str, usage: dict[str, Any] | None) -> dict[str, Any]:
    """A reading in Docker's shape, without what was read before; of None, which does not run, the same
    without figures."""
    found: dict[str, Any] = {
        "read": timestamps.rfc3339() if usage else NEVER,
        "preread": NEVER,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(BLKIO),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": nothing(),
        "precpu_stats": nothing(),
        "memory_stats": {},
        "name": name,
        "id": container_id,
    }
    if usage is None:
        return found
    cpu, memory, pids = usage["cpu"], usage["memory"], usage["pids"]
    found["pids_stats"] = {key: pids[key] for key in ("current", "limit") if pids[key]}
    found["blkio_stats"]["io_service_bytes_recursive"] = [
        dict(zip(("major", "minor", "op", "value"), device, strict=True)) for device in usage["io"]["devices"]
    ]
    found["cpu_stats"] = {
        "cpu_usage": {
            "total_usage": cpu["usage_ns"],
            "usage_in_kernelmode": cpu["system_ns"],
            "usage_in_usermode": cpu["user_ns"],
        },
        "system_cpu_usage": system_cpu(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": cpu["periods"],
            "throttled_periods": cpu["throttled_periods"],
            "throttled_time": cpu["throttled_ns"],
        },
    }
    whole = reading.host_memory()
    found["memory_stats"] = {
        "usage": memory["usage"],
        **({"max_usage": memory["peak"]} if memory["peak"] else {}),
        "stats": memory["stat"],
        "limit": min(memory["limit"] or whole, whole),
    }
    if usage["network"]:
        found["networks"] = usage["network"]
    return found


def system_cpu() -> int:
    """Nanoseconds that all cpus have counted since the machine was started: proc_stat(5)."""
    with open("/proc/stat", "rb") as file:
        ticks = sum(map(int, file.readline().split()[1:8]))
    return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def _read(engine: Engine, container_id: str) -> dict[str, Any]:
    """A reading now. Raises NotFound."""
    record = streaming.record_of(engine, container_id)
    usage = None
    if record["State"]["Running"] and not record["State"]["Restarting"]:
        try:
            usage = reading.stats(engine, container_id)
        except Conflict:
            pass  # it has ended just now
    return shape(record["Name"], record["Id"], usage)


def follow(now: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """A reading with the one before it."""
    if before is not None:
        now = {**now, "preread": before["read"], "precpu_stats": before["cpu_stats"]}
    return now


async def stats(api: Api, request: web.Request) -> web.StreamResponse:
    goes_on = answers.flag(request, "stream", True)
    one_shot = api_version(request) >= ONE_SHOT and answers.flag(request, "one-shot")
    now = await api.work.do(_read, api.engine, request.match_info["id"])
    if not goes_on:
        if not one_shot and now["read"] != NEVER:
            await asyncio.sleep(INTERVAL)
            now = follow(await api.work.do(_read, api.engine, now["id"]), now)
        return answers.json(now)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    before: dict[str, Any] | None = None
    with streaming.told(request, response):
        while True:
            await response.write(streaming.line(follow(now, before)))
            await asyncio.sleep(INTERVAL)
            before = now
            try:
                now = await api.work.do(_read, api.engine, now["id"])
            except NotFound:
                break  # it was removed
        await response.write_eof()
    return response


ROUTES: tuple[Route, ...] = (("GET", "/containers/{id}/stats", stats),)
