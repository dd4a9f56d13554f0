"""Nothing contacts anyone unless it is asked to: imports and commands that need no network open no connection."""

import json
import os
import subprocess
import sys

import pytest

# Refuses every connection, name look-up and started program, and records what was tried. Local sockets are no network.
GUARD = """
import json, sys, os
tried = []

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[-1]
        if isinstance(address, tuple):
            tried.append(f"{event} {address}")
            raise OSError("no network in this test")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        tried.append(f"{event} {arguments[0]}")
        raise OSError("no network in this test")
    elif event in ("subprocess.Popen", "os.posix_spawn") and ("pip" in str(arguments) or "curl" in str(arguments)):
        tried.append(f"{event} {arguments[:2]}")
        raise OSError("no downloader in this test")

sys.addaudithook(refuse)
"""
IMPORTS = """
import importlib, pkgutil, kgvad
for package in ("kgvad", "kgvad.kg", "kgvad.anchors", "kgvad.video", "kgvad.detector", "kgvad.explain"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:  # of an extra
                assert not str(error.name).startswith("kgvad"), error
"""
COMMAND = """
sys.argv = ["kgvad", *{arguments!r}]
from kgvad.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
ENCODE = """
from kgvad.anchors.text_encoders import load_text_encoder
assert load_text_encoder("minilm").encode(["a robbery"]).shape == (1, 384)
"""
ATTEMPT = """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=1)
except OSError:
    pass
"""
TELL = "\nprint('tried', json.dumps(tried))\n"


def tried(code, **environment):
    """What the program tried to reach."""
    # Libraries keep still under CI; users have no such variable.
    clean = {
        name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("HF_", "KGVAD_OFF"))
    }
    command = [sys.executable, "-c", GUARD + code + TELL]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("tried ")[2])


def test_the_guard_notices_an_attempt():
    assert any("192.0.2.1" in attempt for attempt in tried(ATTEMPT))


def test_no_import_contacts_anyone():
    assert tried(IMPORTS) == []


@pytest.mark.parametrize(
    "command", ["--help", "doctor", "weights list", "kg show Robbery", "train --help", "anchors show --help"]
)
def test_no_command_that_needs_no_network_contacts_anyone(command):
    assert tried(COMMAND.format(arguments=command.split())) == []


def test_encoding_with_local_weights_contacts_no_one(weights):
    weights("minilm-l6")
    assert tried(ENCODE) == []


@pytest.mark.parametrize("name", ["minilm-l6", "blip-itm-base-coco"])
def test_offline_nothing_is_fetched(name, tmp_path):
    clean = {"KGVAD_OFFLINE": "1", "KGVAD_CACHE": str(tmp_path), "KGVAD_WEIGHTS": ""}
    code = (
        f"from kgvad import weights\ntry: weights.find({name!r})\nexcept weights.WeightsError as error: print(error)\n"
    )
    assert tried(code, **clean) == []


def test_telemetry_of_libraries_is_off_unless_the_user_sets_it():
    code = (
        "import kgvad\nfrom huggingface_hub import constants\nassert constants.HF_HUB_DISABLE_TELEMETRY is {expected}\n"
    )
    assert tried(code.format(expected=True)) == []
    assert tried(code.format(expected=False), HF_HUB_DISABLE_TELEMETRY="0", DO_NOT_TRACK="0") == []
    code = "import kgvad\nfrom huggingface_hub import constants\nassert constants.is_offline_mode()\n"
    assert tried(code, KGVAD_OFFLINE="1") == []
