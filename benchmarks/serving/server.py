"""The reward service as it is, plus one thing only a benchmark wants: SIGUSR1 kills a worker.

The exception is raised inside one of the scoring threads, wherever it is, as a fault of an engine
or of the interpreter would be.
"""

import ctypes
import signal
import threading

from services.reward_service.__main__ import main
from shared.web import serve_or_exit

THREAD_NAME = "scoring"


_say = threading.excepthook


class Killed(BaseException):
    """Ends a thread; nothing that scores catches it."""


def kill_one_worker(*_: object) -> None:
    """Raise `Killed` in the first scoring thread."""
    workers = (one for one in threading.enumerate() if one.name.startswith(THREAD_NAME))
    victim = next(workers, None)
    if victim is not None and victim.ident is not None:
        thread = ctypes.c_ulong(victim.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Killed))


def say_unless_meant(args: threading.ExceptHookArgs) -> None:
    """No traceback of a thread that was to die; the service logs that it was replaced."""
    if args.exc_type is not Killed:
        _say(args)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, kill_one_worker)
    threading.excepthook = say_unless_meant
    serve_or_exit(main)
