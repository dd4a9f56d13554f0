"""``--engine ray`` on a real cluster of two nodes: the same bytes as here, also where workers are killed."""

import re
import threading

import captioner_samples
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.ray_cluster import RayOptions, connected
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.extract_folder import extract_folder
from kgvad.video.write import write_video

pytest.importorskip("ray", reason="Ray is not installed; the extra dev brings it on Linux only")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one machine."""
    from kgvad.ray_cluster import import_ray

    import_ray()
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    found.add_node(num_cpus=2)
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for name, length in (("a", 40), ("b", 400), ("c", 160)):
        frames = (random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(length))
        write_video(folder / f"{name}.mp4", frames, fps=25)
    (folder / "broken.mp4").write_bytes(b"no video")
    whole = (folder / "b.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    return folder


def processes(part: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            name = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if name.startswith("ray::") and part in name:
            found.append(process)
    return found


def watch_and_kill(killed: list[str], reached: set[str], stopped: threading.Event) -> None:
    """SIGKILL the first process that decodes, and the first that encodes; note who is contacted until the end."""
    parts = ["MapBatches", "MapWorker"]
    while not stopped.wait(0.1):
        reached |= contacts()
        if parts and (ours := processes(parts[0])):
            ours[0].kill()
            killed.append(parts.pop(0))


def contacts() -> set[str]:
    """Addresses off this machine to which a process of Ray is connected."""
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    found = set()
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            remote = [one.raddr.ip.removeprefix("::ffff:") for one in process.net_connections("inet") if one.raddr]
        except psutil.Error:
            continue
        if "ray" in line:
            found |= set(remote) - own
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)  # some thirty processes start
def test_same_bytes_as_here_with_workers_killed_and_nobody_contacted(cluster, videos, weights, tmp_path):
    from ray._common.usage.usage_lib import usage_stats_enabled

    weights("efficientnet-lite0")
    encoder = load_visual_encoder("efficientnet-lite0")
    here = extract_folder(videos, tmp_path / "here", encoder, workers=1)
    killed, stopped, reached = [], threading.Event(), set()
    killer = threading.Thread(target=watch_and_kill, args=(killed, reached, stopped))
    killer.start()
    try:
        with connected(RayOptions(cluster.address), "cpu") as on:
            there = extract_folder(videos, tmp_path / "there", encoder, cluster=on)
    finally:
        stopped.set()
        killer.join()
    assert killed == ["MapBatches", "MapWorker"]
    assert reached == set() and not usage_stats_enabled()
    assert sorted(there.made) == sorted(here.made) == ["a", "b", "c"]
    assert there.failed == here.failed and set(there.failed) == {"broken", "cut"}
    for path in [*sorted(here.store.root.rglob("*.npy")), here.store.root / "manifest.json"]:
        assert path.read_bytes() == (there.store.root / path.name).read_bytes(), path.name


@pytest.mark.slow
@pytest.mark.timeout(900)  # some thirty processes start
def test_captions_and_reports_are_the_same_as_here(cluster, videos, weights, tmp_path):
    weights("efficientnet-lite0")
    model = captioner_samples.blip(tmp_path / "blip")
    here, there = tmp_path / "here", tmp_path / "there"
    explain = ["explain", videos, "--encoder", "efficientnet-lite0", "--no-actions", "--no-images"]
    engine = ["--engine", "ray", "--address", cluster.address]
    for folder, options in ((here, []), (there, engine)):
        caption = ["caption", videos, "--captioner", model, "--output", folder / "captions.json"]
        assert run(*caption, *options) == run(*explain, "--output", folder, *options) == 1  # two videos are broken
    assert (here / "captions.json").read_bytes() == (there / "captions.json").read_bytes()
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in there.iterdir()) and "b.html" in names
    assert (here / "index.json").read_bytes() == (there / "index.json").read_bytes()
    created = re.compile(r'"created": "[^"]*"')
    assert created.sub("", (here / "b.json").read_text()) == created.sub("", (there / "b.json").read_text())


def run(*arguments) -> int:
    return CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code
