"""Schemas of types, and values out of what a model wrote."""
from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pickle
import sys
import uuid
from typing import Any, Dict, FrozenSet, Generic, List, NewType, Optional, Sequence, Set, Tuple, TypeVar, Union

import pytest

from clients import new_client
from gigachat_lite import ContentFilterError, Emulator, GigaChatException, LengthFinishReasonError
from gigachat_lite.docstrings import read_docstring
from gigachat_lite.models import ChatCompletion, ChatCompletionResponse
from gigachat_lite.schemas import (
    Mismatch,
    ParseError,
    decode,
    parse,
    parse_completion,
    response_format,
    schema_of,
)

try:
    from typing import Literal, TypedDict
except ImportError:  # Python 3.7
    from typing_extensions import Literal, TypedDict


T = TypeVar("T")


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    POINT = ()
    LINE = (1,)


@dataclasses.dataclass
class City:
    """A city.

    Attributes:
        name: название
            по-русски
    """

    name: str
    people: int = dataclasses.field(metadata={"description": "жителей"})
    mayor: Optional[str] = None
    unit: Unit = Unit.CELSIUS
    tags: List[str] = dataclasses.field(default_factory=list)
    cached: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Trip:
    cities: List[City]
    first: Optional[City]
    seats: Dict[str, int]


@dataclasses.dataclass
class Loose:
    a: int = 1
    b: str = ""


@dataclasses.dataclass
class Even:
    number: int

    def __post_init__(self):
        if self.number % 2:
            raise ValueError("an even number is needed")


@dataclasses.dataclass
class Tree:
    value: int
    children: List[Tree]


class Point(TypedDict):
    """A point.

    x: вправо
    """

    x: int
    y: Optional[int]


class Partial(TypedDict, total=False):
    x: int


try:
    from typing_extensions import NotRequired
except ImportError:
    NotRequired = None
else:
    class Marked(TypedDict):
        a: int
        b: NotRequired[int]


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Stray:
    city: Optional[str] = None


class OldModel:
    """Look like a model of pydantic's first version."""

    __get_validators__ = None

    @classmethod
    def schema(cls):
        return {"type": "object", "properties": {"n": {"type": "integer"}}}

    @classmethod
    def parse_obj(cls, value):
        return ("old", value["n"])


Name = NewType("Name", str)
STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "название по-русски"},
        "people": {"type": "integer", "description": "жителей"},
        "mayor": STRING,
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
        "tags": {"type": "array", "items": STRING},
    },
    "required": ["name", "people"],
}

SCHEMAS = [
    (str, STRING),
    (int, INTEGER),
    (float, NUMBER),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (Any, {}),
    (Name, STRING),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (datetime.date, {"type": "string", "format": "date"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (decimal.Decimal, STRING),
    (Optional[int], INTEGER),
    (Union[int, float, None], NUMBER),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1], {"enum": ["a", 1]}),
    (Literal["a", None], {"type": "string", "enum": ["a"]}),
    (Unit, {"type": "string", "enum": ["C", "F"]}),
    (Level, {"type": "integer", "enum": [1, 2]}),
    (Shape, {"type": "string", "enum": ["POINT", "LINE"]}),
    (list, {"type": "array", "items": {}}),
    (List, {"type": "array", "items": {}}),
    (List[T], {"type": "array", "items": {}}),
    (List[int], {"type": "array", "items": INTEGER}),
    (Sequence[Optional[int]], {"type": "array", "items": INTEGER}),
    (Set[str], {"type": "array", "items": STRING}),
    (Tuple[int, ...], {"type": "array", "items": INTEGER}),
    (Tuple[float, float], {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}),
    (Tuple[float, str], {"type": "array", "minItems": 2, "maxItems": 2}),
    (dict, {"type": "object", "properties": {}, "additionalProperties": True}),
    (Dict[str, int], {"type": "object", "properties": {}, "additionalProperties": INTEGER}),
    (City, CITY),
    (Trip, {"type": "object", "properties": {
        "cities": {"type": "array", "items": CITY}, "first": CITY,
        "seats": {"type": "object", "properties": {}, "additionalProperties": INTEGER}},
        "required": ["cities", "seats"]}),
    (Point, {"type": "object", "properties": {"x": {"type": "integer", "description": "вправо"}, "y": INTEGER},
             "required": ["x"]}),
    # With nothing required the service may answer with any object, so here all is.
    (Loose, {"type": "object", "properties": {"a": {"type": "integer", "default": 1},
                                              "b": {"type": "string", "default": ""}}, "required": ["a", "b"]}),
    (Partial, {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}),
    (OldModel, {"type": "object", "properties": {"n": INTEGER}}),
    ({"type": "object"}, {"type": "object"}),
    (Box, {"type": "object", "properties": {"item": {}}, "required": ["item"]}),
]


@pytest.mark.parametrize("kind, schema", SCHEMAS, ids=lambda value: str(value)[:40])
def test_a_type_is_described_as_a_schema(kind, schema):
    assert schema_of(kind) == schema
    json.dumps(schema_of(kind))


@pytest.mark.parametrize("kind, said", [
    (Tree, "Tree.children.*: Tree holds itself"),
    (Union[int, str], "no Union of several types"),
    (Optional[Union[City, Trip]], "no Union of several types"),
    (bytes, "bytes is no type that JSON could hold"),
    (List[complex], r"\[\]: complex is no type"),
    (OSError, "a dataclass would be"),
    (Box[int], "has parameters; a class of it that names its types would do"),
    (List[Box[int]], "has parameters"),
    ("City", "'City' is no type"),
])
def test_what_no_schema_can_say_is_refused(kind, said):
    with pytest.raises(TypeError, match=said):
        schema_of(kind)


def test_annotations_that_cannot_be_read_are_named():
    Absent = dataclasses.make_dataclass("Absent", [("x", "NoSuchName")])
    with pytest.raises(TypeError, match="the annotations of Absent cannot be read: name 'NoSuchName' is not defined"):
        schema_of(Absent)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="these forms are newer")
def test_newer_forms_of_annotations_are_read():
    hints = [("a", "int | None"), ("b", "list[dict[str, int]]"), ("c", "tuple[int, str]")]
    New = dataclasses.make_dataclass("New", hints)
    schema = schema_of(New)
    assert schema["required"] == ["b", "c"] and schema["properties"]["a"] == INTEGER
    assert schema["properties"]["b"]["items"]["additionalProperties"] == INTEGER
    assert decode({"a": None, "b": [{"x": 1}], "c": [1, "d"]}, New) == New(None, [{"x": 1}], (1, "d"))


@pytest.mark.skipif(NotRequired is None, reason="it needs typing_extensions")
def test_not_required_is_seen_through_annotations_that_are_strings():
    assert schema_of(Marked)["required"] == ["a"] and decode({"a": 1}, Marked) == {"a": 1}


def test_extras_of_annotations_are_read():
    extensions = pytest.importorskip("typing_extensions")
    Mixed = extensions.TypedDict("Mixed", {
        "a": extensions.Annotated[int, "сколько"], "b": extensions.NotRequired[str],
        "c": extensions.Literal["x"]})
    assert schema_of(Mixed) == {"type": "object", "properties": {
        "a": {"type": "integer", "description": "сколько"}, "b": STRING, "c": {"type": "string", "enum": ["x"]}},
        "required": ["a", "c"]}
    Loose = extensions.TypedDict("Loose", {"a": extensions.Required[int], "b": str}, total=False)
    assert schema_of(Loose)["required"] == ["a"] and decode({"a": 1}, Loose) == {"a": 1}


# ---- Values


VALUES = [
    ("Тула", str, "Тула"),
    (3.0, int, 3),
    (3, float, 3.0),
    (True, bool, True),
    ({"a": [1, None]}, Any, {"a": [1, None]}),
    (None, Optional[City], None),
    (1, Union[float, int], 1),
    ("1", Union[int, str], "1"),
    ("b", Literal["a", "b"], "b"),
    ("C", Unit, Unit.CELSIUS),
    ("FAHRENHEIT", Unit, Unit.FAHRENHEIT),
    (2, Level, Level.HIGH),
    ("LINE", Shape, Shape.LINE),
    ([1, 2], Tuple[int, ...], (1, 2)),
    ([1, "a"], Tuple[int, str], (1, "a")),
    (["a", "a"], FrozenSet[str], frozenset("a")),
    (["C"], Sequence[Unit], [Unit.CELSIUS]),
    ({"a": "F"}, Dict[str, Unit], {"a": Unit.FAHRENHEIT}),
    ("2026-01-15T10:00:00Z", datetime.datetime, datetime.datetime(2026, 1, 15, 10, tzinfo=datetime.timezone.utc)),
    ("2026-01-15", datetime.date, datetime.date(2026, 1, 15)),
    ("10:30", datetime.time, datetime.time(10, 30)),
    (10.1, decimal.Decimal, decimal.Decimal("10.1")),
    ("00000000-0000-4000-8000-000000000001", uuid.UUID, uuid.UUID("00000000-0000-4000-8000-000000000001")),
    ({"name": "Тула", "people": 5, "more": 1}, City, City("Тула", 5)),
    ({"name": "Тула", "people": 5, "mayor": None, "unit": "F", "tags": ["a"]}, City,
     City("Тула", 5, None, Unit.FAHRENHEIT, ["a"])),
    ({"cities": [{"name": "Тула", "people": 5}], "seats": {"a": 1}}, Trip, Trip([City("Тула", 5)], None, {"a": 1})),
    ({"x": 1, "z": 2}, Point, {"x": 1, "z": 2}),
    ({"value": 1, "children": [{"value": 2, "children": []}]}, Tree, Tree(1, [Tree(2, [])])),
    ({"n": 7}, OldModel, ("old", 7)),
]


@pytest.mark.parametrize("value, kind, wanted", VALUES, ids=lambda value: str(value)[:40])
def test_a_value_becomes_what_its_type_says(value, kind, wanted):
    got = decode(value, kind)
    assert got == wanted and type(got) is type(wanted)


@pytest.mark.parametrize("value, kind, said", [
    ("5", int, "it has to be integer, not string"),
    (True, int, "it has to be integer, not boolean"),
    (1.5, int, "it has to be integer, not number"),
    (1, bool, "it has to be boolean, not number"),
    (None, str, "it has to be string, not null"),
    (True, Literal[1], "it has to be one of 1"),
    (True, Level, "it has to be one of 1, 2"),
    ("K", Unit, "it has to be one of 'C', 'F'"),
    ("вчера", datetime.date, "it has to be a date as a string"),
    ("x", decimal.Decimal, "it has to be a decimal number"),
    ([1, "a"], List[int], r"\[1\] has to be integer, not string"),
    ([1], Tuple[int, int], "it has to have 2 items, not 1"),
    ([[1]], Set[list], "it holds what a set cannot hold"),
    ({"a": {"b": "c"}}, Dict[str, Dict[str, int]], "a.b has to be integer, not string"),
    ([], City, "it has to be object, not array"),
    ({"people": 1}, City, "name is missing"),
    ({"y": 1}, Point, "x is missing"),
    ({"cities": [{"name": "a", "people": 1}, {"name": 5, "people": 1}], "seats": {}}, Trip,
     r"cities\[1\].name has to be string, not number"),
    ({"cities": [{"name": "a"}], "seats": {}}, Trip, r"cities\[0\].people is missing"),
    ({"number": 3}, Even, "Even: an even number is needed"),
    ("x", Union[int, float], "it has to be integer, not string"),
])
def test_a_wrong_type_is_reported_with_its_path(value, kind, said):
    with pytest.raises(Mismatch, match="^" + said):
        decode(value, kind)


# ---- Out of a text


TEXTS = {
    "bare": '{"a": 1}',
    "white space and a byte order mark": '\ufeff\n {"a": 1}\n',
    "a fence": '```json\n{"a": 1}\n```',
    "a fence without a language": '```\n{"a": 1}\n```',
    "prose and a fence": 'Вот [ответ]:\n\n```json\n{\n    "a": 1\n}\n```\nУдачи {всем}!',
    "prose": 'Ответ: {"a": 1}. Что-нибудь ещё?',
    "a list before it": 'Источники [1, 2] говорят: {"a": 1}',
    "a draft before it": 'Черновик {"b": 1}, ответ {"a": 1}',
    "an open fence": '```json\n{"a": 1}',
}


@pytest.mark.parametrize("name", TEXTS)
def test_fences_and_prose_do_no_harm(name):
    Answer = dataclasses.make_dataclass("Answer", [("a", int)])
    assert parse(TEXTS[name], Answer) == Answer(1)


@pytest.mark.parametrize("text, kind, wanted", [
    ("```json\n42\n```", int, 42),
    ("42", int, 42),
    ("[1, 2] и [1, 2, 3]", List[int], [1, 2, 3]),  # the longest that fits
    ('{"a": "раз\nдва ``` три"}', dict, {"a": "раз\nдва ``` три"}),
    ('Так: ```json\n{"a": "``` {"}\n```', dict, {"a": "``` {"}),
    ('[1, см. ниже] {"b": 1}', dict, {"b": 1}),
    ('[1], {"type": "object"}', {"type": "object"}, {"type": "object"}),
    ("{ x } " * 5000 + '{"a": 1}', dict, {"a": 1}),
    ('{"a": 1}', {"type": "object", "required": ["a"]}, {"a": 1}),
    ("[1]", {"type": "array"}, [1]),
    ("1", {"type": "integer"}, 1),
    ("1", {"type": "number"}, 1),
    (r'Так: {"a": "\ud83d", "b": "\ud83d\ude00"}', dict, {"a": "\ufffd", "b": "😀"}),
], ids=lambda value: str(value)[:20])
def test_other_texts(text, kind, wanted):
    assert parse(text, kind) == wanted


@pytest.mark.parametrize("text, kind, said", [
    ("", dict, "there is no JSON in it"),
    ("не знаю", dict, "there is no JSON in it"),
    ('{"a": 1', dict, "there is no JSON in it"),
    ('{"a": NaN}', dict, "there is no JSON in it"),
    # No part of what is broken stands for the whole.
    ('{"sub": {"city": "Тула"}, "total": 3,}', Stray, "there is no JSON in it"),
    ('{"sub": {"city": "Тула"}, "total":', Stray, "there is no JSON in it"),
    ('{"total": 3 руб, "sub": {"city": "Тула"}}', Stray, "there is no JSON in it"),
    ('Так: {"rows": [{"a": 1},, {"city": "}"}]}', Stray, "there is no JSON in it"),
    ('```json\n{"sub": {"city": "Тула"},}\n```', Stray, "there is no JSON in it"),
    ("[" * 100_000, dict, "there is no JSON in it"),
    ("[1]", dict, "it has to be object, not array"),
    ("null", City, "it has to be object, not null"),
    ('{"a": "x"}', Dict[str, int], "a has to be integer, not string"),
    ("[]", {"type": "object"}, "it has to be object as the schema says, not array"),
    ("{}", {"type": "object", "required": ["a"]}, "a is missing"),
], ids=lambda value: str(value)[:20])
def test_an_unparsable_text_is_kept_in_the_error(text, kind, said):
    with pytest.raises(ParseError, match=said) as caught:
        parse(text, kind)
    error = caught.value
    assert isinstance(error, GigaChatException) and isinstance(error, ValueError)
    assert error.text == error.partial == text and (len(text) < 5 or text not in str(error))
    assert pickle.loads(pickle.dumps(error)).text == text


def test_a_long_text_of_braces_takes_no_long_time():
    for hostile in ('{"a":' * 900 + "x", '{"a" ' * 20_000, "[" * 20_000, '["' * 20_000, "{ " * 20_000,
                    '["' + '\\"' * 20_000, "[1 x] " * 20_000):
        with pytest.raises(ParseError):
            parse(hostile, dict)


# ---- Answers


def v1(content, reason="stop", **more):
    return ChatCompletion({"choices": [
        {"message": {"role": "assistant", "content": content, **more}, "index": 0, "finish_reason": reason}]})


def v2(text, reason="stop"):
    return ChatCompletionResponse({"messages": [
        {"role": "reasoning", "content": [{"text": "думаю"}]},
        {"role": "assistant", "content": [{"tool_execution": {"name": "web_search"}}]},
        {"role": "assistant", "content": [{"text": text[:3], "inline_data": {}}, {"text": text[3:]}]}],
        "finish_reason": reason})


@pytest.mark.parametrize("answer", [v1, v2])
@pytest.mark.parametrize("text, reason, kind", [
    ('{"a": "до кон', "length", LengthFinishReasonError),
    ('{"a": 1}', "length", LengthFinishReasonError),
    ("Не люблю менять тему", "blacklist", ContentFilterError),
    ("Не люблю менять тему", "request_whitelist", ContentFilterError),
    ("Не люблю менять тему", "content_filter", ContentFilterError),
    ("не знаю", "stop", ParseError),
    ('{"a": "x"}', "stop", ParseError),
    ("", "function_call", ParseError),
    ("", "error", ParseError),
])
def test_each_way_to_fail_has_its_error(answer, text, reason, kind):
    completion = answer(text, reason)
    with pytest.raises(kind) as caught:
        parse_completion(completion, Dict[str, int])
    assert type(caught.value) is kind
    assert caught.value.completion is completion and caught.value.partial == text


@pytest.mark.parametrize("answer", [v1, v2])
def test_a_good_answer_is_parsed(answer):
    assert parse_completion(answer('{"a": 1}'), Dict[str, int]) == {"a": 1}


@pytest.mark.parametrize("messages", [
    [{"content": [{"text": '{"a": 1}'}]}],
    [{"role": "assistant", "content": '{"a": 1}'}],
    [{"role": "assistant", "content": [{"text": '{"a"'}]}, None, {"role": None, "content": [None, {"text": ": 1}"}]}],
])
def test_an_answer_of_an_odd_form_is_parsed(messages):
    assert parse_completion(ChatCompletionResponse(messages=messages), Dict[str, int]) == {"a": 1}


@pytest.mark.parametrize("completion", [
    v1(None), v1(5), v1([None]), v1(None, 7),
    *(ChatCompletion(fields) for fields in ({}, {"choices": []}, {"choices": [None]}, {"choices": 5},
                                            {"choices": [{"message": "x"}]})),
    *(ChatCompletionResponse(messages=messages) for messages in (
        None, [None], ["x"], {"a": 1}, 5, [{"role": ["a"]}], [{"content": 5}], [{"content": [None, {"text": 5}]}])),
])
def test_an_answer_without_text_is_a_parse_error(completion):
    with pytest.raises(ParseError, match="there is none"):
        parse_completion(completion, dict)


def test_the_format_of_a_request():
    assert response_format(Partial, strict=False) == {
        "type": "json_schema", "schema": schema_of(Partial), "strict": False}
    assert response_format({"type": "object"})["strict"] is True
    with pytest.raises(ValueError, match="empty"):
        response_format({})


@pytest.mark.parametrize("kind", [City, Trip, Point, List[City], schema_of(City)], ids=lambda kind: str(kind)[:20])
def test_the_emulator_answers_in_a_format(kind):
    with Emulator() as emulator:
        giga = new_client(**emulator.config)
        body = {"messages": [{"role": "user", "content": "Опиши Тулу."}], "response_format": response_format(kind)}
        value = parse_completion(giga.chat(body), kind)
    assert isinstance(value, kind if kind in (City, Trip) else (dict, list))


# ---- Pydantic, where it is


def test_pydantic_models_are_taken():
    pydantic = pytest.importorskip("pydantic")
    Inner = pydantic.create_model("Inner", n=(int, ...))
    Model = pydantic.create_model("Model", items=(List[Inner], ...))
    assert schema_of(Model) == Model.model_json_schema()
    value = parse('```json\n{"items": [{"n": 1}]}\n```', Model)
    assert type(value) is Model and value.items[0].n == 1
    with pytest.raises(ParseError, match=r"items\.0\.n: Input should be"):
        parse('{"items": [{"n": "x"}]}', Model)
    Holder = dataclasses.make_dataclass("Holder", [("model", Model)])
    assert parse('{"model": {"items": []}}', Holder).model == Model(items=[])


def test_references_of_nested_pydantic_models_are_resolved():
    pydantic = pytest.importorskip("pydantic")
    Inner = pydantic.create_model("Inner", n=(int, ...))
    one = pydantic.Field(description="раз")
    Model = pydantic.create_model("Model", one=(Inner, one), definitions=(List[Inner], ...))
    Holder = dataclasses.make_dataclass("Holder", [("model", Model)])
    for schema in (schema_of(List[Model])["items"], schema_of(Holder)["properties"]["model"]):
        assert "$" not in json.dumps(schema) and schema["required"] == ["one", "definitions"]
        assert schema["properties"]["one"] == {**schema["properties"]["definitions"]["items"], "description": "раз"}
        assert schema["properties"]["one"]["properties"]["n"]["type"] == "integer"

    class Node(pydantic.BaseModel):
        inner: List[Node]

    Node.model_rebuild(_types_namespace={"Node": Node, "List": List})
    with pytest.raises(TypeError, match="Node holds itself"):
        schema_of(List[Node])


# ---- Docstrings


DOCS = {
    "plain": ("Погода в городе.", "Погода в городе.", {}),
    "several paragraphs": ("Раз\nдва.\n\n  три\n", "Раз два.\nтри", {}),
    "google": ("""Погода.

        Подробно.

        Args:
            city (str): город,
                по-русски
            *days: сколько дней
            other: чужое

        Returns:
            city: не это
        Raises:
            ValueError: никогда
        """, "Погода.\nПодробно.", {"city": "город, по-русски", "days": "сколько дней"}),
    "google in Russian": ("Погода.\n\nАргументы:\n    city: город\n\nЕщё.", "Погода.\nЕщё.", {"city": "город"}),
    "sphinx": ("""Погода.

        :param city: город,
            по-русски
        :param int days: сколько дней
        :type city: str
        :returns: словарь
            с погодой
        :raises ValueError: никогда
        """, "Погода.", {"city": "город, по-русски", "days": "сколько дней"}),
    "lines": ("Погода.\n\ncity: город\ndays — сколько дней\nother: это текст", "Погода.\nother: это текст",
              {"city": "город", "days": "сколько дней"}),
    "numpy": ("""Погода.

        Parameters
        ----------
        city : str
            Город,
            по-русски.
        *days : int, optional
            Сколько дней.

        Returns
        -------
        city : dict
            не это

        Notes
        -----
        Ещё.
        """, "Погода.\nNotes Ещё.", {"city": "Город, по-русски.", "days": "Сколько дней."}),
    "nothing": ("", "", {}),
}


@pytest.mark.parametrize("name", DOCS)
def test_docstrings_are_split(name):
    doc, text, notes = DOCS[name]
    assert read_docstring(doc, ["city", "days"]) == (text, notes)
