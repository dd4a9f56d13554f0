"""Odd and hostile inputs of ``kgvad extract`` by the words of ``docs/reference/odd-inputs.md``; each is made here."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAMES = 50  # three snippets and two frames
Builder = Callable[[Path], str]  # makes the input in a folder, and returns what is named on the command line


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), 40 + number % 150, np.uint8)


def video(
    name: str = "v.mp4",
    codec: str = "libx264",
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    rate: Fraction | int = 25,
    times: Iterable[int] | None = None,
    container: dict[str, str] | None = None,
    sound: bool = False,
    more: int = 0,
    change: Callable[[bytes], bytes] | None = None,
    noise: bool = False,
    options: dict[str, str] | None = None,
    written: str | None = None,
) -> Builder:
    """A video file; ``times`` are of the frames in 1/1000 s, ``change`` what is done to the bytes of the file."""

    def build(folder: Path) -> str:
        path = folder / (written or name)
        random = np.random.default_rng(0)
        with av.open(os.fspath(path), "w", options=container or {}) as out:
            streams = [out.add_stream(codec, rate=rate, options=options or {}) for _ in range(1 + more)]
            for stream in streams:
                stream.width, stream.height, stream.pix_fmt = *size, pixels
                if times is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            voice = out.add_stream("aac" if name.endswith(("mp4", "mkv")) else "mp2", rate=16000) if sound else None
            stamps = None if times is None else iter(times)
            for number in range(frames):
                pixels_ = random.integers(0, 256, (size[1], size[0], 3), np.uint8) if noise else picture(number, *size)
                for stream in streams:
                    frame = av.VideoFrame.from_ndarray(pixels_, "rgb24").reformat(format=pixels)
                    if stamps is not None:
                        frame.pts, frame.time_base = next(stamps), Fraction(1, 1000)
                    out.mux(stream.encode(frame))
            if voice is not None:
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
                tone.sample_rate = 16000
                out.mux(voice.encode(tone))
                out.mux(voice.encode(None))
            for stream in streams:
                out.mux(stream.encode(None))
        if change is not None:
            path.write_bytes(change(path.read_bytes()))
        if written:
            path.rename(folder / name)
        return name

    return build


def data(name: str, content: bytes) -> Builder:
    def build(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return build


def named(name: str) -> Builder:
    """A name of nothing that is made here."""
    return lambda folder: name


def turned(turns: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        found = bytearray(content)
        at = found.index(b"tkhd") + 4 + 40
        one, wide = 0x10000, 0x40000000
        a, b, c, d = {1: (0, one, -one, 0), 2: (-one, 0, 0, -one), 3: (0, -one, one, 0)}[turns]
        found[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, wide)
        return bytes(found)

    return change


def between_packets(content: bytes) -> bytes:
    """Three quarters of the packets; what half a packet gives depends on the release of FFmpeg."""
    with av.open(io.BytesIO(content)) as container:
        starts = sorted(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    return content[: starts[len(starts) * 3 // 4]]


def zeroed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(400) + content[middle + 400 :]


def sound_only(folder: Path) -> str:
    with av.open(os.fspath(folder / "v.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16000
        out.mux(stream.encode(tone))
        out.mux(stream.encode(None))
    return "v.mp4"


def photo(name: str) -> Builder:
    def build(folder: Path) -> str:
        with (folder / name).open("wb") as out:
            Image.new("RGB", (64, 48)).save(out, "PNG" if name.endswith("png") else "JPEG")
        return name

    return build


def images(folder: Path) -> str:
    (folder / "frames").mkdir()
    for number in range(FRAMES):
        Image.fromarray(picture(number)).save(folder / "frames" / f"{number}.png")
    return "frames"


def archive_of_images(folder: Path) -> str:
    images(folder)
    with zipfile.ZipFile(folder / "v.zip", "w") as out:
        for path in (folder / "frames").iterdir():
            out.write(path, f"v/{path.name}")
    for path in (folder / "frames").iterdir():
        path.unlink()
    (folder / "frames").rmdir()
    return "v.zip"


def archive_named_mp4(folder: Path) -> str:
    with zipfile.ZipFile(folder / "v.mp4", "w") as out:
        out.writestr("v", b"x" * 1000)
    return "v.mp4"


def playlist(content: str) -> Builder:
    def build(folder: Path) -> str:
        video("inside.mp4")(folder)
        (folder / "v.mp4").write_text(content)
        return "v.mp4"

    return build


def link(target: str, made: Builder | None = None) -> Builder:
    def build(folder: Path) -> str:
        if made is not None:
            made(folder)
        (folder / "v.mp4").symlink_to(target)
        return "v.mp4"

    return build


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "v.mp4")
    return "v.mp4"


def folder_of(*builders: Builder) -> Builder:
    def build(folder: Path) -> str:
        (folder / "videos").mkdir()
        for builder in builders:
            builder(folder / "videos")
        return "videos"

    return build


def folder_with_links(folder: Path) -> str:
    """``videos`` holds a link to a folder with the video, which links back."""
    folder_of(video("v.mp4"))(folder)
    (folder / "videos").rename(folder / "there")
    (folder / "there" / "back").symlink_to("../videos")
    (folder / "videos").mkdir()
    (folder / "videos" / "linked").symlink_to("../there")
    return "videos"


def listed(*lines: str) -> Builder:
    def build(folder: Path) -> str:
        video("a.mp4")(folder)
        (folder / "list.txt").write_text("\n".join(lines))
        return "list.txt"

    return build


INPUTS: dict[str, Builder] = {
    "H.264 in MP4": video(),
    "H.264 in Matroska": video("v.mkv"),
    "H.265 in MP4": video(codec="libx265", options={"x265-params": "log-level=none"}),
    "AV1 in MP4": video(codec="libsvtav1"),
    "VP8 in WebM": video("v.webm", "libvpx"),
    "VP9 in WebM": video("v.webm", "libvpx-vp9"),
    "MPEG-4 in AVI, which keeps no time stamps": video("v.avi", "mpeg4"),
    "Motion JPEG in MOV": video("v.mov", "mjpeg", pixels="yuvj420p"),
    "ProRes in MOV, 10 bit, 4:2:2": video("v.mov", "prores", pixels="yuv422p10le"),
    "MPEG-2 in a transport stream": video("v.ts", "mpeg2video"),
    "MPEG-1 in a program stream": video("v.mpg", "mpeg1video"),
    "Windows Media": video("v.wmv", "wmv2"),
    "Flash": video("v.flv", "flv"),
    "H.263 in 3GP, 176 x 144": video("v.3gp", "h263", size=(176, 144)),
    "FFV1 in Matroska, with an alpha channel": video("v.mkv", "ffv1", pixels="bgra"),
    "grey, 16 bit": video("v.mkv", "ffv1", pixels="gray16le"),
    "4:4:4": video(pixels="yuv444p"),
    "65 x 49 pixels": video("v.mkv", "ffv1", size=(65, 49)),
    "2 x 2 pixels": video(size=(2, 2)),
    "4096 x 16 pixels": video(size=(4096, 16)),
    "MP4 with the suffix .avi": video("v.avi", written="v.mp4"),
    "MP4 with the suffix .MP4": video("V.MP4", written="v.mp4"),
    "turned by 90 degrees, as phones do": video(change=turned(1)),
    "turned by 180 degrees": video(change=turned(2)),
    "turned by 270 degrees": video(change=turned(3)),
    "one frame a second": video(rate=1),
    "240 frames a second": video(rate=240),
    "29.97 frames a second": video(rate=Fraction(30000, 1001)),
    "variable rate": video("v.mkv", times=[n * 40 + (n % 7) * 5 for n in range(FRAMES)]),
    "time stamps that begin at one hour": video("v.mkv", times=[3_600_000 + n * 40 for n in range(FRAMES)]),
    "a gap of ten minutes": video("v.mkv", times=[n * 40 + (600_000 if n > 24 else 0) for n in range(FRAMES)]),
    "one frame": video(frames=1),
    "15 frames": video(frames=15),
    "16 frames": video(frames=16),
    "with sound": video(sound=True),
    "two pictures in one file: the first is taken": video("v.mkv", more=1),
    "sound only": sound_only,
    "empty file": data("v.mp4", b""),
    "text": data("v.mp4", b"This is not a video.\n" * 50),
    "random bytes": data("v.mp4", bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))),
    "photograph": photo("v.png"),
    "photograph with the suffix .mp4": photo("v.mp4"),
    "zip archive with the suffix .mp4": archive_named_mp4,
    "gzip with the suffix .mp4": data("v.mp4", gzip.compress(b"x" * 1000)),
    "MP4 cut off, and so without its index": video(noise=True, change=lambda c: c[: len(c) // 2]),
    "MP4 cut off, the index in front": video(
        noise=True, container={"movflags": "faststart"}, options={"g": "8"}, change=between_packets
    ),
    "Matroska cut off": video("v.mkv", noise=True, change=lambda c: c[: len(c) * 3 // 4]),
    "400 bytes of zeros in the middle": video("v.mkv", noise=True, change=zeroed),
    "the first 100 bytes of an MP4": video(change=lambda c: c[:100]),
    "HLS playlist with the suffix .mp4": playlist("#EXTM3U\n#EXTINF:2,\ninside.mp4\n#EXT-X-ENDLIST\n"),
    "list of FFmpeg's concat with the suffix .mp4": playlist("ffconcat version 1.0\nfile inside.mp4\n"),
    "name with blanks, quotes and an emoji": video("my \"best\" 'clip' 🎬.mp4"),
    "name with a colon": video("rtsp:clip.mp4"),
    "name with a line break": video("two\nlines.mp4"),
    "name that begins with a dash": video("-clip.mp4", written="v.mp4"),
    "name with a percent sign": video("a%03d.mp4", written="v.mp4"),
    "name of 250 bytes": video("n" * 246 + ".mp4"),
    "symbolic link to a video": link("there.mp4", video("there.mp4")),
    "folder with a symbolic link to a folder of videos": folder_with_links,
    "symbolic link to nothing": link("nowhere.mp4"),
    "symbolic link to itself": link("v.mp4"),
    "named pipe": pipe,
    "/dev/null": named("/dev/null"),
    "/dev/zero": named("/dev/zero"),
    "no such file": named("none.mp4"),
    "empty folder": folder_of(),
    "folder with one broken video of two": folder_of(video("a.mp4"), data("b.mp4", b"no video")),
    "folder with two videos that differ in the suffix": folder_of(video("a.mp4"), video("a.mkv")),
    "folder with a hidden video": folder_of(video("a.mp4"), video(".b.mp4")),
    "folder of images": images,
    "zip archive of a folder of images": archive_of_images,
    "glob that matches nothing": named("*.mov"),
    "list with a file that is missing": listed("a.mp4", "b.mp4"),
    "list with comments and a repeated line": listed("# mine", "a.mp4", "a.mp4"),
    "file:// address": named("file:///etc/passwd"),
    "ftp:// address": named("ftp://127.0.0.1/v.mp4"),
    "http:// address where nobody listens": named("http://127.0.0.1:9/v.mp4"),
    "rtsp:// address where nobody listens": named("rtsp://user:secret@127.0.0.1:9/v"),
    "s3:// address without s3fs": named("s3://bucket/v.mp4"),
    "empty standard input": named("-"),
}
