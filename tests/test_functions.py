"""Python callables as functions of the model: descriptions, checks, and the loop that calls them."""
from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import os
import pathlib
import pickle
import subprocess
import sys
import uuid
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import pytest

import gigachat_lite
from clients import new_client
from gigachat_lite import Chat, Emulator, Function, GigaChatException, Messages, RateLimitError
from gigachat_lite.functions import (
    ChatRun,
    FunctionCallError,
    as_functions,
    describe,
    result_json,
)
from gigachat_lite.histories import check_history
from gigachat_lite.models import Answer, ChatUsage, Usage

try:
    from typing import Literal, TypedDict
except ImportError:  # Python 3.7
    from typing_extensions import Literal, TypedDict

STATE_ID = "0199e210-2f13-744c-8fe5-c9a19fe27db7"
STRING, INTEGER = {"type": "string"}, {"type": "integer"}


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclasses.dataclass
class Place:
    city: str
    flat: Optional[int] = None


@dataclasses.dataclass
class Report:
    place: Place
    unit: Unit = Unit.CELSIUS


class Row(TypedDict):
    n: int


def weather(city: str, days: int = 3, unit: Unit = Unit.CELSIUS, kind: Optional[Literal["brief", "full"]] = None):
    """Узнать погоду.

    Args:
        city: город,
            по-русски
        days (int): на сколько дней
    """
    return {"city": city, "days": days, "unit": unit.value, "kind": kind}


def report(place: Place, rows: List[Row], extra: Dict[str, Any], when: datetime.date) -> Report:
    """Собрать отчёт.

    :param place: где
    """
    return Report(place)


def loose(a, b=1, *args, c="x", d=None, **kwargs):
    return None


def nothing():
    pass


def annotated_any(value: Any) -> Any:
    return value


class Counter:
    """Считать вызовы."""

    def __init__(self):
        self.calls = []

    def __call__(self, text: str) -> int:
        self.calls.append(text)
        return len(self.calls)

    def method(self, text: str) -> str:
        """Вернуть текст."""
        return text


def example(a: int) -> int:
    return a


def keyed(city: str, api_key: str, **more: Any) -> str:
    return f"{city} {api_key} {more}"


KEYED = functools.partial(keyed, api_key="sk-secret", region="ru")


@functools.wraps(KEYED)
def round_keyed(*args, **kwargs):
    return KEYED(*args, **kwargs)


example.few_shot_examples = [{"request": "Один", "params": {"a": 1}}]
example.return_parameters = {"type": "object", "properties": {"result": INTEGER}}


@pytest.fixture
def emu():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def giga(emu):
    return new_client(**emu.config, max_retries=0)


# ---- Descriptions


PLACE = {"type": "object", "properties": {"city": STRING, "flat": INTEGER}, "required": ["city"]}
DESCRIPTIONS = {
    "weather": (weather, {"name": "weather", "description": "Узнать погоду.", "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "город, по-русски"},
            "days": {"type": "integer", "description": "на сколько дней", "default": 3},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "kind": {"type": "string", "enum": ["brief", "full"]}},
        "required": ["city"]}}),
    "report": (report, {"name": "report", "description": "Собрать отчёт.", "parameters": {
        "type": "object",
        "properties": {
            "place": {**PLACE, "description": "где"},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"n": INTEGER}, "required": ["n"]}},
            "extra": {"type": "object", "properties": {}, "additionalProperties": True},
            "when": {"type": "string", "format": "date"}},
        "required": ["place", "rows", "extra", "when"]}}),
    "no annotations": (loose, {"name": "loose", "parameters": {
        "type": "object",
        "properties": {"a": STRING, "b": {"type": "integer", "default": 1}, "c": {"type": "string", "default": "x"},
                       "d": STRING},
        "required": ["a"]}}),
    "no parameters": (nothing, {"name": "nothing", "parameters": {"type": "object", "properties": {}}}),
    "Any": (annotated_any, {"name": "annotated_any", "parameters": {
        "type": "object", "properties": {"value": {}}, "required": ["value"]}}),
    "an object": (Counter(), {"name": "Counter", "description": "Считать вызовы.", "parameters": {
        "type": "object", "properties": {"text": STRING}, "required": ["text"]}}),
    "a method": (Counter().method, {"name": "method", "description": "Вернуть текст.", "parameters": {
        "type": "object", "properties": {"text": STRING}, "required": ["text"]}}),
    "a partial": (functools.partial(example, 5), {"name": "example", "parameters": {
        "type": "object", "properties": {}}}),
    "a partial with names": (KEYED, {"name": "keyed", "parameters": {
        "type": "object", "properties": {"city": STRING}, "required": ["city"]}}),
    "a wrapped function with attributes": (functools.lru_cache()(example), {
        "name": "example", "parameters": {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]},
        "few_shot_examples": example.few_shot_examples, "return_parameters": example.return_parameters}),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_callable_is_described(name):
    function, wanted = DESCRIPTIONS[name]
    description = describe(function)
    assert description == wanted and type(description) is Function


def test_given_fields_win_over_found_ones():
    given = {"name": "other", "description": "Иначе.", "parameters": {},
             "few_shot_examples": [{"request": "?", "params": {}}], "return_parameters": {"type": "object"}}
    assert describe(weather, **given) == given
    with pytest.raises(TypeError, match="did you mean 'description'"):
        describe(weather, descripton="x")


async def waits():
    pass


def yields():
    yield 1


def unreadable(x: NoSuchName):  # noqa: F821
    pass


def two_types(x: bytes):
    pass


@pytest.mark.parametrize("function, said", [
    (Place, "a function is needed"),
    (5, "a function is needed, not 5"),
    (max, "max.* cannot be described: no signature found"),
    (waits, "waits has to return its result: it is async"),
    (yields, "yields has to return its result"),
    (unreadable, "the annotations of unreadable cannot be read"),
    (two_types, r"two_types\.x: bytes is no type"),
])
def test_what_cannot_be_described_is_refused(function, said):
    with pytest.raises(TypeError, match=said):
        describe(function)


def test_functions_are_callables_descriptions_pairs_and_names():
    own = {"name": "own", "parameters": {"type": "object", "properties": {}}}
    named = Function(name="named", parameters={})
    descriptions, callables = as_functions([weather, own, (named, nothing), "text2image", {"name": "text2model3d"}])
    assert descriptions == [describe(weather), own, named, {"name": "text2image"}, {"name": "text2model3d"}]
    assert descriptions[1] is own and callables == {"weather": weather, "named": nothing}


@pytest.mark.parametrize("functions, kind, said", [
    (weather, TypeError, "a list is needed"),
    ({"name": "x"}, TypeError, "a list is needed"),
    ("text2image", TypeError, "functions: a list is needed, not str"),
    (5, TypeError, "functions: a list is needed, not int"),
    ([({"name": "x", "parameters": {}}, max)], TypeError, "no signature found"),
    ([5], TypeError, r"functions\[0\]: a callable or a description is needed, not int"),
    ([weather, weather], ValueError, r"functions\[1\]: there is a function 'weather' already"),
    ([({"name": "x", "parameters": {}}, unreadable)], TypeError, "cannot be read"),
    ([({"name": "x", "parameters": {}}, waits)], TypeError, "async"),
])
def test_wrong_functions_are_refused_with_their_place(functions, kind, said):
    with pytest.raises(kind, match=said):
        as_functions(functions)


def test_a_wrapped_partial_hides_its_bound_arguments():
    described = {"name": "x", "parameters": {}}
    assert "api_key" not in json.dumps(describe(round_keyed, name="keyed")) and as_functions([(described, round_keyed)])


# ---- Histories


SYSTEM, USER = {"role": "system", "content": "Кратко."}, {"role": "user", "content": "Погода?"}
SAID = {"role": "assistant", "content": "Ясно."}
CALL = {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": {"city": "Тула"}}}
STATE = {"role": "assistant", "content": "", "functions_state_id": STATE_ID}
RESULT = {"role": "function", "name": "weather", "content": '{"t": 3}'}
CALL2 = {"role": "assistant", "content": [{"function_call": {"name": "weather", "arguments": {}}}]}
RESULT2 = {"role": "tool", "content": [{"function_result": {"name": "weather", "result": {"t": 3}}}]}
USER2 = {"role": "user", "content": [{"text": "Погода?"}]}
SYSTEM2 = {"role": "system", "content": [{"text": "Кратко."}]}
CALLS2 = {"role": "assistant", "content": CALL2["content"] * 2}



GOOD = [
    [USER],
    [USER, CALL, RESULT],
    [SYSTEM, USER, CALL, RESULT, SAID, USER, CALL, RESULT],
    [USER, STATE, RESULT],
    [USER, STATE, USER],
    [USER, {**CALL, "content": None}, RESULT],
    [USER, {**CALL, "function_call": {"name": "weather", "arguments": "{}"}}, {**RESULT, "content": "[1]"}],
    [Messages(role="user", content="?"), Messages(CALL), Messages(RESULT)],
    [USER2, CALL2, RESULT2, {"role": "assistant", "content": [{"text": "Ясно"}]}],
    [USER2, CALL2, {**RESULT2, "role": "function"}],
    [USER2, CALL2, {"role": "tool", "content": [{"function_result": {"name": "weather", "result": '{"t": 3}'}}]}],
    [USER2, {"role": "assistant", "content": [{"text": "Ясно"}], "tool_state_id": STATE_ID}, RESULT2],
    [USER2, SYSTEM2, USER2],  # the service makes a user's message of it
    [USER2, CALLS2, RESULT2, RESULT2],
    [USER2, CALL2, RESULT2, RESULT2],
    [USER2, {"role": "assistant", "tools_state_id": STATE_ID}, RESULT2],
    [USER2, {"role": "assistant", "content": [{"function_call": {"name": "weather", "arguments": None}}]}, RESULT2],
]


@pytest.mark.parametrize("messages", GOOD)
def test_a_good_history_passes_here_and_there(messages, emu, giga):
    check_history(messages)
    second = any(isinstance(message.get("content"), list) for message in messages)
    assert (giga.chat.create if second else giga.chat)(messages)


@pytest.mark.parametrize("messages, said", [
    ([USER, SYSTEM], r"messages\[1\]: a system message is only allowed as the first"),
    ([USER, CALL], r"messages\[1\]: the call of function 'weather' has no result: messages\[2\] has to be it"),
    ([USER, CALL, USER], r"messages\[1\]: the call of function 'weather' has no result"),
    ([USER, RESULT], r"messages\[1\]: this result has no call of a function before it"),
    ([USER, CALL, RESULT, RESULT], r"messages\[3\]: this result has no call"),
    ([USER, CALL, {**RESULT, "content": "ясно"}], r"messages\[2\].content: a result is a string that holds JSON"),
    ([USER, CALL, {**RESULT, "content": '{"t": NaN}'}], r"messages\[2\].content: a result"),
    ([USER, CALL, {**RESULT, "content": {"t": 3}}], r"messages\[2\].content: a result"),
    ([USER2, CALL2], r"messages\[1\]: the call of function 'weather' has no result"),
    ([USER2, RESULT2], r"messages\[1\]: this result has no call"),
    ([USER2, CALLS2, RESULT2], r"messages\[1\]: the call of function 'weather' has no result: messages\[3\] has"),
    ([USER2, CALLS2, RESULT2, USER2], r"messages\[1\]: the call of function 'weather' has no result: messages\[3\]"),
    ([USER2, CALL2, {"role": "tool", "content": [{"function_result": {"name": "weather", "result": "3 градуса"}}]}],
     r"messages\[2\]: the result of a function_result is an object"),
    ([{"role": "assistant", "content": [{"function_call": {"name": "weather", "arguments": "{}"}}]}],
     r"messages\[0\]: in v2 the arguments of a function_call are an object"),
])
def test_a_broken_history_is_refused_with_its_index(messages, said):
    with pytest.raises(ValueError, match="^" + said):
        check_history(messages)


# ---- Results


NAN = float("nan")


@pytest.mark.parametrize("value, wanted", [
    ({"t": 5}, {"t": 5}),
    ("солнечно", {"result": "солнечно"}),
    (None, {"result": None}),
    (5, {"result": 5}),
    ([1, 2], {"result": [1, 2]}),
    ((1, {2}), {"result": [1, [2]]}),
    ('{"t": 5}', {"t": 5}),  # it is JSON already
    (' {"t": 5}\n', {"t": 5}),
    ("[1, 2]", {"result": [1, 2]}),
    ("{так}", {"result": "{так}"}),
    ('{"t": NaN}', {"result": '{"t": NaN}'}),
    (Unit.CELSIUS, {"result": "C"}),
    ({Unit.CELSIUS: 1, 2: {None: datetime.date(2026, 1, 15)}}, {"C": 1, "2": {"null": "2026-01-15"}}),
    (Report(Place("Тула", 5)), {"place": {"city": "Тула", "flat": 5}, "unit": "C"}),
    ([Place("Тула")], {"result": [{"city": "Тула", "flat": None}]}),
    ({"when": datetime.date(2026, 1, 15), "price": decimal.Decimal("1.50")}, {"when": "2026-01-15", "price": "1.50"}),
    ({"id": uuid.UUID(int=1), "path": pathlib.PurePosixPath("/a")},
     {"id": "00000000-0000-0000-0000-000000000001", "path": "/a"}),
    ({"t": NAN, "all": [1.5, NAN]}, {"t": None, "all": [1.5, None]}),
    ("кот".encode(), {"result": "кот"}),
    (Answer(data=[]), {"data": []}),
    pytest.param(SimpleNamespace(model_dump=lambda mode: {"mode": mode}), {"mode": "json"}, id="pydantic 2"),
    pytest.param(SimpleNamespace(dict=lambda: {"a": {1}}), {"a": [1]}, id="pydantic 1"),
    pytest.param(SimpleNamespace(item=lambda: 5), {"result": 5}, id="item"),
], ids=str)
def test_a_result_becomes_a_json_object(value, wanted):
    assert json.loads(result_json(value)) == wanted


def test_results_of_numpy_become_plain_json():
    np = pytest.importorskip("numpy")
    for value, wanted in (
        (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.int64(5), 5), (np.bool_(True), True), (np.str_("a"), "a"),
        (np.float32("nan"), None), (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]), (np.array(5), 5),
        (np.array([1.5, np.nan]), [1.5, None]), ([np.int8(1), {np.int8(2)}], [1, [2]]),
        (np.datetime64("2026-01-15", "ns"), "2026-01-15T00:00:00"),
        (np.array(["2026-01-15", "NaT"], "M8[ns]"), ["2026-01-15T00:00:00", None]),
    ):
        assert json.loads(result_json(value)) == {"result": wanted}
    assert json.loads(result_json({np.int64(1): np.arange(2)})) == {"1": [0, 1]}
    for value in (np.array([1j]), np.array([np.inf]), np.timedelta64(1, "ns")):
        with pytest.raises(TypeError):
            result_json(value)


def test_results_of_pandas_become_plain_json():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"city": ["Тула", None], "t": [3, 4]}, index=["a", "b"])
    days = pd.Series(pd.to_datetime(["2026-01-15", None]))
    for value, wanted in (
        (frame, {"city": {"a": "Тула", "b": None}, "t": {"a": 3, "b": 4}}),
        (frame["t"], {"a": 3, "b": 4}),
        (days, {"0": "2026-01-15T00:00:00", "1": None}),
        (pd.Series([1.5, None]), {"0": 1.5, "1": None}),
        (pd.Series([1, None], dtype="Int64"), {"0": 1, "1": None}),
        (frame.index, {"result": ["a", "b"]}),
        (pd.DatetimeIndex(["2026-01-15"], tz="UTC"), {"result": ["2026-01-15T00:00:00+00:00"]}),
        ([pd.NaT, pd.NA, pd.Timestamp("2026-01-15")], {"result": [None, None, "2026-01-15T00:00:00"]}),
    ):
        assert json.loads(result_json(value)) == wanted


def test_neither_numpy_nor_pandas_is_imported():
    code = "import sys, gigachat_lite.functions as functions; functions.result_json([1.5, {2}]); "
    code += "sys.exit(bool({'numpy', 'pandas'} & set(sys.modules)))"
    root = os.path.dirname(os.path.dirname(gigachat_lite.__file__))
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": root})


def circle():
    items = []
    items.append(items)
    return items


@pytest.mark.parametrize("value", [
    object(), Place, {"x": object()}, {"t": float("inf")}, b"\xff", {(1, 2): 3}, datetime.timedelta(1), circle(),
], ids=["object", "class", "inside", "infinite", "bytes", "key", "timedelta", "circle"])
def test_a_result_without_json_is_the_callers_error(value, emu, giga):
    def strange() -> Any:
        return value

    emu.enqueue(body=wants("strange", {}))
    with pytest.raises(TypeError, match="the result of 'strange' cannot be written as JSON: ") as caught:
        giga.run_functions("?", [strange])
    assert caught.value.messages[-1].function_call.name == "strange"  # what was paid for is kept
    assert len(sent(emu)) == 1  # the model is not told


# ---- The loop of v1


def sent(emulator):
    """List the bodies of the requests for answers, as JSON."""
    return [request.json() for request in emulator.requests if request.path.endswith("/chat/completions")]


def wants(name, arguments, **more):
    """Make an answer that calls a function."""
    message = {"role": "assistant", "content": "", "function_call": {"name": name, "arguments": arguments}, **more}
    return {"choices": [{"message": message, "index": 0, "finish_reason": "function_call"}], "created": 1, "model": "m",
            "object": "chat.completion", "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}}


def says(text, reason="stop"):
    """Make an answer in words."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "index": 0, "finish_reason": reason}],
            "created": 1, "model": "m", "object": "chat.completion",
            "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}}


@pytest.mark.parametrize("version, kind", [(1, "Messages"), (2, "ChatMessage")])
def test_functions_are_called_until_the_model_answers(version, kind, emu, giga):
    owner = giga if version == 1 else giga.chat
    run = owner.run_functions("Какая погода в Туле на 5 дней?", [weather], headers={"X-Session-ID": "s"})
    assert [type(message).__name__ for message in run.messages] == [kind] * 4
    assert [str(message.role) for message in run.messages][::3] == ["user", "assistant"]
    assert run.text == run.completion.text and "погод" in run.text.lower() and len(sent(emu)) == 2
    assert [request.headers["x-session-id"] for request in emu.requests[-2:]] == ["s", "s"]
    check_history(run.messages)
    thanks = [*run.messages, {"role": "user", "content": "Спасибо"}]
    assert giga.chat(Chat(messages=thanks)).text if version == 1 else giga.chat.create(thanks).text


@pytest.mark.parametrize("version", [1, 2])
def test_without_functions_it_is_a_plain_chat(version, emu, giga):
    body = {"messages": [RESULT if version == 1 else RESULT2], "storage": {"is_stateful": True, "thread_id": "t"}}
    for _ in range(3 - version):
        emu.enqueue(body=says("Готово", "blacklist") if version == 1 else answers(WORDS, reason="blacklist"))
    owner = giga if version == 1 else giga.chat
    assert owner.run_functions([USER]).completion.blocked
    assert not {"functions", "function_call", "tools"} & set(sent(emu)[0])
    if version == 1:
        assert owner.run_functions(body, [weather]).text == "Готово"  # a history that the service keeps is not checked


def test_the_history_is_exact_and_usage_is_summed(emu, giga):
    emu.enqueue(body=wants("weather", {"city": "Тула", "unit": "F"}, functions_state_id=STATE_ID))
    emu.enqueue(body=wants("nothing", "{}"))  # a string holds them, as the specification has it
    emu.enqueue(body=says("Готово"))
    given = [SYSTEM, USER]
    run = giga.run_functions({"messages": given, "temperature": 0.5, "functions": [weather]}, [nothing])
    assert run.messages == [
        SYSTEM, USER,
        {"role": "assistant", "content": "", "function_call": {
            "name": "weather", "arguments": {"city": "Тула", "unit": "F"}}, "functions_state_id": STATE_ID},
        {"role": "function", "name": "weather", "content": '{"city": "Тула", "days": 3, "unit": "F", "kind": null}'},
        {"role": "assistant", "content": "", "function_call": {"name": "nothing", "arguments": "{}"}},
        {"role": "function", "name": "nothing", "content": '{"result": null}'},
        {"role": "assistant", "content": "Готово"}]
    assert run.usage == {"prompt_tokens": 40, "completion_tokens": 7, "total_tokens": 47}
    assert run.usage.total_tokens == 47 and type(run.usage) is Usage and given == [SYSTEM, USER]
    assert [body["messages"] for body in sent(emu)] == [run.messages[:2], run.messages[:4], run.messages[:6]]
    assert {body["temperature"] for body in sent(emu)} == {0.5}
    assert [f["name"] for f in sent(emu)[0]["functions"]] == ["weather", "nothing"]


def test_a_forced_call_is_forced_once(emu, giga):
    run = giga.run_functions({"messages": [USER], "function_call": {"name": "nothing"}}, [nothing])
    assert [body["function_call"] for body in sent(emu)] == [{"name": "nothing"}, "auto"] and run.text


@pytest.mark.parametrize("version", [1, 2])
def test_fields_that_are_newer_go_through(version, emu, giga):
    emu.enqueue(body=says("Готово") if version == 1 else answers(WORDS))
    body = {"messages": [USER], "additional_fields": {"newer": 1, "temperature": 0.5}}
    ask = giga.run_functions if version == 1 else giga.chat.run_functions
    assert ask(body, [nothing]).text == "Готово"
    assert sent(emu)[0]["newer"] == 1 and sent(emu)[0]["temperature"] == 0.5 and len(body["additional_fields"]) == 2


def test_bound_arguments_of_a_partial_stay_here(emu, giga):
    emu.enqueue(body=wants("keyed", {"city": "Тула", "api_key": "other"}))
    emu.enqueue(body=wants("keyed", {"city": "Тула", "region": "us"}))
    emu.enqueue(body=wants("keyed", {"city": "Тула", "n": 1}))
    emu.enqueue(body=says("Готово"))
    run = giga.run_functions("?", [functools.partial(keyed, api_key="sk-secret", region="ru")])
    assert "sk-secret" not in json.dumps(sent(emu)[0]) and "no parameter 'api_key'" in run.messages[2]["content"]
    assert "no parameter 'region'" in run.messages[4]["content"]
    assert json.loads(run.messages[6]["content"])["result"] == "Тула sk-secret {'region': 'ru', 'n': 1}"


def typed(place: Place, unit: Unit, rows: List[Row], note: Optional[str], n: int = 1, s: str = "s", d=None) -> Any:
    return [type(place).__name__, place.city, unit.name, rows, note, n, s, d]


def maybe(a: Optional[int] = 5, b: Optional[int] = 6) -> Any:
    return [a, b]


def hungry(a: int, **more: Any) -> Any:
    return {"a": a, **more}


def free(item, count, n=1, note=None) -> Any:
    return [item, count, n, note]


@pytest.mark.parametrize("function, arguments, wanted", [
    (free, {"item": 5, "count": {"a": 1}, "n": "x", "note": [1]}, [5, {"a": 1}, "x", [1]]),
    (free, {"item": None, "count": "2", "n": 2.0}, [None, "2", 2, None]),
    (typed, {"place": {"city": "Тула"}, "unit": "F", "rows": [{"n": 1}], "n": 2.0},
     ["Place", "Тула", "FAHRENHEIT", [{"n": 1}], None, 2, "s", None]),
    (typed, json.dumps({"place": {"city": "Тула"}, "unit": "CELSIUS", "rows": [], "note": "x", "n": None, "s": None}),
     ["Place", "Тула", "CELSIUS", [], "x", 1, "s", None]),
    (maybe, {"a": None}, [None, 6]),
    (hungry, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    (annotated_any, {"value": None}, None),
    (nothing, None, None),
    (nothing, "", None),
])
def test_arguments_become_what_the_annotations_say(function, arguments, wanted, emu, giga):
    emu.enqueue(body=wants(function.__name__, arguments))
    emu.enqueue(body=says("Готово"))
    result = json.loads(giga.run_functions("?", [function]).messages[2]["content"])
    assert result == (wanted if isinstance(wanted, dict) else {"result": wanted})


WRONG = [
    (weather, {"city": 5}, "city has to be string, not number"),
    (weather, {}, "city is missing"),
    (weather, {"city": None}, "city is missing"),
    (weather, {"city": "Тула", "unit": "K"}, "unit has to be one of 'C', 'F'"),
    (weather, {"city": "Тула", "dys": 1}, "there is no parameter 'dys'; did you mean 'days'?"),
    (weather, "{", "the arguments have to be an object"),
    (weather, [1], "the arguments have to be an object"),
    (annotated_any, {}, "value is missing"),
    (free, {"item": 1}, "count is missing"),
    (typed, {"place": {"city": 1}}, "place.city has to be string, not number"),
]


@pytest.mark.parametrize("function, arguments, said", WRONG)
def test_wrong_arguments_are_told_or_raised(function, arguments, said, emu, giga):
    emu.enqueue(body=wants(function.__name__, arguments))
    emu.enqueue(body=says("Простите"))
    run = giga.run_functions("?", [function])
    assert json.loads(run.messages[2]["content"]) == {"error": f"wrong arguments: {said}"}
    emu.enqueue(body=wants(function.__name__, arguments))
    with pytest.raises(FunctionCallError) as caught:
        giga.run_functions("?", [function], on_error="raise")
    assert said in str(caught.value) and caught.value.messages == run.messages[:2]
    assert caught.value.call == run.messages[1]["function_call"] and caught.value.completion.choices


def fails(a: int = 0) -> None:
    raise ZeroDivisionError("деление на ноль" * a)


@pytest.mark.parametrize("times", [1, 100])
def test_an_exception_is_told_or_raised(times, emu, giga):
    emu.enqueue(body=wants("fails", {"a": times}))
    emu.enqueue(body=says("Простите"))
    run = giga.run_functions("?", [fails])
    said = ("ZeroDivisionError: " + "деление на ноль" * times)[:500]
    assert json.loads(sent(emu)[-1]["messages"][-1]["content"]) == {"error": said} and run.text == "Простите"
    emu.enqueue(body=wants("fails", {"a": times}))
    with pytest.raises(ZeroDivisionError):
        giga.run_functions("?", [fails], on_error="raise")


def test_an_interrupt_in_a_function_is_raised(emu, giga):
    def stops() -> None:
        raise KeyboardInterrupt

    emu.enqueue(body=wants("stops", {}))
    with pytest.raises(KeyboardInterrupt):
        giga.run_functions("?", [stops])


@pytest.mark.parametrize("functions, name", [
    ([weather], "other"),
    ([], "other"),
    ([{"name": "mine", "parameters": {}}], "mine"),  # its caller answers it and goes on from the history
])
def test_a_function_that_is_not_there_keeps_the_history(functions, name, emu, giga):
    emu.enqueue(body=wants(name, {"a": 1}))
    with pytest.raises(FunctionCallError, match=f"wants '{name}' called, and the Python functions are") as caught:
        giga.run_functions("?", functions)
    error = caught.value
    assert error.call == {"name": name, "arguments": {"a": 1}} and error.messages[-1]["function_call"] == error.call
    assert isinstance(error, GigaChatException) and pickle.loads(pickle.dumps(error)).messages == error.messages
    answered = error.messages + [Messages(role="function", name=name, content='{"result": 1}')]
    assert giga.chat(answered).choices


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_rounds_are_bounded(rounds, emu, giga):
    counter = Counter()
    for _ in range(rounds + 1):
        emu.enqueue(body=wants("Counter", {"text": "раз"}))
    with pytest.raises(FunctionCallError, match=f"after {rounds} rounds .* 'Counter'") as caught:
        giga.run_functions("?", [counter], max_rounds=rounds)
    assert len(counter.calls) == rounds and len(sent(emu)) == rounds + 1
    assert len(caught.value.messages) == 2 + 2 * rounds and caught.value.messages[-1]["function_call"]


def test_an_error_of_the_service_keeps_the_history(emu, giga):
    emu.enqueue(body=wants("nothing", {}))
    emu.enqueue(status=429)
    with pytest.raises(RateLimitError) as caught:
        giga.run_functions("?", [nothing])
    assert [message["role"] for message in caught.value.messages] == ["user", "assistant", "function"]


@pytest.mark.parametrize("answer, said", [
    (says("", "error"), "a call that the service could not read"),
    ({"choices": [], "model": "m"}, "the answer has no choices"),
    *(({"choices": choices}, "the answer has no choices") for choices in (
        None, 5, "abc", {"0": 1}, [None], ["x"], [{"message": "x"}])),
    ({"choices": [{"message": {"role": "assistant", "function_call": "f"}}]}, "could not read"),
    (wants(["nothing"], {}), r"wants \['nothing'\] called"),
])
def test_an_answer_that_leads_nowhere_is_an_error(answer, said, emu, giga):
    emu.enqueue(body=answer)
    with pytest.raises(FunctionCallError, match=said) as caught:
        giga.run_functions([USER], [nothing])
    assert caught.value.messages[0] == USER


@pytest.mark.parametrize("message", [None, {}, {"role": None, "content": None}, {"content": 5}])
@pytest.mark.parametrize("usage", [None, 5, [1], {"total_tokens": None, "newer": "x"}])
def test_odd_fields_of_an_answer_are_passed(message, usage, emu, giga):
    emu.enqueue(body={"choices": [{"message": message, "finish_reason": 7}], "usage": usage})
    run = giga.run_functions("?", [nothing])
    assert run.text == "" and run.messages[1:] == [{"role": "assistant", "content": ""}] and run.usage == {}


@pytest.mark.parametrize("payload, functions, options, kind, said", [
    ("?", weather, {}, TypeError, "functions: a list is needed, not function"),
    ("?", "text2image", {}, TypeError, "functions: a list is needed, not str"),
    ("?", {"name": "x", "parameters": {}}, {}, TypeError, "functions: a list is needed, not dict"),
    ({"messages": [USER], "functions": weather}, [], {}, TypeError, "functions"),
    ("?", [], {"max_rounds": None}, ValueError, "max_rounds is a whole number"),
    ([USER, CALL], [weather], {}, ValueError, r"messages\[1\]: the call"),
    ({"messages": [USER, CALL], "storage": {}}, [weather], {}, ValueError, r"messages\[1\]"),
    ({"messages": [USER], "functions": [weather]}, [weather], {}, ValueError, "already"),
    ({"messages": [USER], "temprature": 1}, [], {}, TypeError, "did you mean 'temperature'"),
    ("?", [], {"on_error": "ignore"}, ValueError, "on_error"),
    ("?", [], {"max_rounds": -1}, ValueError, "max_rounds"),
])
def test_wrong_requests_of_v1_are_refused_before_sending(payload, functions, options, kind, said, emu, giga):
    with pytest.raises(kind, match=said):
        giga.run_functions(payload, functions, **options)
    assert not emu.requests


def test_an_own_description_goes_with_any_callable(emu, giga):
    def own(x: bytes, y: Unit) -> str:
        return f"{x} {y.name}"

    description = {"name": "own", "parameters": {"type": "object", "properties": {"x": STRING, "y": STRING}}}
    emu.enqueue(body=wants("own", {"x": "a", "y": "C"}))
    emu.enqueue(body=says("Готово"))
    run = giga.run_functions("?", [(description, own)])
    assert json.loads(run.messages[2]["content"]) == {"result": "a CELSIUS"}
    assert sent(emu)[0]["functions"] == [description]


# ---- The loop of v2


def answers(*messages, reason="stop"):
    return {"model": "m", "created_at": 1, "messages": list(messages), "finish_reason": reason, "usage": {
        "input_tokens": 5, "input_tokens_details": {"prompt_tokens": 5, "cached_tokens": 1}, "output_tokens": 2,
        "total_tokens": 7}}


def wants2(name, arguments, **more):
    part = {"function_call": {"id": "c1", "name": name, "arguments": arguments}}
    return answers({"role": "assistant", "content": [part], **more}, reason="function_call")


WORDS = {"role": "assistant", "content": [{"text": "Готово", "inline_data": {"sources": {}}}]}


def test_v2_has_calls_and_results_as_parts(emu, giga):
    emu.enqueue(body=wants2("weather", {"city": "Тула"}, tool_state_id=STATE_ID))
    emu.enqueue(body=wants2("nothing", {}))
    emu.enqueue(body=answers(WORDS))
    run = giga.chat.run_functions("Погода?", [weather, nothing])
    result = {"city": "Тула", "days": 3, "unit": "C", "kind": None}
    assert run.messages == [
        {"role": "user", "content": [{"text": "Погода?"}]},
        {"role": "assistant", "tools_state_id": STATE_ID, "content": [
            {"function_call": {"id": "c1", "name": "weather", "arguments": {"city": "Тула"}}}]},
        {"role": "tool", "tools_state_id": STATE_ID, "content": [
            {"function_result": {"name": "weather", "result": result}}]},
        {"role": "assistant", "content": [{"function_call": {"id": "c1", "name": "nothing", "arguments": {}}}]},
        {"role": "tool", "content": [{"function_result": {"name": "nothing", "result": {"result": None}}}]},
        {"role": "assistant", "content": [{"text": "Готово"}]}]
    assert type(run) is ChatRun and type(run.usage) is ChatUsage and run.usage.input_tokens_details.cached_tokens == 3
    assert run.text == "Готово" and run.usage == {
        "input_tokens": 15, "input_tokens_details": {"prompt_tokens": 15, "cached_tokens": 3}, "output_tokens": 6,
        "total_tokens": 21}
    check_history(run.messages)
    assert [body["messages"] for body in sent(emu)] == [run.messages[:1], run.messages[:3], run.messages[:5]]
    tools = [{"functions": {"specifications": [describe(weather), describe(nothing)]}}]
    assert [body["tools"] for body in sent(emu)] == [tools] * 3 and "functions" not in sent(emu)[0]


@pytest.mark.parametrize("arguments, wanted", [
    (None, {}), ("", {}), ("{", {}), ([], {}), ('{"city": "Тула"}', {"city": "Тула"}),
    ({"city": "Тула"}, {"city": "Тула"}),
])
def test_v2_sends_arguments_as_an_object(arguments, wanted, emu, giga):
    emu.enqueue(body=wants2("weather", arguments))
    emu.enqueue(body=answers(WORDS))
    run = giga.chat.run_functions("?", [weather])
    assert sent(emu)[1]["messages"][1]["content"][0]["function_call"]["arguments"] == wanted
    result = run.messages[2]["content"][0]["function_result"]["result"]
    assert result.get("city") == wanted.get("city") and bool(wanted) is ("error" not in result)


ASKED = {"function_call": {"name": "nothing", "arguments": {}}}


@pytest.mark.parametrize("answer", [
    {"messages": [{"role": "assistant", **ASKED}], "tool_state_id": STATE_ID},
    {"messages": [None, {"content": [None, "x", ASKED], "tool_state_id": STATE_ID}]},
    {"messages": [{"role": None, "content": ASKED, "tools_state_id": STATE_ID, "usage": 5}]},
])
def test_v2_reads_calls_and_states_anywhere(answer, emu, giga):
    emu.enqueue(body={**answer, "finish_reason": "function_call"})
    emu.enqueue(body=answers(WORDS))
    assert giga.chat.run_functions("?", [nothing]).text == "Готово"
    _, call, result = sent(emu)[1]["messages"]
    assert call["role"] == "assistant" and call["content"][-1] == ASKED
    assert call["tools_state_id"] == result["tools_state_id"] == STATE_ID


@pytest.mark.parametrize("messages, text", [
    (None, ""), (5, ""), ("abc", ""), ({"a": 1}, ""), ([None], ""), (["x"], ""),
    ([{"role": ["a"], "content": "x"}], ""), ([{"role": "assistant", "content": 5}], ""),
])
def test_odd_messages_of_v2_are_passed(messages, text, emu, giga):
    emu.enqueue(body={"messages": messages, "finish_reason": "stop", "usage": [1]})
    run = giga.chat.run_functions("?", [nothing])
    assert run.text == text and len(run.messages) == 1 + bool(text) and run.usage == {}


def test_v2_takes_content_that_is_no_list(emu, giga):
    emu.enqueue(body=answers(WORDS))
    history = [USER, {"role": "assistant", "content": ASKED},
               {"role": "tool", "content": {"function_result": {"name": "nothing", "result": {}}}}]
    assert giga.chat.run_functions(history, [nothing]).messages[2]["role"] == "tool"
    assert all(isinstance(message["content"], list) for message in sent(emu)[0]["messages"])
    assert history[0] == USER and isinstance(history[1]["content"], dict)


def test_v2_keeps_other_tools_and_forces_once(emu, giga):
    emu.enqueue(body=wants2("nothing", {}))
    emu.enqueue(body=answers({"role": "reasoning", "content": [{"text": "думаю"}]}, WORDS))
    own = {"name": "own", "parameters": {}}
    body = {"messages": [{"role": "user", "content": "?"}],
            "tool_config": {"mode": "forced", "function_name": "nothing"},
            "tools": ["web_search", {"functions": {"specifications": [own]}}, {"image_generate": {}}]}
    run = giga.chat.run_functions(body, [nothing])
    first, last = sent(emu)
    assert first["tools"] == last["tools"] == [
        {"web_search": {}}, {"image_generate": {}}, {"functions": {"specifications": [own, describe(nothing)]}}]
    assert first["tool_config"] == body["tool_config"] and last["tool_config"] == {"mode": "auto"}
    assert [message["role"] for message in run.messages] == ["user", "assistant", "tool", "assistant"]
    assert len(body["tools"]) == 3 and len(body["messages"]) == 1


@pytest.mark.parametrize("body, rounds, said", [
    (wants2("other", {}), 5, "wants 'other' called"),
    (wants2("nothing", {}), 0, "after 0 rounds"),
    (answers({"role": "assistant", "content": []}, reason="function_call_error"), 5, "could not read"),
    (answers(reason="function_call"), 5, "could not read"),
    ({"messages": [None]}, 5, "the answer has no messages"),
    (answers({"content": [{"function_call": "f"}]}), 5, "could not read"),
    (wants2(["nothing"], {}), 5, r"wants \['nothing'\] called"),
])
def test_errors_of_v2_keep_the_history(body, rounds, said, emu, giga):
    emu.enqueue(body=body)
    with pytest.raises(FunctionCallError, match=said) as caught:
        giga.chat.run_functions("?", [nothing], rounds)
    assert caught.value.messages[0]["role"] == "user" and caught.value.completion == body


@pytest.mark.parametrize("payload, functions, kind, said", [
    (5, [], TypeError, "a string, a list of messages, a dict"),
    ("?", weather, TypeError, "functions: a list is needed, not function"),
    ({"tools": []}, [], TypeError, "the request needs messages"),
    ([USER2, CALL2], [], ValueError, r"messages\[1\]: the call"),
    ({"messages": [USER2], "tools": "web_search"}, [], TypeError, "tools: a list is needed, not str"),
    ({"messages": [USER2], "tools": [{"functions": {"specifications": weather}}]}, [], TypeError,
     "specifications: a list is needed, not function"),
])
def test_wrong_requests_of_v2_are_refused_before_sending(payload, functions, kind, said, emu, giga):
    with pytest.raises(kind, match=said):
        giga.chat.run_functions(payload, functions)
    assert not emu.requests

