# A comparison of methods in folds, for one machine or many that share a disk: one job for each fold and method, then the table and
# what to publish of it.
#     snakemake -s examples/workflow/bench.smk --cores 2 --config plan=plan.toml data=scans/ out=results/
# Killed half-way, the same command does what is missing (after `--unlock`, if Snakemake was killed, too; add
# --rerun-incomplete). With --workflow-profile one of profiles/ it runs on SLURM or Kubernetes. Settings, all of which
# --config or a --configfile can change:
#     plan: as docs/bench.md explains, with or without folds; data: what its paths are relative to; out: where results go
#     options: of uad-bench, such as "--device cuda"
import tomllib
from pathlib import Path

from snakemake.exceptions import WorkflowError

if not config.get("plan"):
    raise WorkflowError("name the plan: --config plan=FILE.toml")
PLAN, OUT = Path(config["plan"]), Path(config.get("out", "results"))
DATA = Path(config.get("data", PLAN.parent))
READ = tomllib.loads(PLAN.read_text())
METHODS = READ["method"]
FOLDS = range(1, READ["folds"] + 1) if READ.get("folds") else ["all"]


def training(method):
    """Return what decides a model: methods that share it are done one after the other, as the first trains it."""
    return [method.get(key) for key in ("recipe", "changes", "minutes")]


def before(wanted):
    """Name the job before this one that has the same model: of another method, or of the fold before, if none is trained."""
    number = int(wanted.method)
    if not METHODS[number].get("recipe"):
        return [] if wanted.fold in ("1", "all") else [OUT / f"done/{int(wanted.fold) - 1}-{number}"]
    same = [i for i in range(number) if METHODS[i].get("recipe") and training(METHODS[i]) == training(METHODS[number])]
    return [OUT / f"done/{wanted.fold}-{i}" for i in same[-1:]]


localrules:
    all,


rule all:
    input:
        OUT / "report/manifest.json",


rule fold_of_method:
    input:
        before,
    output:
        touch(OUT / "done/{fold}-{method}"),
    threads: 1
    resources:
        mem_mb=8000,
    params:
        name=lambda wanted: METHODS[int(wanted.method)]["name"],
        fold=lambda wanted: "" if wanted.fold == "all" else f"--fold {wanted.fold}",
        options=config.get("options", ""),
    shell:
        "OMP_NUM_THREADS={threads} uad-bench {PLAN:q} --data {DATA:q} -o {OUT:q} {params.fold} "
        "--method {params.name:q} {params.options} --quiet"


rule table:
    input:
        expand(OUT / "done/{fold}-{method}", fold=FOLDS, method=range(len(METHODS))),
    output:
        OUT / "report/manifest.json",
    threads: 1
    resources:
        mem_mb=8000,
    params:
        options=config.get("options", ""),
        name=READ["name"],
    shell:
        "uad-bench {PLAN:q} --data {DATA:q} -o {OUT:q} {params.options} --quiet && "
        "uad-bench {OUT:q}/{params.name:q}.json --report"
