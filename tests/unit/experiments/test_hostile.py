"""A small part of the battery of hostile files; `make hostile` runs all of it."""

import pytest
from loading import load

kinds, battery = load("hostile_kinds"), load("hostile")


@pytest.fixture(scope="module")
def box():
    with battery.boxed(hang=120) as box:
        yield box


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_no_damage_is_more_than_a_line(kind, box, capsys):
    counts = battery.battery(box, [kind], range(4))[kind]
    assert counts["tried"] == 4
    assert not counts.keys() & battery.FAULTS.keys(), capsys.readouterr().out


def test_a_fault_is_found(box, monkeypatch):
    """A battery that sees nothing would be worse than none."""
    from uadtools.program.command import Command

    def broken(*_):
        raise ValueError

    def untidy(*_):
        (box.folder / "out" / ".uad-0.json").write_text("NaN")
        (box.folder / "x").touch()
        print("\x1b[2J")

    for call, expected in ((broken, {"traceback"}), (untidy, {"control", "left", "NaN", "outside"})):
        monkeypatch.setattr(Command, "call", call)
        assert {what for what, _ in box.case("people", 0)[2]} == expected
