"""Make the graphs in ``graphs/`` again, for maintainers; needs ``pip install 'kgvad[graphs]'`` (onnx, onnxscript).

    python -m kgvad.video.encoders.export_graphs FOLDER

A graph holds the operations of a network as ONNX, without its weights: each parameter stays an external initializer
under its name in the state dict, and :mod:`kgvad.video.encoders.runtime` hands over the values. Any weights give the
same graph, so none are loaded here. I3D is exported once and serves any number of frames from nine on: its explicit
padding, which depends on the number of frames, is replaced by ``auto_pad="SAME_UPPER"``, which is the same rule.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kgvad.files import write_bytes
from kgvad.video.encoders.efficientnet_network import EfficientNetLite0
from kgvad.video.encoders.i3d_network import I3D

EXAMPLES: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "i3d": (I3D, (1, 3, 18, 224, 224)),
    "efficientnet-lite0": (EfficientNetLite0, (2, 3, 224, 224)),
}
MOST = 4096  # clips in a batch


def export_graph(name: str) -> bytes:
    """The graph of the network ``name``, serialised, without weights."""
    architecture, shape = EXAMPLES[name]
    network = architecture().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # all different: the exporter merges equal tensors
        parameter.requires_grad_(False).normal_(0, 0.01, generator=generator)
    batch = {0: torch.export.Dim("B", min=1, max=MOST)}
    program = torch.onnx.export(
        network,
        (torch.zeros(shape),),
        dynamo=True,
        input_names=["pixels"],
        output_names=["features", "logits"],
        dynamic_shapes=(batch,),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    if name == "i3d":
        _pad_automatically(model.graph)
    _remove_weights(model, network.state_dict().keys())
    data: bytes = model.SerializeToString()
    return data


def _pad_automatically(graph: Any) -> None:
    """Replace each Pad in front of a convolution or pool by ``auto_pad``, and free the number of frames."""
    from onnx import helper

    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Pad"}
    kept = []
    for node in graph.node:
        if node.op_type == "Pad":
            continue
        if node.op_type in ("Conv", "MaxPool"):
            node.input[0] = sources.get(node.input[0], node.input[0])
            attributes = [one for one in node.attribute if one.name not in ("pads", "auto_pad")]
            del node.attribute[:]
            node.attribute.extend([*attributes, helper.make_attribute("auto_pad", "SAME_UPPER")])
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    graph.input[0].type.tensor_type.shape.dim[2].dim_param = "T"


def _remove_weights(model: Any, parameters: Any) -> None:
    """Make the named initializers external; drop unused ones and everything that is only for debugging."""
    from onnx import TensorProto

    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    missing = set(parameters) - {tensor.name for tensor in tensors}
    if missing:
        raise RuntimeError(f"the exporter changed parameters: {sorted(missing)[:3]}")
    for tensor in tensors:
        if tensor.name in parameters:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = TensorProto.EXTERNAL
            location = tensor.external_data.add()
            location.key, location.value = "location", "weights"
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for field in (graph.value_info, graph.metadata_props, model.metadata_props):
        del field[:]


if __name__ == "__main__":
    for name in EXAMPLES:
        target = Path(sys.argv[1]) / f"{name}.onnx"
        write_bytes(target, export_graph(name))
        print(target)
