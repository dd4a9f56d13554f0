"""Worker processes import nothing from the working folder and end with their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest

JOBS = """
import time
from pathlib import Path
from kgvad.detector.training.process_pool import run_in_parallel

def work(task):
    Path(f"began-{task}").touch()
    while SLEEP:
        time.sleep(0.1)

if __name__ == "__main__":
    print(list(run_in_parallel(work, ["a", "b"], 2)))
"""

EXTRACT = """
import sys
from pathlib import Path
import kgvad.video.extract_folder as extract
from kgvad.video.encoders.base import load_visual_encoder

if __name__ == "__main__":
    found = extract.extract_folder(sys.argv[1], "features", load_visual_encoder("efficientnet-lite0"), workers=2)
    print(sorted(found.made), found.failed)
"""


@pytest.fixture
def trap(tmp_path):
    """A working folder with modules that leave a trace when they are imported: Python's own and some of ours."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in ("multiprocessing", "struct", "pickle", "signal", "torch", "numpy", "kgvad"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({name!r})\n")
    return folder


def start(folder, program, *arguments, **options):
    script = folder.parent / "program.py"
    script.write_text(textwrap.dedent(program))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def copies_of_a_clip(folder, names):
    """Four seconds of the example scene, under each name."""
    from kgvad.video import demo
    from kgvad.video.write import write_video

    folder.mkdir()
    clip = write_video(folder.parent / "clip.mp4", islice(demo.frames(), 100), demo.FPS)
    for name in names:
        (folder / f"{name}.mp4").hardlink_to(clip)


def test_jobs_import_nothing_from_the_working_folder(trap, tmp_path):
    process = start(trap, JOBS.replace("SLEEP", "False"))
    assert process.communicate(timeout=300)[0] == "['a', 'b']\n"
    assert not (tmp_path / "executed").exists()


def test_extraction_imports_nothing_from_the_working_folder(trap, tmp_path, weights):
    weights("efficientnet-lite0")
    copies_of_a_clip(tmp_path / "videos", ["a", "b"])
    process = start(trap, EXTRACT, tmp_path / "videos")
    assert process.communicate(timeout=300)[0] == "['a', 'b'] {}\n"
    assert not (tmp_path / "executed").exists()


def killed(process, ready):
    """Kill the process once ``ready()``; whichever of its children are still alive after 10 s."""
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    return psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_jobs_end_when_their_parent_is_killed(trap):
    process = start(trap, JOBS.replace("SLEEP", "True"))
    assert killed(process, lambda: {"began-a", "began-b"} <= set(os.listdir(trap))) == []


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_extraction_ends_when_its_parent_is_killed(trap, tmp_path, weights):
    weights("efficientnet-lite0")
    copies_of_a_clip(tmp_path / "videos", range(300))
    process = start(trap, EXTRACT, tmp_path / "videos")
    assert killed(process, lambda: list(Path(trap, "features").rglob("*.npy"))) == []


POOL = """
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from kgvad.files import replacing
from kgvad.processes import serve_parent, worker_context, workers_end_with_errors
from kgvad.signals import ending_signals_raise

def work():
    with replacing("array.npy"):
        Path("began").touch()
        time.sleep(100)

def guarded():
    try:
        work()
    except SystemExit:
        raise SystemExit(1)

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, worker_context(), initializer=serve_parent)
    with ending_signals_raise():
        try:
            with workers_end_with_errors():
                pool.submit(guarded).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no signals")
def test_an_interrupt_does_not_wait_for_what_workers_do(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    process = start(folder, POOL, stderr=subprocess.DEVNULL)
    while not (folder / "began").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert [path.name for path in folder.iterdir()] == ["began"]
