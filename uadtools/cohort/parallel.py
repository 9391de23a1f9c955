"""Many scans: one that fails does not stop the others, several processes share the work, and work overlaps."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Semaphore, Thread, main_thread
from typing import Any, NoReturn, TypeVar

from uadtools.errors import Misuse, UadError
from uadtools.files import clean_up

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = 1.0
"""Seconds after which a process that was asked to end is asked again."""
LAST = 10
"""Seconds after which it ends whatever it is at: an interrupt that comes in a callback is lost."""
_work: Callable[[Any], Any]
_busy = False


def parallel_map(work: Callable[[T], R], items: Sequence[T], processes: int = 1) -> Iterator[tuple[T, R | UadError]]:
    """Do the work for every item, and yield each item with its result or its UadError, in the order they get done.

    An item that memory does not suffice for has a UadError, too; Misuse, which is wrong with all, and any other
    exception, which is a bug, is raised.

    processes: how many at once; work and what it is given are then pickled, and it may use as many threads as there are
    cores for each process. When a process is killed, UadError is raised. Leaving the iterator early, as Ctrl-C does,
    stops the processes, and lets them remove what they had half written; so does the end of this process, also by a
    kill.
    """
    if processes == 1 or len(items) < 2:
        for item in items:
            yield item, _tried(work, item)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context, given = multiprocessing.get_context("spawn"), (work, threads, warnings.showwarning)
    pool = ProcessPoolExecutor(min(processes, len(items)), context, initializer=_begin, initargs=given)
    try:
        with _shielded():
            running = {pool.submit(_one, item): item for item in items}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool:
        raise UadError(
            "a process was killed, perhaps for memory (fewer --jobs need less; what is done stays)"
        ) from None
    finally:
        processes_left = list((pool._processes or {}).values())  # which the pool forgets when it is shut down
        manager: Any = pool._executor_manager_thread  # and this
        pool.shutdown(wait=False, cancel_futures=not pool._broken)  # a broken one does so by itself, meanwhile
        _ask_to_end(processes_left)
        Thread(target=_see_ended, args=(processes_left,), daemon=True).start()
        if pool._broken and manager:
            manager.join(LAST)  # it closes its pipes, which would fail aloud as the program ends around it


def prefetched(items: Iterable[T]) -> Iterator[T]:
    """Yield items, while the next one is made in a thread. What goes wrong there is raised where that item would be.

    Whoever leaves early does not wait for the item under way.
    """
    queue: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    requests = Semaphore(0)

    def fill() -> None:
        try:
            for item in items:
                queue.put((item,))
                requests.acquire()
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    Thread(target=fill, daemon=True).start()
    while (entry := queue.get()) is not None:
        if isinstance(entry, BaseException):
            raise entry
        requests.release()
        yield entry[0]


def batched(items: Iterable[T], size: Callable[[T], int], enough: Callable[[], int]) -> Iterator[list[T]]:
    """Yield items in groups, each as long as it takes for their sizes to come to enough.

    What goes wrong with an item is raised after the group of those before it. enough: asked once there is an item.
    """
    group: list[T] = []
    total, fault = 0, None
    source = iter(items)
    while True:
        try:
            item = next(source)
            total += size(item)
        except StopIteration:
            break
        except Exception as error:
            fault = error
            break
        group.append(item)
        if total >= enough():
            yield group
            group, total = [], 0
    if group:
        yield group
    if fault:
        raise fault


def _ask_to_end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()


def _see_ended(processes: Sequence[BaseProcess]) -> None:
    """Ask again until all have ended: one that was just going to wait for work sleeps through the first request."""
    while left := [process for process in processes if process.is_alive()]:
        time.sleep(PATIENCE)
        _ask_to_end(left)


def _tried(work: Callable[[T], R], item: T) -> R | UadError:
    try:
        return work(item)
    except Misuse:
        raise
    except UadError as error:
        return error
    except MemoryError:
        return UadError(f"{item}: not enough memory (is it larger than it should be?)")


@contextmanager
def _shielded() -> Iterator[None]:
    """Hold interrupts back until the block is done; processes begun in it get none, however early in their start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Callable[[Any], Any], threads: int, showwarning: Callable[..., Any]) -> None:
    """Set a process up: warnings are shown as in the parent, interrupts are for the parent to handle, and a request to
    end is one to clean up first.
    """
    global _work  # noqa: PLW0603  a process has one work, too large to send with every item
    _work = work
    warnings.showwarning = showwarning
    os.environ["OMP_NUM_THREADS"] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, lambda number, frame: _leave())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that began it has ended: a killed one cannot ask for it."""
    if parent := multiprocessing.parent_process():
        parent.join()
        if _busy:
            signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM)
            time.sleep(LAST)
        _leave()


def _end(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # asked again, it is not to be disturbed as it cleans up
    signal.alarm(LAST)
    if _busy:
        raise KeyboardInterrupt
    _leave()


def _leave() -> NoReturn:
    clean_up()
    os._exit(128 + signal.SIGTERM)


def _one(item: Any) -> Any:
    """Do one item. The pool takes an interrupt for one more result and would wait on, so the process ends here."""
    global _busy  # noqa: PLW0603  the signal handler asks for it
    try:
        _busy = True
        return _tried(_work, item)
    except KeyboardInterrupt:
        _leave()
    finally:
        _busy = False
