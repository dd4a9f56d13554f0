"""Addresses of network streams: which kinds are read, and what FFmpeg may do to read one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# What FFmpeg may use for each kind of address. No file, no second kind and no playlist can be reached.
PROTOCOLS = {
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "udp": "udp",
    "rtp": "rtp,udp",
    "srt": "srt",
    "tcp": "tcp",
}
# FFmpeg's demuxers of media. HLS, DASH, concat and SDP are absent: these name further addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,ogg,asf,rtsp,rtp,h264,hevc,m4v,mjpeg,"
    "mpjpeg,ivf,nut,mxf,dv,obu,gif,rm,wtv"
)
REMEDY = "check that the address answers; playlists (HLS, DASH) are not followed, name the stream itself"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.]*)://", re.IGNORECASE)


def kind_of(source: str) -> str | None:
    """The kind of an address in lower case, such as ``rtsp``; ``None`` for the name of a file."""
    found = _ADDRESS.match(source)
    return found[1].lower() if found else None


def shown(address: str) -> str:
    """An address without user name, password and query, for messages; other text as it is."""
    if kind_of(address) is None:
        return address
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def ffmpeg_options(kind: str) -> dict[str, str]:
    """Options for FFmpeg to open an address of a kind in :data:`PROTOCOLS`."""
    options = {"protocol_whitelist": PROTOCOLS[kind], "format_whitelist": _FORMATS}
    if kind in ("rtsp", "rtsps"):
        options["rtsp_transport"] = "tcp"  # one connection to the host that was named; UDP loses packets silently
    return options
