"""Work that other processes do for test_parallel.py, which they can only import from a module that they find."""

import os
import signal
import threading
import time
import warnings

from uadtools.errors import UadError

PATIENCE = 20  # seconds that processes have for what takes them milliseconds on an idle machine


def doubled(item):
    if item % 3 == 2:
        raise UadError(f"{item}: cannot be doubled (take another)")
    return 2 * item


def said(result):
    return str(result) if isinstance(result, UadError) else result


def mistaken(item):
    raise ValueError(f"a bug with {item}")


def surroundings(item):
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), threading.current_thread() is threading.main_thread()


def unheard(*warning, **more):
    pass


def deaf_to_warnings(item):
    return warnings.showwarning is unheard


def gentle(item):
    """Tell whether an interrupt, as Ctrl-C sends it to the whole group, goes by unnoticed."""
    os.kill(os.getpid(), signal.SIGINT)
    return item


def until(happened, seconds=PATIENCE):
    """Wait for something; tell whether it happened."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
    return happened()


def in_turn(folder, item):
    """Finish only when the result of the item after this one was given."""
    assert item == 2 or until((folder / str(item + 1)).exists)
    return item


def killed(folder, item):
    """Be killed, as the kernel does for memory, when another item is done."""
    if item:
        until((folder / "done").exists)
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def writing(folder, item):
    """Have something half written until the test is over; item 0 is done as soon as another is at work."""
    if item == 0:
        assert until(lambda: any(folder.glob("part-*")))
        return item
    part = folder / f"part-{item}"
    try:  # a request to end may come as soon as the file is there
        part.touch()
        until((folder / "over").exists)
    finally:
        part.unlink(missing_ok=True)
    return item


def deaf(folder, item):
    """Miss the first request to end, as one does that comes just before a wait in C."""
    end = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, end))
    return writing(folder, item)


def blocked(item):
    """Tell whether interrupts are held back, as they are from before the process knew what to do with them."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
