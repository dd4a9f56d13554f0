"""How a network is run: ONNX Runtime on a CPU, where it is about twice as fast as torch, and torch everywhere else.

The graphs in ``graphs/`` hold the operations and no weights (30 and 20 kB; ``export_graphs.py`` makes them). A session
takes the weights from the tensors of the torch network, which have the same names. Both runtimes compute in fp32 and
agree to 1e-5 of the largest value, so which of them ran is not part of a fingerprint.

On a CPU each thread computes one input of a batch (:func:`side_by_side`): its activations stay in the cache (16 frames
of EfficientNet-Lite0 together cost a fifth more CPU time), threads do not wait for each other, and the results are the
same bytes with any batch and number of threads. Torch is imported where it computes, so that a process that extracts
features on a CPU starts without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kgvad.device import cpu_threads
from kgvad.errors import first_line
from kgvad.video.encoders.pretrained import State
from kgvad.video.sampling import Precision

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

Output = Literal["features", "logits"]


@dataclass(frozen=True)
class Network:
    """A network that both runtimes know.

    Attributes
    ----------
    graph
        Name of its graph in ``graphs/``, without suffix.
    architecture
        ``"module:class"`` of the torch network without weights; its ``forward`` returns (features, logits).
    memory_format
        Name of torch's memory format for the weights.
    fewest_frames
        Clips with fewer frames are left to torch.
    """

    graph: str
    architecture: str
    memory_format: Literal["channels_last", "channels_last_3d"]
    fewest_frames: int = 0


class Runner:
    """Runs a network on pictures or clips.

    Parameters
    ----------
    network
        What is run.
    state
        Its tensors.
    device
        Torch device.
    scaled
        Pixels 0..255, float32, as the network takes them. Called with an array or with a tensor.
    precision
        bf16 is computed by torch: ONNX Runtime has no such operations on a CPU.
    """

    def __init__(
        self, network: Network, state: State, device: str, scaled: Callable[[Any], Any], precision: Precision = "fp32"
    ) -> None:
        self._network = network
        self._state = state
        self._device = device
        self._scaled = scaled
        self._precision = precision

    @property
    def runtime(self) -> Literal["onnxruntime", "torch"]:
        """What runs the network; decided on first use."""
        return "torch" if self._opened is None else "onnxruntime"

    def run(self, pixels: NDArray[np.uint8], output: Output) -> NDArray[np.float32]:
        """One output of the network, float32 [B, D], for pictures [B, H, W, 3] or clips [B, F, H, W, 3], uint8."""
        too_short = pixels.ndim == 5 and pixels.shape[1] < self._network.fewest_frames
        if self._opened is None or too_short:
            return self._in_torch(pixels, output)
        session = self._opened[0]

        def compute(one: NDArray[np.uint8]) -> NDArray[np.float32]:
            inputs = self._scaled(np.ascontiguousarray(np.moveaxis(one, -1, 0), np.float32))
            result: NDArray[np.float32] = session.run([output], {"pixels": inputs[None]})[0]
            return result

        return side_by_side(compute, list(pixels))

    def _in_torch(self, pixels: NDArray[np.uint8], output: Output) -> NDArray[np.float32]:
        import torch

        from kgvad.video.encoders.torch_arithmetic import arithmetic, on_one_thread_each

        network = self.torch_network  # made once, before there are threads

        def compute(part: NDArray[np.uint8]) -> NDArray[np.float32]:
            inputs = self._scaled(torch.from_numpy(np.ascontiguousarray(part)).to(self._device).movedim(-1, 1).float())
            features, logits = network(inputs)
            result: NDArray[np.float32] = (features if output == "features" else logits).float().cpu().numpy()
            return result

        device = torch.device(self._device)
        with torch.inference_mode(), arithmetic(device, self._precision):
            return on_one_thread_each(compute, list(pixels[:, None])) if device.type == "cpu" else compute(pixels)

    @cached_property
    def torch_network(self) -> nn.Module:
        """The network in torch, ready to run."""
        import torch

        network: nn.Module = resolve_name(self._network.architecture)()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self._state.items()})
        network = network.eval().requires_grad_(False)
        return network.to(self._device, memory_format=getattr(torch, self._network.memory_format))  # type: ignore[call-overload,no-any-return]

    @cached_property
    def _opened(self) -> tuple[Any, list[Any]] | None:
        """A session of ONNX Runtime and the weights that it reads where they lie, or ``None``; made on first use."""
        if self._device != "cpu" or self._precision != "fp32":
            return None
        try:
            return open_session(self._state, self._network.graph)
        except Exception as error:  # not installed, or any of its own errors: torch computes the same
            logger.debug(f"{self._network.graph} runs on torch, not on ONNX Runtime ({first_line(error)})")
            return None


def side_by_side(
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]], parts: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    """What ``compute``, which uses one thread, gives for each part, concatenated; as many at once as there are threads.

    Threads that share one operation wait for each other, also for one whose core the decoder has. How an operation is
    divided among them also changes the rounding.
    """
    at_once = min(cpu_threads(), len(parts))
    if at_once <= 1:
        return np.concatenate([compute(part) for part in parts])
    with ThreadPoolExecutor(at_once) as pool:
        return np.concatenate(list(pool.map(compute, parts)))


def open_session(state: State, graph: str) -> tuple[Any, list[Any]]:
    """A session of ONNX Runtime for a graph, and the weights, which have to live as long."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for value in state.values()]
    options.add_external_initializers(list(state), values)
    data = files("kgvad.video.encoders").joinpath(f"graphs/{graph}.onnx").read_bytes()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), values
