"""The client of chat services, against a service on loopback that behaves well and badly."""

import socket

import pytest
from chat_service import chat_service

from kgvad.chat_endpoint import KEY, ChatEndpoint, is_address
from kgvad.errors import KgvadError, UsageError


@pytest.fixture
def service():
    with chat_service() as running:
        yield running


def ask(service, **options):
    return ChatEndpoint(service.address, "tiny", wait_s=0.01, **options).complete([{"role": "user", "content": "hi"}])


def test_a_conversation_is_sent_and_answered_greedily(service, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    assert ask(service) == "a man walks"
    ((path, key, body),) = service.seen
    assert path == "/v1/chat/completions"
    assert key == "Bearer secret"
    assert (body["model"], body["temperature"], body["messages"]) == ("tiny", 0, [{"role": "user", "content": "hi"}])


def test_a_busy_service_is_asked_again(service):
    service.plan = [(503, b"busy"), (429, b"slow down")]
    assert ask(service) == "a man walks"
    assert len(service.seen) == 3


@pytest.mark.parametrize(
    ("status", "answer", "tries", "said"),
    [
        (500, b"broken", 4, "status 500 .broken.*log of the service"),
        (401, b"no key", 1, f"set {KEY}"),
        (404, b"no such model", 1, "status 404.*; check the model and"),
        (200, b"<html>", 1, "did not answer with a chat completion"),
        (200, b'{"choices": []}', 1, "did not answer with a chat completion"),
        (200, b'{"choices": [{"message": {"content": null}}]}', 1, "without text; choose another model$"),
        (200, b"[" * 100_000, 1, "did not answer with a chat completion"),
        (200, b"x" * (1 << 21), 1, "too large"),
    ],
)
def test_what_is_no_answer_is_one_line(service, status, answer, tries, said):
    service.plan = [(status, answer)] * 10
    with pytest.raises(KgvadError, match=said):
        ask(service)
    assert len(service.seen) == tries


def test_a_refused_connection_is_one_line_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(KgvadError, match="cannot be reached"):
            ChatEndpoint(address, "tiny").complete([])


def test_a_model_must_be_named():
    with pytest.raises(UsageError, match="--model"):
        ChatEndpoint("http://localhost:1/v1", "")


def test_addresses():
    assert is_address("http://localhost:8000/v1")
    assert not is_address("Qwen/Qwen2.5-VL-3B-Instruct")


def test_offline_only_this_machine_is_asked(service, monkeypatch):
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # would refuse the connection
    assert ask(service) == "a man walks"
    with pytest.raises(UsageError, match="KGVAD_OFFLINE forbids"):
        ChatEndpoint("https://somewhere.example/v1", "tiny")


def test_pictures_do_not_follow_a_redirect(service):
    service.plan = [(307, b"")]
    with pytest.raises(KgvadError, match="status 307"):
        ask(service)
    assert len(service.seen) == 1


def test_half_a_character_is_replaced(service):
    service.plan = [(200, b'{"choices": [{"message": {"content": "a \\ud800 b"}}]}')]
    assert ask(service) == "a ? b"
