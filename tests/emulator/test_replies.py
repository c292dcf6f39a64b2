"""What the emulator says and calls: pure functions of the dialogue, so tables and random dialogues are enough."""

from __future__ import annotations

import json
import random
import re
import time

import pytest

from gigachat_lite.emulator.canned import canned_reply, rephrase
from gigachat_lite.emulator.function_calls import choose_call, compose_json
from gigachat_lite.emulator.regex_text import generate_match
from gigachat_lite.emulator.text import count_tokens, embedding_json, split_text, truncate_text

INTRODUCTION = (
    "Здравствуйте! Я GigaChat, а точнее его эмулятор: отвечаю по-русски, без сети и без ключа, и на один и тот же "
    "вопрос всегда одинаково. Спросите о чём-нибудь, и вы увидите, как придёт ответ.")
BAIKAL = (
    "Байкал — самое глубокое озеро на Земле: до 1642 метров. Ему около 25 миллионов лет, и в нём примерно пятая часть "
    "пресной воды планеты, не считая льда. В озеро впадает более трёхсот рек, а вытекает одна — Ангара.")
STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def said(*texts):
    return [{"role": "user", "content": text} for text in texts]


def described(name, description, properties, required=None, examples=()):
    required = list(properties) if required is None else required
    return {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
        "few_shot_examples": [{"request": request, "params": params} for request, params in examples]}


def about(text, **schema):
    return dict(schema or STRING, description=text)


FORECAST = described("weather_forecast", "Возвращает температуру на заданный период", {
    "location": about("Местоположение, например, название города"), "format": {"enum": ["celsius", "fahrenheit"]},
    "num_days": about("Период", type="integer", maximum=16)}, ["location", "num_days"])
CURRENCIES = {"enum": ["RUB", "USD", "EUR"]}
FUNCTIONS = [
    FORECAST,
    described("search_flights", "Поиск авиабилетов", {
        "from": about("Город вылета"), "to": about("Город назначения"), "date": {"type": "string", "format": "date"},
        "passengers": about("Сколько человек", type="integer", minimum=1)}, ["from", "to"]),
    described("sendEmail", "Send a message", {
        "to": about("email получателя"), "subject": STRING, "body": about("текст письма"),
        "urgent": about("срочно", type="boolean")}, ["to", "subject", "body"]),
    described("convert_money", "Convert an amount at the exchange rate", {
        "amount": NUMBER, "source": CURRENCIES, "target": CURRENCIES}),
    described("calculator", "Evaluates", {"expression": STRING}),
    described("book_table", "Бронирует столик в ресторане", {
        "hour": about("час", type="integer", maximum=23), "guests": about("количество человек", type="integer"),
        "smoking": about("зал для курящих", type="boolean")}, ["hour", "guests"]),
    described("translate", "", {"text": STRING, "language": STRING}),
    described("average", "Среднее арифметическое", {"numbers": {"type": "array", "items": NUMBER}}),
    described("get_order", "Статус заказа покупателя", {"order_id": STRING}),
    {"name": "current_time", "description": "Который час", "parameters": {}},
]


# ---- Answers


@pytest.mark.parametrize(("texts", "answer"), [
    (["Привет! Кто ты?"], INTRODUCTION),
    ([], INTRODUCTION),
    ([""], INTRODUCTION),
    (["Расскажи о Байкале"], BAIKAL),
    (["Сколько будет 12*12?"], "12 * 12 = 144"),
    (["Count from 1 to 3"], "1, 2, 3"),
    (["Меня зовут Анна"], "Очень приятно, Анна! Чем могу помочь?"),
    (["Меня зовут Анна", "Нет, меня зовут Ольга", "Как меня зовут?"], "Вас зовут Ольга."),
    (["Как меня зовут?"], "Вы ещё не представились."),
    (["Люблю чай", "А кофе?"], (
        "Вы написали: «А кофе?». Перед этим было: «Люблю чай». Я эмулятор и по существу судить не берусь, а настоящий "
        "GigaChat ответит на такой же запрос.")),
])
def test_questions_are_answered(texts, answer):
    assert canned_reply(said(*texts)) == answer


@pytest.mark.parametrize(("result", "parts"), [
    ('{"temperature": 25.5, "location": "Манжерок"}', ["температура — 25.5, место — Манжерок."]),
    ('{"temperature": {"min": -3, "max": 7}}', ["температура (min — -3, max — 7)."]),
    ('{"forecast": [{"date": "1 мая", "sun": true}, {"date": "2 мая", "sun": false}]}',
     ["\n- дата — 1 мая, sun — да\n- дата — 2 мая, sun — нет"]),
    ('{"a": 1, "b": [2, 3], "wind_speed": null, "d": "x"}',
     ["\n- a — 1\n- b (2, 3)\n- wind speed — нет данных\n- d — x"]),
    (json.dumps(list(range(50))), ["\n- 29\n- и ещё 20"]),
    ('{"result": "Тепло."}', [": Тепло."]),
    ("12", [": 12."]),
    ("просто текст", [": просто текст."]),
    ('"True"', [": True."]),
    ('{"error": {"message": "City not found"}}', ["Не получилось", "об ошибке: сообщение — City not found."]),
    ('{"status": "error", "reason": "timeout"}', ["Не получилось", "timeout"]),
    ("{}", ["ничего не нашлось"]),
    ("null", ["ничего не нашлось"]),
    (None, ["ничего не нашлось"]),
    ("[" * 100_000, ["[["]),
    ("[" * 500 + "]" * 500, ["…"]),
    ("\ud800", ["\ud800"]),
], ids=lambda value: ascii(value)[:20] if isinstance(value, str) else None)
def test_results_of_functions_are_put_in_words(result, parts):
    call = {"role": "assistant", "content": "", "function_call": {"name": "weather_forecast", "arguments": {}}}
    answer = canned_reply([*said("Какая погода в Манжероке?"), call, {"role": "function", "content": result}])
    assert "«Какая погода в Манжероке?»" in answer and all(part in answer for part in parts)
    assert len(answer) < 3000 and ".." not in answer


def test_choices_differ_and_the_first_is_the_text_itself():
    for text in (INTRODUCTION, "раз\nдва", "4"):
        choices = [rephrase(text, index) for index in range(8)]
        assert choices[0] == text and len(set(choices)) == 8 and all(text in choice for choice in choices)


def test_patterns_are_matched():
    for pattern in (r"^(да|нет)$", r"\+7 \(\d{3}\) \d{3}-\d\d-\d\d", r"(?P<y>\d{4})-(?:0[1-9]|1[0-2])", r"[а-яё]{5}",
                    r"[^a-z]+@[\w.-]{3,8}\.(?:ru|com)", r"a*b+?c??", r"[\]\-.]{4}", r"[]x]{3}", r"\x41\u0416\n", "",
                    r"[\x41-\x43]{9}", "{a}{,b"):
        for seed in ("раз", "два"):
            assert re.fullmatch(pattern, generate_match(pattern, seed)), pattern
    for pattern in ("(", ")", "[", "a{2,1}", "*", "(?<", "\\", "[z-a]", "(" * 99, "x" * 9999, "(a)\\1", "(?=a)", "(?i)",
                    "[" + r"\x41" * 999):
        with pytest.raises(ValueError):
            generate_match(pattern, "")
    assert len(generate_match("(((a{999}){999}){999}){999}", "")) <= 5000


# ---- Calls


@pytest.mark.parametrize(("question", "name", "arguments"), [
    ("Какая погода в Манжероке ближайшие 10 дней?", "weather_forecast", {"location": "Манжерок", "num_days": 10}),
    ("погода в москве на три дня", "weather_forecast", {"location": "Москва", "num_days": 3}),
    ("What is the weather in New York for 5 days, in celsius?", "weather_forecast",
     {"location": "New York", "format": "celsius", "num_days": 5}),
    ("Прогноз для Сочи на 30 дней", "weather_forecast", {"location": "Сочи", "num_days": 1}),
    ("Найди рейс в Казань из Москвы 2026-03-05, 2 человека", "search_flights",
     {"from": "Москва", "to": "Казань", "date": "2026-03-05", "passengers": 2}),
    ("Отправь ivan@mail.ru письмо: «Буду завтра», срочно", "sendEmail",
     {"to": "ivan@mail.ru", "subject": "Сообщение", "body": "Буду завтра", "urgent": True}),
    ("Какой курс: 100,5 долларов в рублях", "convert_money", {"amount": 100.5, "source": "USD", "target": "RUB"}),
    ("Вычисли (2 + 3) * 4", "calculator", {"expression": "(2 + 3) * 4"}),
    ("Забронируй столик на 4 человека в 19 часов, зал не для курящих", "book_table",
     {"hour": 19, "guests": 4, "smoking": False}),
    ("Столик в ресторане, где зал курящих", "book_table", {"hour": 1, "guests": 1, "smoking": True}),
    ("Переведи на немецкий: Доброе утро", "translate", {"text": "Доброе утро", "language": "немецкий"}),
    ("Среднее арифметическое 5, 5, 7.5", "average", {"numbers": [5, 5, 7.5]}),
    ("Где мой заказ №A-12345, какой статус?", "get_order", {"order_id": "A-12345"}),
    ("Который час?", "current_time", {}),
])
@pytest.mark.parametrize("mode", ["auto", None])
def test_questions_call_the_function_that_fits(question, name, arguments, mode):
    assert choose_call(said(question), FUNCTIONS, mode) == (name, arguments)


@pytest.mark.parametrize(("messages", "functions", "mode"), [
    (said("Привет!"), FUNCTIONS, "auto"),
    (said("Расскажи о Байкале"), FUNCTIONS, "auto"),
    (said("Спасибо, это всё на 10 дней?"), FUNCTIONS, "auto"),
    (said("Какая погода?"), FUNCTIONS, "none"),
    (said("Какая погода?"), None, "auto"),
    (said("Какая погода?"), [], None),
    (said("Нарисуй кота"), [{"name": "text2image"}], "auto"),
    (said("Нарисуй кота"), [{"name": "text2image"}], {"name": "text2image"}),
    (said("Какая погода?"), FUNCTIONS, {"name": "unknown"}),
    ([*said("Какая погода?"), {"role": "function", "content": "{}"}], FUNCTIONS, "auto"),
    ([*said("Какая погода?"), {"role": "function", "content": "{}"}], FUNCTIONS, {"name": "weather_forecast"}),
    ([*said("Какая погода?"), {"role": "assistant", "content": "Тепло"}], FUNCTIONS, "auto"),
    ([{"role": "system", "content": "Какая погода?"}], FUNCTIONS, "auto"),
    ([{"role": "user"}], FUNCTIONS, "auto"),
    ([], FUNCTIONS, "auto"),
])
def test_what_fits_no_function_is_answered_in_words(messages, functions, mode):
    assert choose_call(messages, functions, mode) is None


def test_a_forced_call_keeps_what_was_given():
    forced = {"name": "weather_forecast", "partial_arguments": {"format": "kelvin", "extra": [1]}}
    assert choose_call(said("Привет из Твери"), FUNCTIONS, forced) == (
        "weather_forecast", {"format": "kelvin", "extra": [1], "location": "Тверь", "num_days": 1})


@pytest.mark.parametrize(("question", "arguments"), [
    ("Чему равно пять плюс семь?", {"left": 12, "kind": "sum", "tags": ["a", "b"]}),  # the very example
    ("Чему равно 3 плюс семь примерно?", {"left": 3, "kind": "sum", "tags": ["a"]}),
    ("Что такое арифмометр?", None),
])
def test_examples_are_a_pattern_for_near_questions(question, arguments):
    properties = {"left": INTEGER, "kind": STRING, "tags": {"type": "array", "items": STRING}, "other": STRING}
    params = {"left": 12, "kind": "sum", "tags": ["a", "b"], "stray": 1}
    function = described("run", "", properties, [], [("Прочее", {}), ("Чему равно пять плюс семь?", params)])
    assert (choose_call(said(question), [function]) or (None, None))[1] == arguments


@pytest.mark.parametrize(("schema", "value"), [
    ({"type": "integer", "default": 7}, 7), ({"type": "string", "examples": [5, "да"]}, "да"), ({"const": None}, None),
    ({"enum": ["x", "y"]}, "x"), ({"enum": ["x", "y"], "default": "y"}, "y"), (about("Город"), "Москва"),
    ({"type": "integer", "minimum": 2.5}, 3), ({"type": "number", "maximum": -1}, -1), ({"type": "boolean"}, False),
    ({"type": "array", "items": INTEGER, "minItems": 2}, [1, 1]), ({"type": "null"}, None), (STRING, "Привет"),
    ({"type": "array", "maxItems": 0}, []), ({"type": "string", "format": "date"}, "2026-01-15"),
], ids=str)
def test_what_no_question_tells_comes_from_the_schema(schema, value):
    function = described("run", "", {"value": schema, "optional": schema}, ["value"])
    assert choose_call(said("Привет"), [function], {"name": "run"}) == ("run", {"value": value})


# ---- Arguments and their schemas


def make_text(rng):
    parts = ["погода", "в Москве", "из Твери", "10 дней", "-2.5", "«цитата»", "a@b.ru", "2026-01-02", "\ud83d", "один",
             "🙂", "\n", "()", "9" * 40, "Иван", "99.99.9999", "не", "USD", "x" * 300, "https://a.b", ": ", "или"]
    return " ".join(rng.choice(parts) for _ in range(rng.randint(0, 12)))


def test_answers_fit_a_schema():
    node = {"properties": {"name": STRING, "size": {"type": ["null", "integer"], "minimum": 3, "maximum": 5}},
            "required": ["name"]}
    schema = {"$defs": {"Node": node}, "properties": {
        "nodes": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "minItems": 2},
        "kind": {"anyOf": [{"type": "null"}, {"enum": ["a", "b"]}]},
        "both": {"allOf": [{"properties": {"x": {"type": "boolean"}}}, {"properties": {"y": {"const": 1}}}]}}}
    answer = json.loads(compose_json(said("Сколько?"), schema))
    assert list(answer) == ["nodes", "kind", "both"] and answer["kind"] == "a"
    assert [set(item) <= {"name", "size"} and "name" in item for item in answer["nodes"]] == [True] * 2
    assert compose_json(said("Сколько?"), json.loads(json.dumps(schema))) == compose_json(said("Сколько?"), schema)


@pytest.mark.parametrize("schema", [
    {"type": 5, "properties": [], "required": "x"},
    {"properties": {"a": None, "b": True, "c": []}, "required": ["a", "z", 1]},
    {"$ref": "#/nowhere"}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}, {"$ref": "#"}], "anyOf": 3, "oneOf": [None]},
    {"properties": {"a": {"type": "integer", "minimum": 10 ** 400, "maximum": float("nan"), "examples": {}}}},
    {"properties": {"a": {"type": "string", "minLength": 10 ** 12, "format": []}}, "required": ["a"]},
    {"properties": {"b": {"enum": [[], {}]}}, "required": ["b"]},
    {"properties": {"a": {"type": "array", "minItems": 10 ** 12, "items": [1]}}, "required": ["a"]},
    {"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1, "exclusiveMinimum": True}}, "required": ["a"]},
], ids=lambda schema: json.dumps(schema)[:40])
def test_odd_schemas_are_no_harm(schema):
    examples = [None, {"request": 1, "params": 2}]
    odd = {"name": "f", "parameters": schema, "description": 7, "few_shot_examples": examples}
    for question in ("", "a 1 «b»", "\ud800"):
        name, arguments = choose_call(said(question), [None, odd], {"name": "f", "partial_arguments": []})
        assert name == "f" and len(json.dumps(arguments)) < 1_000_000


def test_recursive_schemas_and_huge_texts_take_no_time():
    names = list("abcdefghij")
    node = {"properties": {name: {"$ref": "#/$defs/Node"} for name in names}, "required": names}
    deep = {"type": "string"}
    for _ in range(400):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    started = time.perf_counter()
    for schema in (dict(node, **{"$defs": {"Node": node}}), deep):
        for text in ("погода " * 100_000, "a" * 500_000, "1 " * 200_000, "(" * 300_000, "A " * 200_000, "." * 300_000):
            messages = said(text)
            assert choose_call(messages, [{"name": "f", "parameters": schema}], {"name": "f"})
            assert canned_reply(messages) and canned_reply([*messages, {"role": "function", "content": text}])
    assert time.perf_counter() - started < 5  # where the work grew with the square, minutes


# ---- Parts, tokens, vectors


@pytest.mark.parametrize(("text", "tokens"), [
    ("", 0), ("First text", 2), ("Second text", 2), ("Hello.", 2), ("2026", 2), ("🙂🙂", 2), ("----", 1), ("日本語", 3),
    ("Здравствуйте", 3), ("language", 2),
])
def test_tokens_are_counted(text, tokens):
    assert count_tokens(text) == tokens
    assert truncate_text(text, None) == (text, tokens + 1, "stop")


def test_token_counts_look_right():
    assert 3 <= len(BAIKAL) / count_tokens(BAIKAL) <= 4
    english = "The quick brown fox jumps over the lazy dog near the river bank."
    assert 4 <= len(english) / count_tokens(english) <= 6


@pytest.mark.parametrize("seed", range(3))
def test_parts_join_and_cuts_are_beginnings(seed):
    rng = random.Random(seed)
    for _ in range(100):
        text, every, limit = make_text(rng), rng.randint(1, 5), rng.randint(1, 30)
        parts = split_text(text, every)
        assert parts and "".join(parts) == text
        assert len(parts) == -(-len(split_text(text)) // every) and (all(parts) or parts == [""])
        cut, spent, reason = truncate_text(text, limit)
        assert text.startswith(cut) and spent <= limit and (cut == text or reason == "length")
        assert spent == count_tokens(cut) + (reason == "stop")
    assert max(map(len, split_text("ы" * 1000))) <= 160


def test_texts_that_share_words_are_near():
    texts = ["Кошка спит на диване", "На диване спит кошка", "Кошки спят на диванах", "Курс валют вырос", ""]
    vectors = [json.loads(embedding_json(text)) for text in texts]
    assert all(len(vector) == 1024 and all(type(number) is float for number in vector) for vector in vectors)

    def near(a, b):
        return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    assert near(vectors[0], vectors[1]) > 0.99
    assert 0.3 < near(vectors[0], vectors[2]) < 0.95
    assert abs(near(vectors[0], vectors[3])) < 0.15
    assert len(json.loads(embedding_json("\ud800 x"))) == 1024
