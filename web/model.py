"""What browsers cannot read in an ONNX file: python web/model.py FILE.onnx writes FILE.json beside it."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import onnx

from uadtools import __version__


def main(exported: Path) -> None:
    """Write the texts of an exported model, the table by which contrasts are recognised, and who made it, as JSON."""
    texts = {text.key: text.value for text in onnx.load(exported, load_external_data=False).metadata_props}
    texts |= {"contrasts": (files("uadtools.anatomy") / "contrast.json").read_text(), "version": __version__}
    exported.with_suffix(".json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
