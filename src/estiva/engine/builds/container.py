"""The container of one RUN, from its start to its end."""

from __future__ import annotations

import os

from estiva import settings
from estiva.engine.launch import plan
from estiva.engine.launch.start import Start
from estiva.engine.spec import judge
from estiva.engine.state import locks, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.builder.request import Step
    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import Plan
    from estiva.store.layers.mounts import Lowerdirs


class StepStart(Start):
    """The start of a step's container, which has no row: its run folder is all that there is of it.

    It ends with the caller: `close` kills what runs and waits until nothing is left.
    """

    def __init__(self, engine: Engine, step: Step, limits: HostConfig | None = None) -> None:
        mode = "bridge" if step.network in ("", "default") else step.network
        host: HostConfig = {
            **(limits or {}),
            "NetworkMode": mode,
            "Privileged": step.privileged,
            "LogConfig": {"Type": "none"},
        }
        if step.devices:
            from estiva.engine.spec.cdi import devices

            asked: Any = devices.request(step.devices)
            host["DeviceRequests"] = [asked]
        known = settings.read()
        judge.uts_name("hostname", step.hostname)
        if known:
            from estiva.engine.spec import preset

            preset.fill_names(host, known)
        made = record.new(
            os.urandom(32).hex(),
            "",
            None,
            {
                "Image": "",
                "Cmd": step.argv,
                "Env": step.env,
                "User": step.user,
                "WorkingDir": step.cwd,
                "Hostname": step.hostname,
            },
            host,
            [],
        )
        self.step = step
        super().__init__(engine, made, locks.take(engine.paths, made["Id"], new=True), "")

    def prepare(self) -> None:
        mode = self.record["HostConfig"]["NetworkMode"]
        if mode == "bridge":
            from estiva.engine.state.net import addresses

            with self.engine.db.write() as transaction:
                self.address = addresses.take_in(transaction, self.id, mode, fresh=True)
        elif mode not in ("none", "host"):
            from estiva.engine.state.net import addresses
            from estiva.network import networks

            with self.engine.db.write() as transaction:
                network = networks.get(transaction, mode)
                place = addresses.place_in(transaction, self.id, network.id, {"Name": network.name})
            networks.name_interfaces([place])
            networks.elect([place])
            self.address = [place]

    def lowerdirs(self) -> Lowerdirs:
        return self.step.snapshot.lowerdirs()

    def plan(self, lowerdirs: list[str]) -> Plan:
        wanted = plan.make_in(
            self.engine,
            self.record,
            lowerdirs,
            self.address,
            self.engine.paths.run_container(self.id),
            self.step.snapshot.upper,
            self.step.snapshot.work,
            self.step.mounts,
        )
        wanted["ephemeral"] = True
        process = wanted["config"]["process"]
        if not any(item.startswith("HOSTNAME=") for item in self.step.env):  # a RUN's has it from ENV alone
            process["env"] = [item for item in process["env"] if not item.startswith("HOSTNAME=")]
        return wanted

    def mounted(self) -> dict[str, int]:
        return self.step.mounted

    def undo(self) -> None:
        """What there is goes in `close`, once the lock is free."""

    def close(self) -> None:
        if self._launched is not None:
            self._launched.signal(9)  # to one that has ended it is nothing
            locks.await_end(self.engine.paths, self.id)
        super().close()
        if os.path.isdir(self.engine.paths.run_container(self.id)):  # no monitor came to its end
            from estiva.engine.state.life import reconcile

            reconcile.reconcile(self.engine.paths, self.engine.db, self.id)
