"""docker-py, as programs use it, against one server: all goes on as with docker's engine. aiodocker: see
test_docker_libraries_async.py."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import bundle
from apikit import IMAGE, Api, serving
from enginekit import eventually
from librarykit import LOGIN, WAITS, archive, read_all, read_of, registry_of

docker = pytest.importorskip("docker")

pytestmark = [
    bundle.requires_kernel,
    # docker-py's own, of answers that are let go of in their middle
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[Any]:
    with contextlib.closing(docker.DockerClient(f"unix://{api.socket}", timeout=60)) as made:
        yield made


@pytest.fixture(autouse=True)
def alone(api: Api, client: Any) -> Iterator[None]:
    """What a test has made goes with it."""
    yield
    for one in client.containers.list(all=True):
        one.remove(force=True, v=True)
    client.networks.prune()
    for image in client.images.list():
        if IMAGE not in image.tags:
            client.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def registry(api: Api) -> Iterator[str]:
    with registry_of(api) as address:
        yield address


def test_the_examples_of_its_readme(client: Any) -> None:
    assert client.containers.run(IMAGE, "echo hello world") == b"hello world\n"
    container = client.containers.run(IMAGE, WAITS, detach=True)
    assert [one.id for one in client.containers.list()] == [container.id]
    assert client.containers.get(container.id[:8]).attrs["Config"]["Image"] == IMAGE
    lines = client.containers.get(container.name).logs(stream=True)
    assert next(lines) == b"up\n"
    lines.close()  # in its middle
    container.stop()
    container.stop()  # twice is no error
    assert container.wait() == {"StatusCode": 0} and container.logs() == b"up\n"
    assert [image.tags for image in client.images.list()] == [[IMAGE]]
    assert client.ping() and client.version()["Version"] == client.info()["ServerVersion"]
    assert client.df()["Images"][0]["RepoTags"] == [IMAGE]


def test_what_run_raises(client: Any) -> None:
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3 and failed.value.stderr == b"bad\n"
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no/such:1")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nobody")
    client.containers.create(IMAGE, "true", name="taken")
    with pytest.raises(docker.errors.APIError) as conflict:
        client.containers.create(IMAGE, "true", name="taken")
    assert conflict.value.status_code == 409 and "taken" in conflict.value.explanation
    with pytest.raises(docker.errors.APIError) as wrong:
        client.api.create_container(IMAGE, "true", labels={"a": 1})
    assert wrong.value.status_code == 400
    with pytest.raises(docker.errors.APIError):
        client.containers.run(IMAGE, "no-such-program")


def test_run_s_options(client: Any, tmp_path: Any) -> None:
    (tmp_path / "in").write_text("from the host\n")
    out = client.containers.run(
        IMAGE, ["sh", "-c", "echo $WORD; pwd; id -u; cat /data/in; hostname; ulimit -n"],
        environment={"WORD": "w"}, working_dir="/tmp", user="root", volumes={str(tmp_path): {"bind": "/data", "mode": "ro"}},
        hostname="named", ulimits=[docker.types.Ulimit(name="nofile", soft=77, hard=88)], mem_limit="64m", init=True,
        cap_drop=["ALL"], read_only=True, tmpfs={"/run": "size=1m"}, labels=["a", "b"], remove=True, network_mode="none",
        log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}), pids_limit=99, shm_size="2m",
        restart_policy=None, security_opt=["no-new-privileges"], healthcheck={"test": ["NONE"]}, extra_hosts={"x": "10.0.0.9"},
    )  # fmt: skip
    assert out.split(b"\n")[:5] == [b"w", b"/tmp", b"0", b"from the host", b"named"]
    assert b"77" in out and client.containers.list(all=True) == []


def test_logs(client: Any) -> None:
    script = "for i in 1 2 3; do echo $i; done; echo bad >&2"
    made = client.containers.run(IMAGE, ["sh", "-c", script], detach=True)
    assert made.wait()["StatusCode"] == 0
    assert made.logs(stderr=False) == b"1\n2\n3\n" and made.logs(stdout=False) == b"bad\n"
    assert made.logs(stderr=False, tail=2) == b"3\n" and made.logs(until=1) == b""
    assert b"".join(made.logs(stream=True, follow=True, stderr=False)) == b"1\n2\n3\n"
    assert made.logs(stderr=False, timestamps=True).split()[1::2] == [b"1", b"2", b"3"]
    assert made.attach(logs=True, demux=True) == (b"1\n2\n3\n", b"bad\n")


def test_attached_sockets(client: Any) -> None:
    made = client.containers.create(IMAGE, "cat", stdin_open=True)
    stream = made.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    made.start()
    stream._sock.sendall(b"to it\n")
    stream._sock.shutdown(socket.SHUT_WR)  # which its cat hears
    assert read_all(stream._sock) == b"\x01\0\0\0\0\0\0\x06to it\n"
    assert made.wait()["StatusCode"] == 0
    stream.close()
    made = client.containers.create(IMAGE, "sh", stdin_open=True, tty=True)
    stream = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    made.start()
    made.resize(33, 99)
    stream._sock.sendall(b"stty size; exit 4\n")
    assert b"33 99" in read_all(stream._sock) and made.wait()["StatusCode"] == 4
    stream.close()


def test_exec(client: Any) -> None:
    made = client.containers.run(IMAGE, WAITS, detach=True)
    assert made.exec_run("echo hi") == (0, b"hi\n") and made.exec_run(["sh", "-c", "exit 7"])[0] == 7
    both = made.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
    assert both.output == (b"out\n", b"err\n")
    told = made.exec_run(
        ["sh", "-c", "echo $A; pwd; id -u"], environment=["A=1"], workdir="/tmp", user="1000"
    )
    assert told.output == b"1\n/tmp\n1000\n"
    assert b"".join(made.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    stream = made.exec_run("cat", stdin=True, socket=True).output
    stream._sock.sendall(b"x\n")
    stream._sock.shutdown(socket.SHUT_WR)
    assert read_all(stream._sock).endswith(b"x\n")
    stream.close()
    made.exec_run(["sh", "-c", "echo done > /tmp/it"], detach=True)
    eventually(lambda: made.exec_run("cat /tmp/it").output == b"done\n")
    one = client.api.exec_create(made.id, "sleep 9")["Id"]
    going = client.api.exec_start(one, stream=True)
    eventually(lambda: client.api.exec_inspect(one)["Running"])
    going.close()
    with pytest.raises(docker.errors.NotFound):
        client.api.exec_inspect("nobody")


def test_a_container_s_life(client: Any) -> None:
    made = client.containers.run(IMAGE, WAITS, detach=True, name="first")
    eventually(lambda: made.logs() == b"up\n")
    assert made.top()["Processes"][0][-1].startswith("sh -c trap")
    stats = made.stats(decode=True)
    assert next(stats)["memory_stats"]["usage"] > 0 and next(stats)["pids_stats"]["current"] >= 1
    stats.close()
    assert made.stats(stream=False)["id"] == made.id
    made.rename("second")
    made.update(mem_limit="200m", memswap_limit="400m")
    made.pause()
    made.reload()
    assert (made.name, made.status, made.attrs["HostConfig"]["Memory"]) == ("second", "paused", 200 << 20)
    made.unpause()
    assert made.put_archive("/tmp", archive(put=b"content"))
    made.exec_run("touch /new")
    assert {one["Path"]: one["Kind"] for one in made.diff()} == {"/new": 1, "/tmp": 0, "/tmp/put": 1}
    chunks, stat = made.get_archive("/tmp/put")
    assert read_of(b"".join(chunks), "put") == b"content" and stat["name"] == "put"
    assert "tmp/put" in tarfile.open(fileobj=io.BytesIO(b"".join(made.export()))).getnames()
    image = made.commit("kept", "1", message="why", changes="CMD cat /tmp/put")
    assert client.containers.run("kept:1") == b"content" and image.history()[0]["Comment"] == "why"
    made.kill("TERM")
    assert made.wait(condition="not-running")["StatusCode"] == 0
    made.restart()
    with pytest.raises(docker.errors.APIError):
        made.remove()
    made.remove(force=True)
    assert len(client.containers.prune()["ContainersDeleted"]) == 1
    with pytest.raises(docker.errors.NotFound):
        made.reload()


def test_images(client: Any, registry: str) -> None:
    dockerfile = b"FROM box:1\nARG A\nRUN echo $A > /it\nLABEL a=b\nCMD cat /it\n"
    image, told = client.images.build(fileobj=io.BytesIO(dockerfile), tag="built:1", buildargs={"A": "arg"})
    assert any("Step 3/5" in one.get("stream", "") for one in told) and image.labels == {"a": "b"}
    assert client.containers.run("built:1", remove=True) == b"arg\n"
    with pytest.raises(docker.errors.BuildError) as failed:
        client.images.build(fileobj=io.BytesIO(b"FROM box:1\nRUN exit 9\n"))
    assert "9" in failed.value.msg and [*failed.value.build_log]
    for where in ("public/it", "private/it"):
        image.tag(f"{registry}/{where}", "2")
        pushed = client.images.push(f"{registry}/{where}", "2", stream=True, decode=True, auth_config=LOGIN)
        assert [one["aux"]["Tag"] for one in pushed if "aux" in one] == ["2"]
    assert "error" in client.images.push(f"{registry}/public/it", "2", auth_config=LOGIN | {"password": "no"})
    saved = b"".join(image.save(named=True))
    image.remove(force=True)
    assert client.images.pull(f"{registry}/public/it", "2").id == image.id
    with pytest.raises(docker.errors.ImageNotFound):  # what may not be seen is as what is not there
        client.images.pull(f"{registry}/private/it", "2")
    assert client.images.pull(f"{registry}/private/it", "2", auth_config=LOGIN).id == image.id
    assert client.images.get_registry_data(f"{registry}/public/it:2").has_platform("linux/amd64") is not None
    client.images.remove(image.id, force=True)
    assert [one.id for one in client.images.load(saved)] == [image.id]
    assert client.login(**LOGIN, registry=registry, reauth=True)["Status"] == "Login Succeeded"
    with pytest.raises(docker.errors.APIError):
        client.login("ann", "wrong", registry=registry, reauth=True)
    client.api.import_image_from_data(archive(it=b"x"), repository="made", tag="1", changes=["USER u"])
    assert client.images.get("made:1").attrs["Config"]["User"] == "u"
    client.containers.create(IMAGE, "true")
    assert "made:1" in [
        one.get("Untagged") for one in client.images.prune({"dangling": False})["ImagesDeleted"]
    ]


def test_networks_and_volumes(client: Any) -> None:
    pool = docker.types.IPAMPool(subnet="10.88.0.0/24", gateway="10.88.0.1")
    network = client.networks.create(
        "lab", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"}
    )
    volume = client.volumes.create("data1", labels={"a": "b"})
    made = client.containers.create(IMAGE, WAITS, volumes=["data1:/data"])
    network.connect(made, aliases=["other"], ipv4_address="10.88.0.9")
    made.start()
    out = client.containers.run(IMAGE, "ping -c1 other", network="lab", remove=True)
    assert b"10.88.0.9" in out
    network.reload()
    assert [one.id for one in network.containers] == [made.id]
    assert [one.name for one in client.networks.list(filters={"label": "a=b"})] == ["lab"]
    with pytest.raises(docker.errors.APIError):
        network.remove()
    network.disconnect(made)
    with pytest.raises(docker.errors.APIError) as used:
        volume.remove()
    assert used.value.status_code == 409
    made.remove(force=True)
    assert client.volumes.get("data1").attrs["Labels"] == {"a": "b"}
    assert client.volumes.prune({"all": True})["VolumesDeleted"] == ["data1"]
    assert client.networks.prune()["NetworksDeleted"] == ["lab"]


def test_events_end_when_they_are_closed(client: Any) -> None:
    events, heard = client.events(decode=True, filters={"type": "container"}), []
    listening = threading.Thread(target=lambda: heard.extend(events))
    listening.start()
    made = client.containers.run(IMAGE, "true", detach=True)
    made.wait()
    eventually(lambda: "die" in [one["Action"] for one in heard])
    events.close()
    listening.join(20)
    assert not listening.is_alive() and [one["Action"] for one in heard][:3] == ["create", "start", "die"]
    past = client.events(since=heard[0]["time"], until=heard[0]["time"] + 1, decode=True)
    assert "create" in [one["Action"] for one in past if one["Actor"]["ID"] == made.id]


def test_fifty_threads(api: Api, client: Any) -> None:
    """Of one client, and each with its own; some let go of what they read in its middle."""
    made = client.containers.run(IMAGE, ["sh", "-c", "while echo line; do usleep 20000; done"], detach=True)

    def work(number: int) -> bytes:
        if number % 5 == 0:
            return client.containers.run(IMAGE, f"echo {number}", remove=True)
        if number % 2:
            return client.containers.get(made.id).exec_run(f"echo {number}").output
        with contextlib.closing(docker.DockerClient(f"unix://{api.socket}", timeout=60)) as own:
            lines = own.containers.get(made.id).logs(stream=True, follow=True)
            assert next(lines) == b"line\n" and own.api.inspect_container(made.id)["State"]["Running"]
        return b"%d\n" % number

    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        assert [*threads.map(work, range(50))] == [b"%d\n" % number for number in range(50)]
