"""ONNX Runtime and torch give the same numbers, and torch steps in where ONNX Runtime is missing."""

import builtins
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from threading import Barrier

import numpy as np
import pytest
import torch

from kgvad.video.encoders import efficientnet, runtime
from kgvad.video.encoders.efficientnet_network import EfficientNetLite0
from kgvad.video.encoders.i3d import i3d_runner
from kgvad.video.encoders.i3d_network import I3D
from kgvad.video.encoders.pretrained import state_of
from kgvad.video.encoders.runtime import Network, Runner, side_by_side
from kgvad.video.encoders.torch_arithmetic import arithmetic, on_one_thread_each
from kgvad.video.sampling import Sampling

TOLERANCE = 1e-5  # largest difference over largest value


def filled(network, seed=0):
    """Random weights of the usual size, so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.requires_grad_(False).normal_(0, (2 / fan) ** 0.5, generator=generator)
    return network


def frames_runner(precision="fp32"):
    state = state_of(filled(EfficientNetLite0()))
    return Runner(efficientnet.NETWORK, state, "cpu", lambda pixels: (pixels - 127) / 128, precision)


def pictures(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 224, 224, 3), np.uint8)


def by_torch(runner, pixels, scaled, output):
    with torch.inference_mode():
        outputs = runner.torch_network(scaled(torch.from_numpy(pixels).movedim(-1, 1).float()))
    return dict(zip(("features", "logits"), outputs, strict=True))[output].numpy()


def difference(ours, torchs):
    return float(np.abs(ours - torchs).max() / np.abs(torchs).max())


@pytest.fixture(scope="module")
def i3d():
    return i3d_runner(state_of(filled(I3D())), "cpu")


@pytest.mark.parametrize(("batch", "frames"), [(1, 18), (2, 9), (1, 16)])
@pytest.mark.parametrize("output", ["features", "logits"])
def test_i3d_equals_torch(i3d, batch, frames, output):
    clips = pictures(batch, frames)
    expected = by_torch(i3d, clips, lambda pixels: pixels / 127.5 - 1, output)
    assert i3d.runtime == "onnxruntime"
    assert difference(i3d.run(clips, output), expected) < TOLERANCE


def test_clips_too_short_for_the_graph_run_on_torch(i3d):
    clips = pictures(1, 8)
    expected = by_torch(i3d, clips, lambda pixels: pixels / 127.5 - 1, "features")
    assert difference(i3d.run(clips, "features"), expected) < TOLERANCE


def test_bf16_runs_on_torch_and_is_close():
    runner = frames_runner("bf16")
    expected = by_torch(runner, pictures(1), lambda pixels: (pixels - 127) / 128, "features")
    found = runner.run(pictures(1), "features")
    assert (runner.runtime, found.dtype) == ("torch", np.float32)
    assert 1e-5 < difference(found, expected) < 0.05


class Watched(torch.nn.Module):
    """Notes how cuDNN computes convolutions while the network runs."""

    def forward(self, pixels):
        self.precision = torch.backends.cudnn.conv.fp32_precision
        return pixels, pixels


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 says it in another place")
@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_convolutions_are_full_fp32_while_an_encoder_runs(before):
    setting = torch.backends.cudnn.conv
    usual, setting.fp32_precision = setting.fp32_precision, before
    try:
        runner = Runner(
            Network("no such graph", f"{__name__}:Watched", "channels_last"), {}, "cpu", lambda pixels: pixels
        )
        runner.run(np.zeros((1, 2, 2, 3), np.uint8), "features")
        assert (runner.torch_network.precision, setting.fp32_precision) == ("ieee", before)
    finally:
        setting.fp32_precision = usual


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("output", ["features", "logits"])
def test_efficientnet_equals_torch(batch, output):
    runner = frames_runner()
    expected = by_torch(runner, pictures(batch), lambda pixels: (pixels - 127) / 128, output)
    assert runner.runtime == "onnxruntime"
    assert difference(runner.run(pictures(batch), output), expected) < TOLERANCE


def test_torch_steps_in_without_onnxruntime(monkeypatch, caplog):
    clips = pictures(1, 4)

    def encoder():
        state = state_of(filled(EfficientNetLite0()))
        return efficientnet.EfficientNetEncoder(state, "w", Sampling(temporal="mean4"), "cpu")

    fast = encoder()
    expected = fast.encode(clips)
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    slow = encoder()
    found = slow.encode(clips)
    assert (fast.runner.runtime, slow.runner.runtime) == ("onnxruntime", "torch")
    assert difference(found, expected) < TOLERANCE
    assert slow.fingerprint == fast.fingerprint


def test_graphs_are_small_and_hold_no_weights():
    for name in ("i3d", "efficientnet-lite0"):
        assert 10_000 < len(files("kgvad.video.encoders").joinpath(f"graphs/{name}.onnx").read_bytes()) < 40_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["i3d", "efficientnet-lite0"])
def test_the_script_makes_a_graph_that_computes_the_same(name, tmp_path):
    """A newer exporter may write other bytes; what counts is that the graph fits the network."""
    from kgvad.video.encoders import export_graphs, runtime

    (tmp_path / "graphs").mkdir()
    (tmp_path / f"graphs/{name}.onnx").write_bytes(export_graphs.export_graph(name))
    architecture, shape = export_graphs.EXAMPLES[name]
    network = filled(architecture()).eval()
    pixels = torch.rand(shape) * 2 - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "files", lambda package: tmp_path)
        session, _weights = runtime.open_session(state_of(network), name)
    with torch.inference_mode():
        _, expected = network(pixels)
    (found,) = session.run(["logits"], {"pixels": pixels.numpy()})
    assert difference(found, expected.numpy()) < TOLERANCE


@pytest.mark.skipif(sys.platform != "linux", reason="strace, which tells system calls, exists on Linux only")
def test_onnxruntime_contacts_nobody(tmp_path):
    """Also where CI is not set, which silences some libraries; releases from 1.29 on do unless they are told not to."""
    import shutil

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    code = (
        "import onnxruntime, numpy as np; from importlib.resources import files;"
        "import numpy; from kgvad.video.encoders.efficientnet import EfficientNetEncoder;"
        "from kgvad.video.encoders.efficientnet_network import EfficientNetLite0;"
        "from kgvad.video.encoders.pretrained import state_of; from kgvad.video.sampling import Sampling;"
        "state = {k: numpy.zeros_like(v) for k, v in state_of(EfficientNetLite0()).items()};"
        "e = EfficientNetEncoder(state, 'w', Sampling(stride=1), 'cpu');"
        "e.encode(numpy.zeros((1, 1, 224, 224, 3), 'uint8')); print(e.runner.runtime);"
        "import os, time; time.sleep(3); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    log = tmp_path / "calls"
    command = [
        "env",
        "-u",
        "CI",
        "strace",
        "-f",
        "-e",
        "trace=connect,sendto,sendmsg",
        "-o",
        log,
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.stdout.split() == ["onnxruntime", "1"], done.stderr
    assert "AF_INET" not in log.read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("network", ["efficientnet-lite0", "i3d"])
def test_any_batch_and_number_of_threads_give_the_same_bytes(network, precision):
    if network == "i3d":
        state, inputs = state_of(filled(I3D())), pictures(2, 16)
        made = partial(i3d_runner, state, "cpu", precision)
    else:
        made, inputs = partial(frames_runner, precision), pictures(5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runner = made()
            found.append(runner.run(inputs, "features"))
            found.append(np.concatenate([runner.run(one[None], "features") for one in inputs]))
            assert torch.get_num_threads() == threads
            with ThreadPoolExecutor(1) as pool:  # threads that start later have as many as before
                assert pool.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(one, found[0]) for one in found)


@pytest.mark.parametrize(("threads", "parts"), [(2, 5), (4, 2), (1, 3), (3, 1)])
def test_a_part_is_computed_by_one_thread_in_the_arithmetic_of_the_caller(threads, parts):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode(), arithmetic(torch.device("cpu"), "bf16"):
            seen = on_one_thread_each(noted, [np.full(1, i, np.uint8) for i in range(parts)])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen.tolist() == [[i, 1, 1, 1] for i in range(parts)]


def noted(part):
    """The part, and how torch computes it."""
    modes = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    return np.array([[*part, torch.get_num_threads(), *modes]])


def test_parts_are_computed_at_the_same_time(monkeypatch):
    monkeypatch.setattr(runtime, "cpu_threads", lambda: 3)
    together = Barrier(3, timeout=20)
    assert side_by_side(lambda part: np.array([together.wait()]), [np.zeros(1, np.uint8)] * 3).sum() == 0 + 1 + 2


def test_an_error_in_one_part_is_raised_and_the_threads_are_as_before():
    before = torch.get_num_threads()

    def broken(part):
        raise ValueError(f"part {part}")

    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="part"):
            on_one_thread_each(broken, [np.zeros(1, np.uint8)] * 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
