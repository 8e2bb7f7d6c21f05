"""Ctrl-C at any instruction of a program, where Python itself would take it: for programs of tests.

`attempt(number, work)` calls `work`, with SIGINT pending from the number-th instruction of its and Estiva's own
code on. What sets it pending is C alone, so that the handler is called where the interpreter looks for signals
next: after a call into C, at a jump backwards, at the beginning of a function. To raise at the instruction
itself would come in places where no signal ever does, as between the end of a with-block and its lock's release.
"""

import ctypes
import signal
import sys

SOURCES = ("/estiva/", "/threading.py", "/contextlib.py")
_trip = ctypes.pythonapi.PyErr_SetInterrupt  # called as a trace function: it takes no heed of arguments
_trip.argtypes = [ctypes.py_object] * 3
_trip.restype = None
count = 0  # instructions of the last attempt
_wanted = -1


def _take(number, frame):
    """The handler: from here on nothing is pending any more."""
    sys.settrace(None)
    while frame is not None:
        frame.f_trace = None
        frame = frame.f_back
    raise KeyboardInterrupt


def _trace(frame, event, argument):
    global count
    code = frame.f_code
    if not any(each in code.co_filename for each in SOURCES) and code.co_name != "work":
        return None
    frame.f_trace_opcodes = True
    if event == "opcode":
        count += 1
        if count == _wanted:
            return _trip
    return _trace


def attempt(number, work):
    """Whether it was interrupted. -1: let it run through, for `count`."""
    global _wanted, count
    _wanted, count = number, 0
    before = signal.signal(signal.SIGINT, _take)
    try:
        sys.settrace(_trace)
        work()
        sys.settrace(None)  # what is pending still is taken here
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGINT, before)
    return False
