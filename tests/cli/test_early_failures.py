"""A wrong option or a missing file is reported before anything heavy is imported."""

import subprocess
import sys

import pytest

WRONG = {
    "explain missing.mp4": "missing.mp4 does not exist",
    "explain": "neither a video nor scores were given",
    "explain --scores missing.csv": "missing.csv does not exist",
    "explain . --false-alarms 1/day": "--false-alarms does nothing without --calibrate; add --calibrate, or leave",
    "explain . --narrate-model qwen3": "--narrate-model does nothing without --narrate",
    "explain . --drop-unsupported": "--drop-unsupported does nothing without --narrate",
    "explain . --no-narrate-graph": "--no-narrate-graph does nothing without --narrate",
    "explain . --workers 2": "--workers is for --engine ray; add it, or leave",
    "explain . --clips /dev/null": "--clips /dev/null is not a folder",
    "caption . --output c.json --workers 2": "--workers is for --engine ray; add it, or leave",
    "watch . --output /dev/null": "--output /dev/null is not a folder",
    "serve /dev/null": "/dev/null is not a folder; give a folder of videos",
    "check . --report . --captions auto": "--captions auto needs the video",
    "explain . --run missing": "missing does not exist; make one with: kgvad train",
    "train --features missing": "missing does not exist",
    "train --epochs x": "--epochs",
    "score missing --run . --output out": "missing does not exist",
    "score . --run missing --output out": "missing does not exist; make one with: kgvad train",
    "score . --run . --output out --format xml": "unknown --format 'xml'",
    "evaluate missing": "missing does not exist; name a run of kgvad train, or scores",
    "evaluate . --features missing": "missing does not exist",
    "extract missing.mp4": "missing.mp4 does not exist",
    "build-anchors --dataset nothing": "unknown dataset 'nothing'; known are avenue",
    "build-anchors --dataset nothing.toml": "there is no category table nothing.toml; kgvad datasets init writes",
    "anchors show nothing": "nothing.safetensors does not exist; make it with: kgvad build-anchors --dataset nothing",
    "anchors export --csv out.csv": "ucf.safetensors does not exist; make it with: kgvad build-anchors --dataset ucf",
    "datasets show missing/videos": "is neither a dataset nor a folder",
    "features list missing": "missing does not exist",
    "features check missing": "missing does not exist; make some with: kgvad extract",
    "features compare . missing": "missing does not exist",
    "features import captions.json --to missing": "missing does not exist; make features with: kgvad extract",
    "kg import missing.nq": "missing.nq does not exist",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_nothing_heavy_is_imported(arguments, tmp_path):
    code = (
        "import sys\nfrom kgvad.cli import main\n"
        f"sys.argv = ['kgvad', *{arguments.split()!r}]\n"
        "try: main()\nexcept SystemExit as stopped: print(stopped.code)\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'sklearn', 'av', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    code, heavy = done.stdout.splitlines()
    assert code in ("1", "2") and WRONG[arguments] in done.stderr and done.stderr.count("\n") == 1
    assert heavy == "[]"
