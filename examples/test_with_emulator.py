"""Test your own program without a network: pytest examples/test_with_emulator.py"""

import sys

import pytest

pytest_plugins = ["gigachat_lite.testing"]  # in a project of yours this line belongs into the topmost conftest.py


def summarize(giga, text):
    """Stand for your program."""
    response = giga.chat(f"Сократи до одного предложения: {text}")
    if response.finish_reason != "stop":
        raise ValueError(f"ответ не закончен: {response.finish_reason}")
    return response.text


def test_it_asks_for_one_sentence(gigachat, gigachat_emulator):
    assert summarize(gigachat, "Байкал - озеро.")  # the emulator says something by itself
    assert gigachat_emulator.requests[-1].body["messages"][0]["content"].endswith("Байкал - озеро.")


def test_it_survives_an_outage(gigachat, gigachat_emulator):
    gigachat_emulator.enqueue(status=503)  # the next answer fails, and the client tries again
    assert summarize(gigachat, "Байкал - озеро.")


def test_it_refuses_half_an_answer(gigachat, gigachat_emulator):
    message = {"role": "assistant", "content": "Байкал это"}
    gigachat_emulator.enqueue(body={"choices": [{"message": message, "finish_reason": "length"}]})
    with pytest.raises(ValueError, match="length"):
        summarize(gigachat, "Байкал - озеро.")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-v"]))
