"""uad-bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools.program import command as c
from uadtools.program import options as o

if TYPE_CHECKING:
    from uadtools.bench.run import Bench

EXAMPLES = """
  uad-bench experiments/bench/ixi-lesions.toml --data scans/ -o results/
  uad-bench experiments/bench/ixi-lesions.toml --data scans/ -o results/   again: reads what is done, and costs nothing
  uad-bench mine.toml -o results/ --json | jq '.sets[0].rows[] | {method, auprc}'
  uad-bench mine.toml -o results/ --dry-run            what would be trained, and how long that takes
  uad-bench mine.toml -o results/ --fold 2             one fold of `folds = 5`; other machines do the others
  uad-bench results/ --report                          table, plots, methods and manifest, in results/report/
"""


def bench(
    plan: Path = o.argument(
        """PLAN
        A .toml file that names data, test sets and methods; with --report, what a comparison wrote: its folder or its
        NAME.json.""",
        ...,
    ),
    output: Path | None = o.option("""--output -o DIR
        A folder for models, scores, reports and the table (NAME.json, .md, .tex, .csv). A second run takes from it
        what is done. With --report, what that is written into; default: report/ beside the table."""),
    data: Path | None = o.option("""--data DIR
        What paths in PLAN are relative to. Default: the folder that PLAN is in."""),
    fold: int | None = o.option(
        """--fold K
        Do one of the plan's folds, from 1, and write its table into folds/. Default: all of them, one after the
        other.""",
        min=1,
    ),
    method: str | None = o.option("--method NAME  Train and judge one of the plan's methods, and write no table."),
    dry_run: bool = o.flag("""--dry-run
        Say what would be trained and how long that takes here, by logs or by a few steps that are taken now, and
        stop."""),
    report: bool = o.flag("""--report
        Write what to publish of a finished comparison: tables, plots, a text of the methods, and hashes of all that it
        was made of."""),
    against: Path | None = o.option("""--against OTHER
        With --report: the folder or NAME.json of somebody who did the same; say in what the two differ."""),
    device: str = o.DEVICE,
    precision: o.Precision = o.PRECISION,
    batch: int = o.BATCH,
    strict: bool = o.STRICT,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Compare methods on the same scans: same preparation, same post-processing, thresholds from validation only."""
    from uadtools.bench.table import markdown, write_table

    tell = c.teller("uad-bench", quiet)
    if report:
        from uadtools.publishing.publish import publish

        for line in publish(plan, output, against):
            c.say(line)
        return
    if against or output is None:
        raise c.usage("is for --report" if against else "name the folder", "--against" if against else "--output")
    runner = _runner(
        plan, output, data, fold, device=device, precision=precision, batch=batch, verbose=verbose, tell=tell
    )
    runner = runner.only(method) if method else runner
    c.keep_memory()
    if dry_run:
        from uadtools.bench.dry import planned, told_of

        rows = planned(runner)
        c.print_json(rows) if as_json else c.say(told_of(rows))
        return
    if method:
        runner.found()
        return
    table = runner.run()
    written = write_table(table, output)
    if as_json:
        c.print_json(table)
    else:
        if not quiet:
            c.say(markdown(table))
        tell(f"{', '.join(map(str, written))}")
    c.leave(table["sets"], strict)


def _runner(plan: Path, output: Path, data: Path | None, fold: int | None, *, verbose: bool, **more: Any) -> Bench:
    """Make the comparison of a plan, or one fold of it."""
    from uadtools.bench.plan import load_bench
    from uadtools.bench.run import Bench
    from uadtools.program.training import line

    config = load_bench(plan)
    if fold is not None and fold > config.folds:
        raise c.usage(f"{fold}: the plan has {config.folds or 'no'} folds", "--fold")
    number = None if fold is None else fold - 1
    watch = (lambda report, steps: more["tell"](line(report, steps))) if verbose else (lambda report, steps: None)
    return Bench(config, data or plan.parent, output, fold=number, watch=watch, **more)


COMMAND = c.Command(bench, "uad-bench", EXAMPLES)
main = COMMAND.run
