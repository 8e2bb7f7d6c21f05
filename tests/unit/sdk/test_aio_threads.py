"""The threads of estiva.aio, where no more can be had."""

import threading

import pytest

from estiva.sdk.aio import loop


def test_a_call_is_refused_without_threads_and_the_next_one_is_served(monkeypatch):
    pool = loop.Pool()
    with monkeypatch.context() as patched:

        def start(thread):
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", start)
        for _ in range(loop.THREADS + 1):
            with pytest.raises(RuntimeError):
                pool.submit(lambda: 1)
    assert pool.submit(lambda: 2).result(10) == 2
