"""Make the tables of what healthy scans look like: contrast.json of the recogniser; t1, flair and any.json of models.

Healthy T1 scans, prepared, and their labels (as IXI's by MALPEM) become other contrasts and mildly changed versions of
themselves. Training people make the tables; held-out people, and other scans by name, tell how good they are.

    python experiments/likeness.py --train scans/train --tight scans/train-tight --val scans/val --labels ixi/ \
        -o tables/ --others prepared/

The limits were chosen by hand, between the other scans that should pass and those that should not (docs/likeness.md).
The package has a copy of a run's contrast.json, which the last figures are of: copy it, and run again.

--tight: the same scans with another brain mask, taken for four in ten. Features are kept in the output folder, person
by person, so a run that was stopped goes on.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy import ndimage

from uadtools.anatomy.contrast import learn, recognise
from uadtools.anatomy.likeness import features
from uadtools.grids.grid import nearest
from uadtools.healing.likeness import fit_likeness
from uadtools.models.likeness import unlike
from uadtools.simulation.contrasts import CONTRASTS, synthesize, tissues
from uadtools.simulation.mild import CHANGES, changed
from uadtools.volume.stream import base_name, read_image

TABLES = (("t1", ("T1",), 1.1, 0.5), ("flair", ("FLAIR",), 0.9, 0.05), ("any", CONTRASTS, 0.9, 0.5))
"""By name: contrasts, limit, and how usual a scan is that a model of one contrast is best for.

T1 is that of one scanner, and other contrasts are made of labels, so that real ones are all a little unlike.
"""
COUNTS = {"T1": 2, "T2": 1, "FLAIR": 1, "PD": 1}
"""Changed versions of each scan of a contrast, beside itself."""


def labels_on(path, grid):
    """Tissues at the voxels of a grid, the nearest label each."""
    found = read_image(path)
    return tissues(nearest(found.data, found.grid, grid))


def person(path, labels, number, tight=None, *, varied):
    """All versions of a person's scan: rows of contrast, change and features. varied: some of the masks are tighter."""
    rng = np.random.default_rng([7, number])
    own = tight / path.name if tight and rng.random() < 0.4 else path
    scan = read_image(own)
    box = tuple(
        slice(max(0, b.start - 4), b.stop + 4) for b in ndimage.find_objects((scan.data > 0).astype(np.uint8))[0]
    )
    data, tissue = scan.data[box], labels_on(labels / f"{base_name(path)}_dseg.nii.gz", scan.grid)[box]
    rows = []
    for place, kind in enumerate(CONTRASTS):
        base = data if kind == "T1" else synthesize(data, tissue, kind, rng)
        if varied and rng.random() < 0.35:
            base = changed(base, "tight", rng, scan.grid.spacing)
        changes = [CHANGES[(number + 2 * place + 4 * k) % len(CHANGES)] for k in range(COUNTS[kind])]
        for change in ("none", *changes):
            made = base if change == "none" else changed(base, change, rng, scan.grid.spacing)
            rows.append((kind, change, features(made, made > 0, scan.grid.spacing)))
    return rows


def people(folder, labels, cache, tight=None, *, varied, count=None):
    """Everybody's rows, by name."""
    known = json.loads(cache.read_text()) if cache.exists() else {}
    paths = sorted(folder.glob("*_preprocessed.nii.gz"))
    for number, path in enumerate(paths[:count]):
        if path.name not in known:
            known[path.name] = person(path, labels, number, tight, varied=varied)
            cache.write_text(json.dumps(known))
            print(f"{number + 1}/{len(paths[:count])} {path.name}", flush=True)
    return known


def by_contrast(known, kinds):
    return {k: [[told for kind, _, told in rows if kind == k] for rows in known.values()] for k in kinds}


def confusion(held_out, table):
    """A Markdown table: what was made, and what it was taken for."""
    names = [*CONTRASTS, "other"]
    seen = Counter((kind, recognise(told, table).name) for rows in held_out.values() for kind, _, told in rows)
    lines = ["| is / taken for | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return [
        *lines,
        *("| " + " | ".join([kind, *(str(seen[kind, name]) for name in names)]) + " |" for kind in CONTRASTS),
    ]


def judged(held_out, table):
    """The largest `unlike` of held-out people by contrast and change, and how many of them are beyond the limit."""
    found = defaultdict(list)
    for rows in held_out.values():
        for kind, change, told in rows:
            if kind in table.contrasts:
                found[kind, change].append(unlike(told, table))
    beyond = sum(one.beyond for those in found.values() for one in those)
    print(f"{beyond} of {sum(map(len, found.values()))} held-out scans beyond {table.limit}")
    for (kind, change), those in sorted(found.items()):
        print(f"  {kind} {change}: {len(those)}, at most {max(one.number for one in those):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "val", "labels", "output"):
        parser.add_argument(*(["-o"] if name == "output" else []), f"--{name}", type=Path, required=True)
    parser.add_argument("--tight", type=Path)
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    parser.add_argument("--people", type=int, help="at most so many for training, and half of it held out")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    few = given.people and (given.people + 1) // 2
    train = people(given.train, given.labels, given.output / "train.json", given.tight, varied=True, count=given.people)
    val = people(given.val, given.labels, given.output / "val.json", varied=False, count=few)
    table = learn({k: [t for those in v for t in those] for k, v in by_contrast(train, CONTRASTS).items()})
    (given.output / "contrast.json").write_text(json.dumps(table, indent=1) + "\n")
    print("\n".join(confusion(val, table)))
    source = f"{len(train)} healthy people of IXI (Hammersmith), labels by MALPEM; other contrasts synthesized"
    tables = {}
    for name, kinds, limit, typical in TABLES:
        made = fit_likeness(by_contrast(train, kinds), limit=limit, source=source)
        tables[name] = made.model_copy(update={"typical": typical})
        (given.output / f"{name}.json").write_text(tables[name].model_dump_json() + "\n")
        judged(val, tables[name])
    for path in sorted(p for folder in given.others for p in folder.glob("*_preprocessed.nii.gz")):
        scan = read_image(path)
        told = features(scan.data, scan.data > 0, scan.grid.spacing)
        seen, those = recognise(told, table), [unlike(told, one) for one in tables.values()]
        words = [
            f"{n} {'BEYOND' if u.beyond else 'within'} {u.number:.2f} ({u.reason})"
            for n, u in zip(tables, those, strict=True)
        ]
        print(
            f"| {base_name(path)} | {seen.name} ({max(seen.p.values()):.2f}, {seen.away:.1f}) | "
            + " | ".join(words)
            + " |"
        )


if __name__ == "__main__":
    main()
