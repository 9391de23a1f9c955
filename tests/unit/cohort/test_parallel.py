import multiprocessing
import os
import time
import warnings
from concurrent.futures import process
from functools import partial

import pytest
from parallel_work import (
    blocked,
    deaf,
    deaf_to_warnings,
    doubled,
    gentle,
    in_turn,
    killed,
    mistaken,
    said,
    surroundings,
    unheard,
    until,
    writing,
)  # fmt: skip

from uadtools.cohort import parallel
from uadtools.cohort.parallel import parallel_map
from uadtools.errors import UadError


@pytest.fixture
def over(tmp_path):
    """Lets processes that nothing else ended go when the test is over."""
    yield tmp_path
    (tmp_path / "over").touch()
    until(lambda: not multiprocessing.active_children())


@pytest.mark.parametrize("processes", [1, 3])
def test_every_item_comes_with_its_result_and_errors_stop_no_other(processes):
    found = {item: said(result) for item, result in parallel_map(doubled, range(7), processes)}
    error = "{}: cannot be doubled (take another)"
    assert found == {0: 0, 1: 2, 2: error.format(2), 3: 6, 4: 8, 5: error.format(5), 6: 12}


def test_one_process_does_the_items_in_their_order_each_when_it_is_asked_for():
    done = []
    found = parallel_map(lambda item: done.append(item) or item, [3, 1, 2])
    assert done == []
    assert next(found) == (3, 3)
    assert done == [3]
    assert list(found) == [(1, 1), (2, 2)]


def test_several_processes_give_what_gets_done_first(tmp_path):
    given = []
    for item, result in parallel_map(partial(in_turn, tmp_path), range(3), 3):
        given.append((item, result))
        (tmp_path / str(item)).touch()
    assert given == [(2, 2), (1, 1), (0, 0)]


@pytest.mark.parametrize("processes", [1, 4])
def test_no_items_are_no_work(processes):
    assert list(parallel_map(doubled, [], processes)) == []


def test_one_item_needs_no_other_process():
    ((_, (process, _, _)),) = parallel_map(surroundings, [0], 4)
    assert process == os.getpid()


def test_several_items_are_done_in_other_processes_that_share_the_cores():
    found = [result for _, result in parallel_map(surroundings, range(6), 2)]
    processes = {process for process, _, _ in found}
    assert os.getpid() not in processes
    assert len(processes) <= 2
    assert {threads for _, threads, _ in found} == {str(max(1, os.cpu_count() // 2))}
    assert all(main for _, _, main in found)


def test_other_processes_show_warnings_as_this_one_does(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", unheard)
    assert all(result for _, result in parallel_map(deaf_to_warnings, range(2), 2))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bug_is_no_error_of_the_user(processes):
    with pytest.raises(ValueError, match="a bug with"):
        list(parallel_map(mistaken, [1, 2], processes))


def test_interrupts_are_left_to_the_parent():
    assert sorted(parallel_map(gentle, [1, 2], 2)) == [(1, 1), (2, 2)]


def test_interrupts_do_not_reach_a_process_that_is_starting():
    assert [result for _, result in parallel_map(blocked, [1, 2], 2)] == [True, True]
    assert not blocked(0)


def test_a_killed_process_is_told_and_what_was_done_before_is_given(tmp_path, monkeypatch):
    ended, shutdown = [], parallel.ProcessPoolExecutor.shutdown
    monkeypatch.setattr(
        parallel.ProcessPoolExecutor, "shutdown", lambda pool, **how: ended.append(how) or shutdown(pool)
    )
    found = parallel_map(partial(killed, tmp_path), [0, 1], 2)
    assert next(found) == (0, 0)
    (tmp_path / "done").touch()
    with pytest.raises(UadError, match=r"^a process was killed, perhaps for memory \(fewer --jobs need less") as caught:
        next(found)
    assert len(str(caught.value).splitlines()) == 1
    assert ended == [{"wait": False, "cancel_futures": False}]  # else its own thread fails, and says so, now and then
    assert until(lambda: not multiprocessing.active_children())


def test_a_pool_that_broke_has_closed_its_pipes_when_that_is_told(tmp_path, monkeypatch):
    """Else it closes them as the program ends around it, and fails aloud, now and then."""
    closing = []
    thread = process._ExecutorManagerThread
    close = thread.join_executor_internals
    monkeypatch.setattr(
        thread, "join_executor_internals", lambda self: (time.sleep(0.5), close(self), closing.append(self))
    )
    found = parallel_map(partial(killed, tmp_path), [0, 1], 2)
    next(found)
    (tmp_path / "done").touch()
    with pytest.raises(UadError, match=r"^a process was killed"):
        next(found)
    assert closing


def test_items_that_are_equal_are_items_each_and_when_all_are_done_the_processes_end():
    assert list(parallel_map(doubled, [1, 1, 1], 2)) == [(1, 2)] * 3
    assert until(lambda: not multiprocessing.active_children())


@pytest.mark.parametrize("work", [writing, deaf])
def test_an_interrupt_ends_the_processes_and_lets_them_clean_up(work, over):
    """Also one that misses the first request to end: it is asked again."""
    found = parallel_map(partial(work, over), range(6), 2)
    assert next(found) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)
    assert until(lambda: not multiprocessing.active_children())
    assert not list(over.iterdir())
