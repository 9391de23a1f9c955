"""uad-bench."""

from __future__ import annotations

from pathlib import Path

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-bench experiments/bench/ixi-lesions.toml --data scans/ -o results/
  uad-bench experiments/bench/ixi-lesions.toml --data scans/ -o results/   again: reads what is done, and costs nothing
  uad-bench mine.toml -o results/ --json | jq '.sets[0].rows[] | {method, auprc}'
"""


def bench(
    plan: Path = o.argument("PLAN  A .toml file that names data, test sets and methods.", ...),
    output: Path = o.option(
        """--output -o DIR
        A folder for models, scores, reports and the table (NAME.json, .md, .tex, .csv). A second run takes from it
        what is done.""",
        ...,
    ),
    data: Path | None = o.option("""--data DIR
        What paths in PLAN are relative to. Default: the folder that PLAN is in."""),
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
    from uadtools.bench.plan import load_bench
    from uadtools.bench.run import Bench, write_table
    from uadtools.bench.table import markdown
    from uadtools.cli._training import line

    config, tell = load_bench(plan), c.teller("uad-bench", quiet)
    runner = Bench(
        config,
        data or plan.parent,
        output,
        device=device,
        precision=precision,
        batch=batch,
        tell=tell,
        watch=lambda report, steps: tell(line(report, steps)) if verbose else None,
    )
    c.keep_memory()
    table = runner.run()
    written = write_table(table, output)
    if as_json:
        c.print_json(table)
    else:
        if not quiet:
            c.say(markdown(table))
        tell(f"{', '.join(map(str, written))}")
    c.leave(table["sets"], strict)


COMMAND = c.Command(bench, "uad-bench", EXAMPLES)
main = COMMAND.run
