"""A created container waits for its start on a socket."""

import stat

import pytest

from estiva import errors
from estiva.runtime import sync
from estiva.runtime.launch import start_socket


def test_listening_where_the_path_is_long(tmp_path):
    """sun_path holds 108 bytes; state directories are longer under docker."""
    import os

    folder = tmp_path / ("x" * 120)
    folder.mkdir(mode=0o700)
    fd = start_socket.listen(str(folder), 10)
    try:
        assert fd >= 10
        assert start_socket.waiting(str(folder))
        assert stat.S_ISSOCK((folder / start_socket.NAME).stat().st_mode)
        channel = start_socket.connect(str(folder))
        channel.send(sync.GO)
        channel.close()
        assert not start_socket.waiting(str(folder))
        with pytest.raises(errors.Conflict):
            start_socket.connect(str(folder))
    finally:
        os.close(fd)


def test_init_waits_through_callers_that_say_nothing(tmp_path):
    import os
    import threading

    fd = start_socket.listen(str(tmp_path), 3)
    parent, child = sync.pair(3)
    thread = threading.Thread(target=start_socket.await_start, args=(child, fd))
    thread.start()
    parent.send(sync.LEAVE)
    parent.close()
    os.link(tmp_path / start_socket.NAME, tmp_path / "again")
    start_socket.connect(str(tmp_path)).close()
    os.rename(tmp_path / "again", tmp_path / start_socket.NAME)
    channel = start_socket.connect(str(tmp_path))
    channel.send(sync.GO)
    thread.join(timeout=120)
    assert not thread.is_alive()
    assert not os.get_inheritable(child.fd)
    channel.close()
    child.close()
