"""How a network is run: ONNX Runtime on a CPU, where it is about twice as fast as torch, and torch everywhere else.

The graphs in ``graphs/`` hold the operations and no weights (30 and 20 kB; ``export_graphs.py`` makes them). A session
takes the weights from the state dict of the torch network, whose tensors have the same names. Both runtimes compute in
fp32 and agree to 1e-5 of the largest value, so which of them ran is not part of a fingerprint.

ONNX Runtime takes the inputs of a batch one by one: the activations of one stay in the cache (16 frames of
EfficientNet-Lite0 together cost a fifth more CPU time), memory does not grow with the batch, and results do not depend
on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kgvad.video.sampling import Precision

logger = logging.getLogger(__name__)

Output = Literal["features", "logits"]

_CUDNN: Any = torch.backends.cudnn
# Where torch says how cuDNN computes convolutions, and the value for fp32 throughout; up to torch 2.8 the latter.
_TF32 = (_CUDNN.conv, "fp32_precision", "ieee") if hasattr(_CUDNN, "conv") else (_CUDNN, "allow_tf32", False)


class Runner:
    """Runs a network whose ``forward`` returns (features, logits).

    Parameters
    ----------
    network
        The network with its weights; it is moved to ``device`` and set to evaluation.
    graph
        Name of its graph in ``graphs/``, without suffix.
    device
        Torch device.
    memory_format
        Of the network's weights where torch runs it.
    fewest_frames
        Inputs [B, 3, F, H, W] with fewer frames are left to torch.
    precision
        bf16 is computed by torch: ONNX Runtime has no such operations on a CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        graph: str,
        device: torch.device,
        memory_format: torch.memory_format,
        fewest_frames: int = 0,
        precision: Precision = "fp32",
    ) -> None:
        self.network = network.eval().to(device)
        self._graph = graph
        self.device = device
        self._memory_format = memory_format
        self._fewest_frames = fewest_frames
        self._precision = precision
        self._session: Any = None
        self._weights: list[Any] = []  # the session reads them where they lie
        self._prepared = False

    @property
    def runtime(self) -> Literal["onnxruntime", "torch"]:
        """What runs the network; decided on first use."""
        self._prepare()
        return "torch" if self._session is None else "onnxruntime"

    def run(self, pixels: Tensor, output: Output) -> Tensor:
        """One output of the network for a batch of inputs, float32 on the CPU."""
        self._prepare()
        if self._session is not None and pixels.shape[2] >= self._fewest_frames:
            inputs = np.ascontiguousarray(pixels.numpy())
            one_by_one = (self._session.run([output], {"pixels": inputs[i : i + 1]})[0] for i in range(len(inputs)))
            return torch.from_numpy(np.concatenate(list(one_by_one)))
        with torch.inference_mode(), arithmetic(self.device, self._precision):
            features, logits = self.network(pixels.to(self.device))
        chosen: Tensor = features if output == "features" else logits
        return chosen.float().cpu()

    def _prepare(self) -> None:
        """Make the session on first use: a worker process has set its number of threads by then."""
        if self._prepared:
            return
        self._prepared = True
        if self.device.type == "cpu" and self._precision == "fp32":
            try:
                self._session, self._weights = _session(self.network, self._graph)
            except Exception as error:  # not installed, or any of its own errors: torch computes the same
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                logger.debug(f"{self._graph} runs on torch, not on ONNX Runtime ({reason})")
        if self._session is None:
            self.network.to(memory_format=self._memory_format)  # type: ignore[call-overload]


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """A context in which torch computes in bf16 where that is safe, or in fp32 throughout.

    Convolutions of NVIDIA GPUs use TF32 by default, with 10 bits of the fraction in place of 23. Features in fp32 agree
    with those of a CPU only without it.
    """
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    place, name, full = _TF32
    before = getattr(place, name)
    setattr(place, name, full)
    try:
        with cast:
            yield
    finally:
        setattr(place, name, before)


def _session(network: nn.Module, graph: str) -> tuple[Any, list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the decoder needs the cores
    state = network.state_dict()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value.numpy())) for value in state.values()]
    options.add_external_initializers(list(state), values)
    data = files("kgvad.video.encoders").joinpath(f"graphs/{graph}.onnx").read_bytes()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), values
