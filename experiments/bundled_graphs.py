"""Write the graphs without weights by which onnxruntime heals with the bundled models; run it when they change shape.

    python experiments/bundled_graphs.py

Needs the extra `export`. One graph for each architecture and way of healing, with the weights by their names in the
model files, from which uadtools.models.exported takes them.
"""

from dataclasses import replace

from onnx import TensorProto

from uadtools.errors import UadError
from uadtools.exporting.export import graph_of, how_exported, texts
from uadtools.healing.plan import is_noisy, settled
from uadtools.models.checkpoint import REFERENCE, bundled, read_config, read_shapes
from uadtools.models.exported import GRAPHS, bundled_graph
from uadtools.models.model import load_model


def main() -> None:
    GRAPHS.mkdir(exist_ok=True)
    for path in bundled():
        config = read_config(path)
        try:
            method, usual = how_exported(config, path)
        except UadError:
            continue
        for options in [] if is_noisy(type(usual)) else [usual, replace(usual, flips=True)]:
            out = bundled_graph(config, method, settled(options))
            if out.exists():
                continue
            model = load_model(path, device="cpu", precision="fp32", fold=False)
            graph = graph_of(model, method, options, optimize=False)
            names = {name for name in read_shapes(path) if not name.startswith(REFERENCE)}
            assert names <= {weight.name for weight in graph.graph.initializer}
            for weight in graph.graph.initializer:
                if weight.name in names:
                    weight.ClearField("raw_data")
                    weight.data_location = TensorProto.EXTERNAL
                    weight.external_data.add(key="location", value="weights")
            graph.metadata_props.add(key="uadtools.exported", value=texts(model, method, options)["uadtools.exported"])
            out.write_bytes(graph.SerializeToString())
            print(out.name, method, options, out.stat().st_size)


main()
