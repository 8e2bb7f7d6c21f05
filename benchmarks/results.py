"""What the benchmarks have measured: a table for a terminal, and JSON that tools/pictures.py draws charts of.

A row compares `estiva` with peers by one number each, the median of its rounds. A goal is how much of a
peer's number ours may be at most; where more is better, what it has to be at least.
"""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import time

PYTHON = str(pathlib.Path(__file__).resolve().parents[1] / ".venv/bin/python3")  # Estiva's, not this script's
VERSION = {
    "podman": ["podman", "--version"],
    "docker": ["docker", "--version"],
    "containerd": ["containerd", "--version"],
    "runc": ["runc", "--version"],
    "crun": ["crun", "--version"],
    "docker-registry": ["docker-registry", "--version"],
}


class Results:
    def __init__(self, program, rounds):
        self.program = program
        self.rounds = rounds
        self.rows = []

    def add(self, name, values, goals=(), unit="ms", more=False, limit=None):
        """A row. `values`: who -> number; `goals`: [(peer, ratio)]; `limit`: what ours may be at most."""
        values = {who: round(value, 3) for who, value in values.items()}
        row = {"name": name, "unit": unit, "values": values, "goals": dict(goals)}
        self.rows.append({**row, **({"more": True} if more else {}), **({"limit": limit} if limit else {})})

    def table(self):
        lines = ["| what | estiva | peers | ratio | aim |", "|---|---|---|---|---|"]
        for row in self.rows:
            ours, goals = row["values"]["estiva"], row["goals"]
            peers = ", ".join(f"{who} {number(v)}" for who, v in row["values"].items() if who != "estiva")
            ratios = ", ".join(f"{ours / row['values'][peer]:.2f} x {peer}" for peer in goals)
            most = "at least" if row.get("more") else "at most"
            aims = [
                f"{ratio:g} x {peer}{'' if met(row, peer) else ' (**missed**)'}"
                for peer, ratio in goals.items()
            ]
            aims += [f"{row['limit']:g} {row['unit']}"] if "limit" in row else []
            aim = f"{most} {', '.join(aims)}" if aims else ""
            lines.append(f"| {row['name']}, {row['unit']} | {number(ours)} | {peers} | {ratios} | {aim} |")
        return "\n".join(lines)

    def save(self, path):
        told = {
            "program": self.program,
            "date": time.strftime("%Y-%m-%d"),
            "rounds": self.rounds,
            "machine": machine(),
            "versions": versions(),
            "rows": self.rows,
        }
        pathlib.Path(path).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def met(row, peer):
    ratio = row["values"]["estiva"] / row["values"][peer]
    return ratio >= row["goals"][peer] if row.get("more") else ratio <= row["goals"][peer]


def number(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def machine():
    python = subprocess.run([PYTHON, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    hybrid = os.path.isdir("/sys/fs/cgroup/memory")
    return {
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "kernel": platform.release().partition("-")[0],
        "cpus": os.cpu_count(),
        "cgroups": "v1" if hybrid else "v2",
        "python": python,
    }


def versions():
    """The first number with dots that each peer says of itself."""
    found = {}
    for name, command in VERSION.items():
        if shutil.which(command[0]):
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            words = [word.strip(",v") for word in told.split()]
            found[name] = next((word for word in words if word[:1].isdigit() and "." in word), "")
    return found
