"""Concerns: codes that scripts rely on, read back as they were written, and documented."""

import re
from pathlib import Path

import pytest

from uadtools.concerns import CODES, Concern, read_concerns, united

PAGE = Path(__file__).parents[2] / "docs" / "concerns.md"


def test_the_page_lists_every_code_and_its_meaning_as_the_code_does():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert dict(rows) == CODES


def test_the_page_lists_the_exit_statuses_of_the_commands():
    from uadtools.program import command as c

    statuses = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text(), flags=re.MULTILINE)}
    assert statuses == {0, 1, 2, c.CONCERNED, c.INTERRUPTED, c.CLOSED_PIPE}


def test_concerns_come_back_as_they_were_written():
    concerns = [Concern("brain-size", "the brain has 5 mL", 5.0), Concern("unlike", "unlike, p < .01", 2.5)]
    assert read_concerns([concern.to_json() for concern in concerns]) == concerns


@pytest.mark.parametrize(
    "data", [None, "a", {"code": "other", "text": "a"}, [3, None, [], {"text": 3}, {"code": "other"}]]
)
def test_what_is_no_concern_is_left_out(data):
    assert read_concerns(data) == []


def test_what_other_versions_said_is_kept():
    rows = ["a line", {"code": "of the future", "text": "b", "value": [1]}, {"text": "c", "value": True}]
    assert read_concerns(rows) == [Concern("other", text) for text in ("a line", "b", "c")]


def test_what_is_said_twice_is_there_once_the_first_first():
    a, b = Concern("other", "a"), Concern("other", "b")
    assert united([b, a], [a, b]) == [b, a]


def test_a_code_that_is_none_is_our_bug():
    with pytest.raises(ValueError, match="no code"):
        Concern("odd", "a")
