"""Latency, CPU, memory and recovery of `kgvad watch` on RTSP streams of this machine.

    python benchmarks/watch.py VIDEO [--streams 1 2] [--minutes 5] [--cut 20]

VIDEO (H.264) is repeated and served by GStreamer's RTSP server, which needs the Debian packages `python3-gi`,
`gir1.2-gst-rtsp-server-1.0`, `gstreamer1.0-plugins-good` and `gstreamer1.0-plugins-bad`, and runs in the Python of the
system. With `--cut` the server is killed in the middle of the time for that many seconds. Where `mosquitto` is
installed, all messages also go to a broker that is down in the same seconds; those that it has at the end are counted.

Latency is from the end of the row that crossed the threshold to the message that the event opened. CPU is that of the
process and its threads for a second of one stream. The slope of memory is fitted to the second half of the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import psutil

KGVAD = str(Path(sys.executable).with_name("kgvad"))
SAMPLE_S = 5.0
SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[2])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( filesrc location={sys.argv[1]} ! qtdemux ! h264parse config-interval=1 ! rtph264pay name=pay0 )")
factory.set_shared(False)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
GLib.MainLoop().run()
"""


@dataclass
class Measured:
    """Samples of one run: seconds, resident MB and CPU seconds; and what the command printed."""

    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""


def repeated(video: Path, target: Path, seconds: float) -> None:
    """Write ``video`` again and again, without encoding, until it lasts so long."""
    with av.open(str(video)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        length = stream.duration or round(source.duration / av.time_base / stream.time_base)
        for number in range(int(seconds / float(length * stream.time_base)) + 1):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.pts += number * length
                    packet.dts += number * length
                    packet.stream = copy
                    out.mux(packet)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(video: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/usr/bin/python3", "-c", SERVER, str(video), str(port)], stderr=subprocess.DEVNULL)


def broker(folder: Path, port: int) -> subprocess.Popen[bytes] | None:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if program is None:
        return None
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    return subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)


class Subscriber:
    """Counts what a broker gets about events, across its restarts."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt

        self.ids: set[tuple[str, str]] = set()
        self._client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("kgvad/+/event", qos=1)
        self._client.on_message = lambda *args: self._note(json.loads(args[2].payload))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _note(self, message: dict[str, Any]) -> None:
        self.ids.add((message["id"], message["kind"]))


def run(video: Path, streams: int, minutes: float, cut_s: float, folder: Path) -> tuple[Measured, int | None]:
    """Watch for some minutes; what was measured, and how many events the broker knows."""
    port, mqtt_port, found = free_port(), free_port(), Measured()
    names = [f"cam{number}" for number in range(streams)]
    with ExitStack() as stack:
        server, mosquitto = serve(video, port), broker(folder, mqtt_port)
        subscriber = None if mosquitto is None else Subscriber(mqtt_port)
        time.sleep(2)
        sink = [] if mosquitto is None else ["--sink", f"mqtt:mqtt://127.0.0.1:{mqtt_port}"]
        sources = [f"{name}=rtsp://127.0.0.1:{port}/live" for name in names]
        command = [KGVAD, "watch", *sources, "--output", str(folder / "out"), *sink]
        log = stack.enter_context((folder / "log").open("w+"))
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True))
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: found.lines.extend(map(json.loads, process.stdout or [])))
        reader.start()
        watched, began = psutil.Process(process.pid), time.monotonic()
        cut_at, back_at = minutes * 30, minutes * 30 + cut_s
        while (now := time.monotonic() - began) < minutes * 60:
            if cut_s and server.poll() is None and cut_at <= now < back_at:
                for one in (server, mosquitto):
                    if one is not None:
                        one.kill()
                        one.wait()
            if cut_s and server.poll() is not None and now >= back_at:
                server, mosquitto = serve(video, port), broker(folder, mqtt_port)
            with suppress(psutil.Error):
                used = watched.cpu_times()
                found.times.append(now)
                found.memory.append(watched.memory_info().rss / 1e6)
                found.cpu.append(used.user + used.system)
            time.sleep(SAMPLE_S)
        process.send_signal(signal.SIGTERM)
        process.wait()
        reader.join()
        for one in (server, mosquitto):
            if one is not None:
                one.kill()
        found.log = (folder / "log").read_text()
    return found, None if subscriber is None else len(subscriber.ids)


def row(found: Measured, known: int | None, streams: int) -> list[str]:
    """One row of the table."""
    events = [line for line in found.lines if line["kind"] != "camera"]
    opened = [line for line in events if line["kind"] == "open"]
    late = [(moment(line["time"]) - moment(line["end"])).total_seconds() for line in opened]
    states = [line["state"] for line in found.lines if line["kind"] == "camera"]
    counts = [line.split(": ")[-1].split() for line in found.log.splitlines() if "windows scored" in line]
    scored, skipped = sum(int(one[0]) for one in counts), sum(int(one[3]) for one in counts)
    later = np.array(found.times) > found.times[-1] / 2
    slope = float("nan")
    if later.sum() > 3:
        slope = float(np.polyfit(np.array(found.times)[later] / 3600, np.array(found.memory)[later], 1)[0])
    seconds = found.times[-1] - found.times[0]
    told = len({(line["id"], line["kind"]) for line in events})
    return [
        str(streams),
        f"{seconds / 60:.1f}",
        f"{(found.cpu[-1] - found.cpu[0]) / seconds / streams:.2f}",
        f"{max(found.memory):.0f}",
        f"{slope:+.0f}",
        f"{median(late):.1f} / {max(late):.1f}" if late else "no event",
        f"{len(opened)} / {sum(line['kind'] == 'close' for line in events)}",
        f"{scored} / {skipped}",
        f"{states.count('connected')} / {states.count('lost')}",
        "no broker" if known is None else f"{known} of {told}",
    ]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--cut", type=float, default=20.0)
    arguments = parser.parse_args()
    head = (
        "streams",
        "minutes",
        "CPU s / stream s",
        "peak MB",
        "slope MB/h",
        "latency s, median / max",
        "opened / closed",
        "windows scored / skipped",
        "connected / lost",
        "at the broker",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for streams in arguments.streams:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "long.mp4"
            repeated(arguments.video, video, arguments.minutes * 60 + 60)
            found, known = run(video, streams, arguments.minutes, arguments.cut, Path(folder))
            print(f"| {' | '.join(row(found, known, streams))} |", flush=True)
            losses = [line for line in found.lines if line["kind"] == "camera"]
            for line in losses:
                print(f"    {line['time']} {line['camera']} {line['state']}: {line['detail']}", file=sys.stderr)


if __name__ == "__main__":
    main()
