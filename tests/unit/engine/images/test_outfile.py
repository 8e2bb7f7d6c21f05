import errno
import io
import os
import threading

import pytest

from estiva.engine.images.outfile import Output, open_source
from estiva.errors import InvalidInput, NotFound


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")
    with Output(str(path)) as out:
        out.write(b"after")
        out.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after" and os.listdir(tmp_path) == ["a.tar"]


def test_after_an_error_what_was_there_is_there_still(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")
    with pytest.raises(KeyError), Output(str(path)) as out:
        out.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["a.tar"]


def test_a_file_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "a.tar"
    before = os.umask(0)
    try:
        for _ in range(2):
            with Output(str(path)) as out:
                assert os.fstat(out.fileno()).st_mode & 0o777 == 0o600
                out.write(b"secret")
            assert os.stat(path).st_mode & 0o777 == 0o600
            path.chmod(0o644)
    finally:
        os.umask(before)


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to("there")
    with Output(str(tmp_path / "link")) as out:
        out.write(b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_bytes() == b"x"


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with Output(str(tmp_path / "pipe")) as out:
        out.write(b"x")
    reader.join()
    assert got == [b"x"]


def test_what_can_t_be_a_file_is_told_by_its_name(tmp_path):
    with pytest.raises(InvalidInput, match=f"^{tmp_path} is a folder$"), Output(str(tmp_path)):
        pass
    with pytest.raises(NotFound, match=f"^{tmp_path}/no/x: no such file") as caught:
        Output(f"{tmp_path}/no/x").__enter__()
    assert caught.value.hint == f"no folder {tmp_path}/no"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as failed:
        Output(f"{tmp_path}/file/x").__enter__()
    assert failed.value.filename == f"{tmp_path}/file/x"


def test_a_failed_write_is_told_by_the_file_s_name():
    with pytest.raises(OSError) as caught, Output("/dev/full") as out:
        out.write(b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == "/dev/full"


class Streams:
    def __init__(self):
        self.out = io.BytesIO()

    def input(self):
        return io.BytesIO(b"given")

    def output(self):
        return self.out


@pytest.mark.parametrize("path", ["", "-"])
def test_a_dash_is_the_caller_s_stream(path):
    streams = Streams()
    with Output(path, streams) as out:
        out.write(b"x")
    assert streams.out.getvalue() == b"x"
    with pytest.raises(InvalidInput, match="there is none"), Output(path):
        pass


def test_a_source_by_path_or_as_a_stream(tmp_path):
    (tmp_path / "a").write_bytes(b"file")
    with open_source(str(tmp_path / "a")) as source:
        assert source.read() == b"file"
    with open_source("-", Streams()) as source:
        assert source.read() == b"given"
    with pytest.raises(InvalidInput, match="there is none"):
        open_source("-")
    with pytest.raises(NotFound, match=f"^no such file: {tmp_path}/b$"):
        open_source(f"{tmp_path}/b")
