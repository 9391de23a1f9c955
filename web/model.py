"""What the page needs of a model: python web/model.py any-small OUT writes OUT/model.onnx and OUT/model.json."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import onnx

from uadtools import __version__
from uadtools.healing.export import export


def main(model: str, out: Path) -> None:
    """Export a model, and write the texts of its ONNX file again, as browsers cannot read them there."""
    out.mkdir(parents=True, exist_ok=True)
    graph = out / "model.onnx"
    export(Path(model), graph, force=True)
    texts = {prop.key: prop.value for prop in onnx.load(graph, load_external_data=False).metadata_props}
    texts |= {"contrasts": (files("uadtools.anatomy") / "contrast.json").read_text(), "version": __version__}
    (out / "model.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
