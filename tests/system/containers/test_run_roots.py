"""A state root belongs to one run root at a time: under another its containers would be taken for dead."""

import os
import shutil

from enginekit import IMAGE, host


def test_another_run_root_is_refused_while_containers_run():
    with host() as box:
        box.estiva("run", "-d", "--name", "lives", "--network", "none", IMAGE, "sleep", "1000")
        other = f"{box.folder}/other"
        refused = box.estiva("--run-root", other, "ps", status=1)
        assert refused.stderr.startswith(
            f"estiva: {box.folder}/root is in use with the run root {box.folder}/run\nhint: "
        )
        assert box.out("inspect", "-f", "{{.State.Status}}", "lives") == "running"
        box.estiva("rm", "-f", "lives")
        box.estiva("--run-root", other, "ps")
        assert os.readlink(f"{box.folder}/root/run") == other
        box.estiva("--run-root", other, "run", "--rm", "--network", "none", IMAGE, "true")
        box.estiva("--run-root", other, "system", "check")
        box.estiva("images")
        # as after a reboot
        shutil.rmtree(other, ignore_errors=True)


def test_a_run_root_that_a_reboot_took():
    with host() as box:
        box.estiva("ps")
        os.unlink(f"{box.folder}/root/run")
        os.symlink("/nowhere/at/all", f"{box.folder}/root/run")
        box.estiva("run", "--rm", "--network", "none", IMAGE, "true")
        assert os.readlink(f"{box.folder}/root/run") == f"{box.folder}/run"
