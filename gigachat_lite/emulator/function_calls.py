"""Which function the emulator calls and with what: pure functions of the dialogue, the same each time."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, Callable, Iterable, Pattern

from .text import JSONDict, as_dict, as_list, message_text

# ---- Words, and which of them mean the same

# A Russian question fits a function described in English, and the other way round, by these: meanings apart by commas.
_MEANINGS = (
    "погода прогноз weather forecast,температура temperature,курс rate exchange,валюта currency,usd доллар,eur евро,"
    "rub рубль,cny юань,посчитай вычисли сложи умножь calculate calculator sum multiply,переведи перевод translate,"
    "найди поиск поищи ищи search find,отправь пошли send,письмо почта email mail,создай добавь create add,"
    "новости news,напомни напоминание remind reminder,цена стоит стоимость price cost,билет ticket,город city,"
    "рейс самолёт flight,забронируй бронь закажи заказ book booking order,картинка нарисуй image draw,"
    "время час часов time hour,день дня дней дни day days,человек людей гостей guest guests people persons,"
    "celsius цельсий,fahrenheit фаренгейт,из от с from origin departure source откуда отправления вылета,"
    "в во до to destination target куда назначения")
_ENDING = re.compile(r"(?<=...)(?:[аояыие]ми|[оеы]го|[оеы]му|[аояиеы][мхйё]|[уюая]т|ов|ев|ть|ing|ed|es|[аеийоуыьюяs])$")
_STOP = frozenset(re.findall(r"\w+", """
    как какой какая какое какие что где для про или при это мне меня мой твой все если нет есть будет чтобы скажи
    расскажи покажи дай узнай пожалуйста сейчас the and for get what how which who this that with you your can show
    tell give please are now функция function возвращает получает получить returns return данные data значение value
    например example название name параметр string список list"""))


def _stem(word: str) -> str:
    """Return the beginning of a word that its other forms share.

    >>> _stem("погоде"), _stem("погодой"), _stem("forecasts")
    ('погод', 'погод', 'forec')
    """
    return _ENDING.sub("", word)[:5]


_SYNONYMS = {
    _stem(word): _stem(words[0]) for words in map(str.split, _MEANINGS.replace("ё", "е").split(",")) for word in words}


def word_stems(text: str) -> dict[str, None]:
    """Return what the words of a text have in common with other forms and languages, in their order.

    >>> list(word_stems("getWeather: прогноз для города, 10 days"))
    ['погод', 'город', '10', 'ден']
    """
    words = re.findall(r"[^\W_]+", _split_name(text[:5000]).lower().replace("ё", "е"))
    stems = ((word, _stem(word)) for word in words if word not in _STOP)
    return {_SYNONYMS.get(stem, stem): None for word, stem in stems
            if stem in _SYNONYMS or len(word) > 2 or word.isdigit()}


def _split_name(name: str) -> str:
    return re.sub(r"([a-zа-я])([A-ZА-Я])", r"\1 \2", name).replace("_", " ")


# ---- Which function

_NOTHING: Any = object()


def choose_call(messages: list[JSONDict], functions: Any, function_call: Any = None) -> tuple[str, JSONDict] | None:
    """Return name and arguments of the function that the service would call, None where it would answer in words.

    A result at the end is answered, `{"name": …}` is obeyed, and else the function that shares most words with the
    question is called, if any fits. Entries without `parameters` are built-in functions and stay uncalled.
    """
    last = messages[-1].get("role") if messages else None
    forced = as_dict(function_call)
    described = [f for f in as_list(functions) if isinstance(f, dict) and isinstance(f.get("parameters"), dict)]
    if forced:
        described = [f for f in described if f.get("name") == forced.get("name")]
    if not described or last == "function" or not (forced or (last == "user" and function_call != "none")):
        return None
    question = next((message_text(m) for m in reversed(messages) if m.get("role") == "user"), "")
    words = _Question(question).words
    chosen = max(described, key=lambda function: _score(function, words))
    if not forced and _score(chosen, words) < 2:
        return None
    return str(chosen.get("name")), _fill_arguments(chosen, question, as_dict(forced.get("partial_arguments")))


def _score(function: JSONDict, words: Iterable[str]) -> float:
    """Return how well a function fits the words of a question; from 2 on it is worth a call.

    A word of its name counts 3, of its description 2, of its parameters 1; an example as a whole up to 4.
    """
    parameters = as_dict(function["parameters"].get("properties"))
    about = " ".join(f"{name} {as_dict(parameters[name]).get('description')}" for name in list(parameters)[:50])
    telling = {word for word in words if len(word) > 2 and not word.isdigit()}
    texts = ((3, function.get("name")), (2, function.get("description")), (1, about))
    score = sum(weight * len(telling & word_stems(str(text or "")).keys()) for weight, text in texts)
    return score + 4 * _nearest_example(function, words)[0]


def _nearest_example(function: JSONDict, words: Iterable[str]) -> tuple[float, JSONDict]:
    """Return which share of the words of a question and of the nearest example are the same, and its arguments."""
    asked, best = set(words), (0.0, {})  # type: set[str], tuple[float, JSONDict]
    for example in map(as_dict, as_list(function.get("few_shot_examples"))[:50]):
        request = word_stems(str(example.get("request"))).keys()
        share = len(request & asked) / max(len(request), len(asked), 1)
        best = (share, as_dict(example.get("params"))) if share > best[0] else best
    return best


# ---- What a question holds for arguments

_NUMERALS = """ноль/один/два двоих двое/три троих трое/четыре четверых четверо/пять пятерых/шесть шестерых/семь/восемь/
девять/десять"""
_COUNTS = {word: count for count, words in enumerate(_NUMERALS.split("/")) for word in words.split()}
_MONTHS = "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
# Places whose first form the ending alone does not tell; for "в Лондоне", "из Лондона" and "в Китае" it does.
_PLACES = {stem: stems[0] for stems in (
    "а москв уф самар тул калуг пенз чит анап ялт астан варшав праг вен костром вологд риг анкар европ",
    "ь казан твер перм рязан астрахан тюмен ярославл керч севастопол симферопол",
    "я росси итали франци германи испани турци грузи япони инди") for stem in stems.split()[1:]}
_NUMBER = re.compile(
    r"(?<![\w.,:/-])(?P<value>-?\d{1,15}(?:[.,]\d{1,6})?)(?![\d:/-]|\.\d| (?:%s))\s?(?P<cue>[^\W\d_]{1,40})?" % _MONTHS)
_QUOTE = re.compile(r"[«\"“](?P<value>[^«»\"“”]{1,2000})[»\"”]|(?<=: )(?P<rest>\S.{0,2000})")
_CURRENCY = re.compile(r"\b(?P<value>[A-Z]{3}|(?i:доллар|евро|рубл|юан)[а-я]{0,3})\b")
_PROPER = re.compile(
    r"(?:\b(?P<cue>(?i:в|во|на|о|об|из|до|от|с|к|in|at|to|from|for|about|near)) |(?<=[^.!?:…] ))"
    r"(?P<value>[A-ZА-ЯЁ][\w-]{1,60}(?: [A-ZА-ЯЁ][\w-]{1,60}){0,3}|(?:%s)[а-яё]{1,2}\b)" % "|".join(_PLACES))
# What a text is for, told by its name or description; where a question may have it; and what it is otherwise.
_PURPOSES = [(re.compile(purpose), [re.compile(p) if isinstance(p, str) else p for p in patterns], otherwise)
             for purpose, patterns, otherwise in (
    (r"mail|почт", [r"(?P<value>[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4})"], "user@example.com"),
    (r"\bur[il]|link|ссылк|сайт", [r"(?P<value>https?://[^\s<>\"»]{1,2000})"], "https://example.com/"),
    (r"(?<!up)date|\bдат[аыуе]\b|\bдень\b|\bday\b", [
        r"\b(?P<value>\d{4}-[01]\d-[0-3]\d|[0-3]?\d\.[01]?\d\.\d{4}|\d\d? (?:%s)(?: \d{4})?)\b" % _MONTHS,
        r"\b(?P<value>(?i:сегодня|послезавтра|завтра|вчера|today|tomorrow|yesterday))\b"], "2026-01-15"),
    (r"time(?!z)|врем", [r"\b(?P<value>(?:[01]?\d|2[0-3]):[0-5]\d)\b"], "12:00"),
    (r"currenc|валют", [_CURRENCY], "USD"),
    (r"lang|язык", [r"\bна (?P<value>[а-яё]{2,20}[сц]кий)\b"], "английский"),
    (r"expression|выражен|формул", [r"(?P<value>[\d(][\d .()]{0,20}[-+*/^][\d .()+*/^-]{0,60}[\d)])"], "2 + 2"),
    (r"subject|\bтема", [], "Сообщение"),
    (r"phone|телефон|\bid\b|number|номер|\bкод|\bcode", [r"(?<!\w)(?P<value>[A-ZА-Я+]{0,5}-?\d[\w-]{0,30})"], "1"),
    (r"city|town|locat|place|country|address|region|origin|destin|город|мест|стран|адрес|откуда|куда",
     [_PROPER, _QUOTE], "Москва"),
    (r"query|text|prompt|message|content|question|body|запрос|текст|сообщен|вопрос", [_QUOTE], ""),
    (r"", [_QUOTE, _PROPER], ""),
)]


class _Question:
    """Hold what a question has for arguments, each find to be used once; `budget` bounds the work on a schema."""

    def __init__(self, question: str, root: Any = None) -> None:
        self.text, self.root, self.budget = question, root, 1000
        self.words = {stem: place for place, stem in enumerate(word_stems(question))}
        self.used: set[str] = set()
        self.rest = re.sub(r"\b(%s)\b" % "|".join(_COUNTS), lambda found: str(_COUNTS[found[0]]), question)

    def take(self, pattern: Pattern[str], label: str, accepts: Callable[[Any], bool]) -> Any:
        """Take out what matches, with its cue among the words about a parameter if possible, and is accepted."""
        found, about = [], word_stems(label).keys()
        for match in itertools.islice(pattern.finditer(self.rest), 20):
            groups = match.groupdict("")
            cue = groups.get("cue", "")
            value = _convert(pattern, cue, groups["value"] or groups.get("rest", ""))
            if accepts(value):
                found.append((not word_stems(cue).keys() & about, match.span(), value))
        if not found:
            return _NOTHING
        _, (start, end), value = min(found, key=lambda find: find[:2])
        self.rest = self.rest[:start] + " " + self.rest[end:]
        return value


def _convert(pattern: Pattern[str], cue: str, text: str) -> Any:
    """Return a find as an argument is written: numbers as such, places in their first form, currencies by code.

    >>> [_convert(_PROPER, *pair) for pair in (("в", "Манжероке"), ("из", "Москвы"), ("в", "казани"), ("в", "Китае"))]
    ['Манжерок', 'Москва', 'Казань', 'Китай']
    """
    if pattern is _NUMBER:
        return float(text.replace(",", ".")) if "," in text or "." in text else int(text)
    if pattern is _CURRENCY:
        return _SYNONYMS.get(_stem(text.lower()), text).upper()
    stem, last, cue = text[:-1], text[-1:], cue.lower()
    if pattern is not _PROPER:
        return text
    if stem.lower() in _PLACES:
        return stem[:1].upper() + stem[1:] + _PLACES[stem.lower()]
    if (last == "е" and cue in ("в", "во", "на", "о", "об")) or (last == "а" and cue in ("из", "до", "от", "с")):
        return stem + ("й" if stem[-1:] in "аеуо" else "")
    return text


# ---- Values that a schema allows

_FORMATS = {  # samples; what has one must look like it
    "date": "2026-01-15", "date-time": "2026-01-15T12:00:00Z", "time": "12:00:00", "ipv4": "127.0.0.1",
    "uuid": "00000000-0000-4000-8000-000000000001"}
_EMPTY: dict[str, Callable[[], Any]] = {
    "string": str, "integer": int, "number": int, "boolean": bool, "array": list, "object": dict, "null": lambda: None}


def compose_json(messages: list[JSONDict], schema: JSONDict) -> str:
    """Return an answer that a schema allows, indented as the service has it: every field, of the question if it can.

    >>> print(compose_json([{"role": "user", "content": "Сколько?"}], {"properties": {"n": {"type": "integer"}}}))
    {
        "n": 1
    }
    """
    question = next((message_text(m) for m in reversed(messages) if m.get("role") == "user"), "")
    query = _Question(question, schema)
    whole = _resolve_schema(schema, query)
    properties = list(as_dict(whole.get("properties")))
    return json.dumps(
        _fill({**whole, "required": properties} if properties else whole, "", query), ensure_ascii=False, indent=4)


def _fill_arguments(function: JSONDict, question: str, partial: JSONDict) -> JSONDict:
    """Return arguments that the schema allows: those given, an example's where it is near, and else made ones."""
    share, example = _nearest_example(function, _Question(question).words)
    query = _Question("" if share == 1.0 else question, function["parameters"])  # the very example needs no guesses
    schema = _resolve_schema(function["parameters"], query)
    left = {name: value for name, value in as_dict(schema.get("properties")).items() if name not in partial}
    needed = [name for name in _required(schema) if name not in partial]
    return {**partial, **_fill_object({"properties": left, "required": needed}, query, example if share > 0.5 else {})}


def _required(schema: JSONDict) -> list[str]:
    return [name for name in as_list(schema.get("required")) if isinstance(name, str)]


def _resolve_schema(schema: Any, query: _Question, depth: int = 0) -> JSONDict:
    """Return a schema with its reference followed, all of `allOf` and the first variant that is not null in it."""
    schema, query.budget = as_dict(schema), query.budget - 1
    parts = as_list(schema.get("allOf"))[:9]
    for key in ("anyOf", "oneOf"):
        parts += [part for part in as_list(schema.get(key)) if as_dict(part).get("type") != "null"][:1]
    if isinstance(schema.get("$ref"), str):
        target = query.root
        for key in schema["$ref"].split("/")[1:9]:
            target = as_dict(target).get(key)
        parts.append(target)
    whole: JSONDict = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf", "oneOf", "$ref")}
    for part in parts if depth < 9 and query.budget > 0 else []:
        part = _resolve_schema(part, query, depth + 1)
        both = {**as_dict(part.get("properties")), **as_dict(whole.get("properties"))}
        whole = {**part, **whole, "required": _required(part) + _required(whole)}
        whole.update({"properties": both} if both else {})
    return whole


def _type_of(schema: JSONDict) -> str:
    """Return the first type of a schema, null last, or what its other keys tell."""
    kinds = schema.get("type")
    known = [kind for kind in as_list(kinds) or [kinds] if isinstance(kind, str) and kind in _EMPTY]
    return min(known or ["object" if "properties" in schema else "array" if "items" in schema else "string"],
               key="null".__eq__)


def _fill(schema: Any, label: str, query: _Question, needed: bool = True, given: Any = None, depth: int = 0) -> Any:
    """Return a value from the question, from what is known, or made; `_NOTHING` where nothing fits nor need to."""
    schema = _resolve_schema(schema, query)
    kind, label = _type_of(schema), f"{_split_name(label)}\n{str(schema.get('description') or '')[:2000]}"
    if query.budget <= 0 or depth > 30:
        return _EMPTY[kind]() if needed else _NOTHING
    options = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    if not options and kind == "object":
        return _fill_object(schema, query, as_dict(given), needed, depth)
    if not options and kind == "array":
        return _fill_array(schema, label, query, needed, as_list(given), depth)
    value = _choose_option(options, query) if options else _from_question(schema, kind, label, query)
    if value is not _NOTHING or not needed:
        return value
    known = [given, schema.get("default"), *as_list(schema.get("examples"))[:9]]
    known = [v for v in known if (v in options if options else _allows(schema, kind, v))] + options
    return known[0] if known else _default_value(schema, kind, label, query)


def _fill_object(schema: JSONDict, query: _Question, given: JSONDict, needed: bool = True, depth: int = 0) -> Any:
    """Fill what an object requires and what the question has something for, in the order of its properties."""
    properties, required = as_dict(schema.get("properties")), dict.fromkeys(_required(schema))
    filled: JSONDict = {}
    for name, wanted in [*((n, needed) for n in required), *((n, False) for n in properties if n not in required)]:
        if wanted or query.budget > 0:
            filled[name] = _fill(properties.get(name), name, query, wanted or name in given, given.get(name), depth + 1)
    if not needed and all(value is _NOTHING for value in filled.values()):
        return _NOTHING
    for name in required:
        if filled.get(name, _NOTHING) is _NOTHING:
            filled[name] = _fill(properties.get(name), name, query, True, given.get(name), depth + 1)
    return {name: filled[name] for name in {**properties, **required} if filled.get(name, _NOTHING) is not _NOTHING}


def _fill_array(schema: JSONDict, label: str, query: _Question, needed: bool, given: list[Any], depth: int) -> Any:
    """Collect what the question has for an array, and make the items that it must have besides: at least one."""
    low, most = _bounds({"minLength": schema.get("minItems"), "maxLength": schema.get("maxItems")}, "string")
    least = max(low, min(1 if query.text else len(given) or 1, most))
    values: list[Any] = []
    while len(values) < max(min(most, 20), least) and query.budget > 0:
        place = len(values)
        wanted, known = place < least and (needed or place > 0), (given[place:place + 1] or [None])[0]
        value = _fill(schema.get("items"), label, query, wanted, known, depth + 1)
        if value is _NOTHING or (schema.get("uniqueItems") is True and value in values):
            break
        values.append(value)
    return values if values or needed else _NOTHING


def _choose_option(options: list[Any], query: _Question) -> Any:
    """Return the option that a question names first."""
    left = query.words.keys() - query.used
    stems = {index: word_stems(str(option)).keys() for index, option in enumerate(options[:50])
             if isinstance(option, (str, int, float))}
    named = [(min(map(query.words.__getitem__, found)), index) for index, found in stems.items()
             if found and found <= left]
    if not named:
        return _NOTHING
    query.used |= stems[min(named)[1]]
    return options[min(named)[1]]


def _from_question(schema: JSONDict, kind: str, label: str, query: _Question) -> Any:
    """Return what a question holds for a parameter that is no collection."""
    if kind == "boolean":
        shared = {word for word in query.words.keys() & word_stems(label).keys() if len(word) > 2} - query.used
        query.used |= shared
        denied = re.findall(r"\b(?:без|не|no|not|without) (?:для |в |a |the )?(\w{1,40})", query.text.lower())
        return not any(word_stems(word).keys() & shared for word in denied) if shared else _NOTHING
    patterns = [_NUMBER] if kind in ("integer", "number") else []
    for pattern in _text_patterns(schema, label)[0] if kind == "string" else patterns:
        value = query.take(pattern, label, lambda value: _allows(schema, kind, value))
        if value is not _NOTHING:
            return value
    return _NOTHING


def _text_patterns(schema: JSONDict, label: str) -> tuple[list[Pattern[str]], str]:
    """Return how a question may tell a text, and the text where it does not: by format, name or description."""
    texts = [str(schema.get("format")), *label.lower().split("\n", 1)]
    return next((found[1:] for text in texts for found in _PURPOSES[:-1] if found[0].search(text)), _PURPOSES[-1][1:])


def _bounds(schema: JSONDict, kind: str) -> tuple[float, float]:
    """Return the least and the greatest number, or length of a text, that a schema allows."""
    def read(key: str, move: float = 0) -> list[float]:
        bound: Any = schema.get(key)
        usable = isinstance(bound, (int, float)) and not isinstance(bound, bool) and abs(bound) < 1e15
        return [bound + move] if usable else []

    if kind == "string":
        return max([0, *map(math.ceil, read("minLength"))]), min([9999, *map(math.floor, read("maxLength"))])
    step = 1e-6 if kind == "number" else 1
    least = max([-1e15, *read("minimum"), *read("exclusiveMinimum", step)])
    return least, min([1e15, *read("maximum"), *read("exclusiveMaximum", -step)])


def _allows(schema: JSONDict, kind: str, value: Any) -> bool:
    """Tell whether a schema allows a text, a number or a boolean."""
    low, high = _bounds(schema, kind)
    if isinstance(value, str):
        sample = _FORMATS.get(str(schema.get("format")))
        alike = not sample or re.sub(r"\w", "0", value) == re.sub(r"\w", "0", sample)
        return kind == "string" and alike and low <= len(value) <= high
    if isinstance(value, bool) or kind not in ("integer", "number"):
        return kind == "boolean" and isinstance(value, bool)
    return isinstance(value, int if kind == "integer" else (int, float)) and low <= value <= high


def _default_value(schema: JSONDict, kind: str, label: str, query: _Question) -> Any:
    """Return a value that a schema allows where neither the question nor the schema name one."""
    low, high = _bounds(schema, kind)
    if kind == "string":
        usual = _FORMATS.get(str(schema.get("format"))) or _text_patterns(schema, label)[1]
        return (usual or query.text or label.strip() or "…")[:max(0, int(high))].ljust(min(int(low), 9999), ".")
    if kind == "integer":
        return min(max(1, math.ceil(low)), math.floor(high))
    return min(max(1, low), high) if kind == "number" else _EMPTY[kind]()
