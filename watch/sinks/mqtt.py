"""Messages to an MQTT broker, with entities that Home Assistant discovers.

======================================  ========  =======================================================
topic                                   retained  payload
======================================  ========  =======================================================
PREFIX/CAMERA/event                     no        every message about an event, JSON
PREFIX/CAMERA/alarm                     yes       ON while an event is open, else OFF
PREFIX/CAMERA/status                    yes       the latest state of the camera, JSON
PREFIX/availability                     yes       online; offline once the connection is gone (last will)
homeassistant/binary_sensor/ID/config   yes       what Home Assistant shows: a sensor for each camera
======================================  ========  =======================================================

PREFIX is ``kgvad`` unless the target names another. User and password come from ``KGVAD_MQTT_USER`` and
``KGVAD_MQTT_PASSWORD``.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from kgvad.errors import UsageError
from kgvad.watch.messages import CameraMessage, EventMessage, to_line
from kgvad.watch.sinks.base import NotDeliveredError, server_of

logger = logging.getLogger(__name__)

USER, PASSWORD = "KGVAD_MQTT_USER", "KGVAD_MQTT_PASSWORD"
PORTS = {"mqtt": 1883, "mqtts": 8883}
TIMEOUT_S = 10.0
DISCOVERY = "homeassistant"
PROJECT = "https://github.com/kgvad/kgvad"


class Mqtt:
    """Publishes every message with quality of service 1: the broker has confirmed it when :meth:`deliver` returns."""

    def __init__(self, target: str, folder: Path | None) -> None:
        self._prefix, self._client = connect(target)
        self._connected = threading.Event()
        self._announced: set[str] = set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.will_set(f"{self._prefix}/availability", "offline", qos=1, retain=True)
        self._started, self._refusal = False, "does not answer"

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Publish one message and the state that follows from it."""
        self._connect()
        camera = topic_part(message.camera)
        if camera not in self._announced:
            topic, payload = discovery(self._prefix, message.camera)
            self._publish(topic, payload, retain=True)
            self._announced.add(camera)
        if isinstance(message, CameraMessage):
            self._publish(f"{self._prefix}/{camera}/status", to_line(message), retain=True)
            return
        self._publish(f"{self._prefix}/{camera}/event", to_line(message), retain=False)
        self._publish(f"{self._prefix}/{camera}/alarm", "OFF" if message.kind == "close" else "ON", retain=True)

    def close(self) -> None:
        """Say good-bye and disconnect."""
        if self._started:
            if self._connected.is_set():
                self._client.publish(f"{self._prefix}/availability", "offline", qos=1, retain=True).wait_for_publish(2)
            self._client.disconnect()
            self._client.loop_stop()

    def _connect(self) -> None:
        if not self._started:
            try:
                self._client.connect(self._client.host, self._client.port)
            except OSError as error:
                raise NotDeliveredError(f"{self._client.host}: {error}") from error
            self._client.loop_start()  # from here on it connects again by itself
            self._started = True
        if not self._connected.wait(TIMEOUT_S):
            raise NotDeliveredError(f"{self._client.host} {self._refusal}")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"refuses the connection: {reason}"
            return
        self._announced.clear()  # the broker may have lost what it retained
        client.publish(f"{self._prefix}/availability", "online", qos=1, retain=True)
        self._connected.set()

    def _publish(self, topic: str, payload: str, *, retain: bool) -> None:
        try:
            sent = self._client.publish(topic, payload, qos=1, retain=retain)
            sent.wait_for_publish(TIMEOUT_S)
        except (RuntimeError, ValueError) as error:
            raise NotDeliveredError(str(error)) from error
        if not sent.is_published():
            raise NotDeliveredError("the broker did not confirm it")


def connect(target: str) -> tuple[str, Any]:
    """Topic prefix and an unconnected client for ``mqtt(s)://HOST[:PORT][/PREFIX]``.

    Raises
    ------
    UsageError
        The target is something else.
    """
    server = server_of(target, PORTS)
    if server is None:
        raise UsageError(f"{target[:60]} is not the address of a broker", "give mqtt://HOST[:PORT][/PREFIX]")
    client: Any = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.host, client.port = server
    parts = urlsplit(target)
    if parts.scheme == "mqtts":
        client.tls_set()
    if os.environ.get(USER):
        client.username_pw_set(os.environ[USER], os.environ.get(PASSWORD))
    client.connect_timeout = TIMEOUT_S
    client.reconnect_delay_set(1, 30)
    return parts.path.strip("/") or "kgvad", client


def subscribe(target: str, topic: str, take: Callable[[bytes], None]) -> Callable[[], None]:
    """Call ``take`` with the payload of every message of a topic, across losses of the broker; returns what ends it.

    The log says once that the broker is away, and when it is there again.
    """
    _, client = connect(target)
    away = threading.Event()

    def lost(reason: str) -> None:
        if not away.is_set():
            logger.warning("the broker %s:%d %s; trying again", client.host, client.port, reason)
        away.set()

    def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            lost(f"refuses the connection: {reason}")
            return
        if away.is_set():
            logger.info("the broker %s:%d is there", client.host, client.port)
        away.clear()
        client.subscribe(topic, qos=1)

    client.on_connect = connected
    client.on_connect_fail = lambda *_: lost("cannot be reached")
    client.on_disconnect = lambda *given: lost("closed the connection") if given[3].is_failure else None
    client.on_message = lambda *given: take(given[2].payload)
    client.connect_async(client.host, client.port)
    client.loop_start()

    def end() -> None:
        client.disconnect()
        client.loop_stop()

    return end


def topic_part(name: str) -> str:
    """The name of a camera as one level of a topic."""
    return re.sub(r"[^\w-]+", "_", name)


def discovery(prefix: str, camera: str) -> tuple[str, str]:
    """Topic and payload with which Home Assistant learns of a camera's sensor."""
    part = topic_part(camera)
    identifier = f"{topic_part(prefix)}_{part}"
    payload = {
        "name": "Abnormal event",
        "unique_id": f"{identifier}_alarm",
        "device_class": "problem",
        "state_topic": f"{prefix}/{part}/alarm",
        "json_attributes_topic": f"{prefix}/{part}/event",
        "availability_topic": f"{prefix}/availability",
        "device": {"identifiers": [identifier], "name": f"kgvad {camera}", "manufacturer": "kgvad"},
        "origin": {"name": "kgvad", "sw_version": version("kgvad"), "support_url": PROJECT},
    }
    return f"{DISCOVERY}/binary_sensor/{identifier}/config", json.dumps(payload)
