"""Groups of endpoints are attributes of a client: made once, and replaced in tests as any attribute is."""
import asyncio
import threading
from unittest import mock

import pytest

from clients import new_client
from gigachat_lite import ChatCompletion, GigaChat

GROUPS = ["chat", "achat", "assistants", "a_assistants", "threads", "a_threads", "batches", "a_batches"]


@pytest.fixture
def giga():
    with new_client(access_token="t") as giga:
        yield giga


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_made_once(name, giga):
    assert getattr(giga, name) is getattr(giga, name) is not getattr(new_client(access_token="t"), name)
    assert getattr(GigaChat, name).__doc__


def test_threads_share_the_group_that_was_made_first(giga):
    found, start = [], threading.Barrier(8)

    def look():
        start.wait()
        found.append(giga.threads)

    readers = [threading.Thread(target=look) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(set(map(id, found))) == 1 and found[0] is giga.threads


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_set_and_deleted(name, used, giga, monkeypatch):
    before = getattr(giga, name) if used else None
    stub = object()
    setattr(giga, name, stub)
    assert getattr(giga, name) is stub
    delattr(giga, name)
    kind = type(getattr(giga, name))
    with monkeypatch.context() as patch:
        patch.setattr(giga, name, stub)
        assert getattr(giga, name) is stub
    assert type(getattr(giga, name)) is kind
    with mock.patch.object(giga, name) as patched:
        assert getattr(giga, name) is patched
    assert type(getattr(giga, name)) is kind and (before is None or type(before) is kind)
    with mock.patch.object(GigaChat, name, stub):
        assert getattr(new_client(access_token="t"), name) is stub
    assert type(getattr(new_client(access_token="t"), name)) is kind


def test_a_stub_answers_in_place_of_the_service(giga):
    answer = ChatCompletion(choices=[{"message": {"role": "assistant", "content": "Да."}, "index": 0}])
    giga.chat = mock.Mock(return_value=answer)
    assert giga.chat("Привет").text == "Да."
    giga.chat.assert_called_once_with("Привет")
    assert asyncio.run(giga.achat("Пока")) is answer
    giga.chat.assert_called_with("Пока")


def test_a_stub_serves_what_is_built_on_chat(giga):
    text = ChatCompletion(choices=[{"message": {"role": "assistant", "content": '{"a": 1}'}, "index": 0,
                                    "finish_reason": "stop"}])
    with mock.patch.object(giga, "chat", return_value=text) as chat:
        assert giga.run_functions("Привет").text == '{"a": 1}'
        _, value = giga.chat_parse("Привет", response_format={"type": "object", "properties": {"a": {}}})
    assert value == {"a": 1} and chat.call_count == 2


def test_a_wrapped_method_is_called_through_the_asynchronous_name(giga):
    with mock.patch.object(giga, "embeddings", return_value="vectors"):
        assert asyncio.run(giga.aembeddings(["a"])) == "vectors"
    with mock.patch.object(giga.batches, "list", return_value="batches"):
        assert asyncio.run(giga.a_batches.list()) == "batches"
