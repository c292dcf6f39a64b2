"""Which function the emulator calls and with what: pure functions of the dialogue, the same each time."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, Callable, Iterable, Pattern

from .words import listing, mapping, text_of

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


_SAME = {
    _stem(word): _stem(words[0]) for words in map(str.split, _MEANINGS.replace("ё", "е").split(",")) for word in words}


def find_stems(text: str) -> dict[str, None]:
    """Return what the words of a text have in common with other forms and languages, in their order.

    >>> list(find_stems("getWeather: прогноз для города, 10 days"))
    ['погод', 'город', '10', 'ден']
    """
    words = re.findall(r"[^\W_]+", _split(text[:5000]).lower().replace("ё", "е"))
    found = ((word, _stem(word)) for word in words if word not in _STOP)
    return {_SAME.get(stem, stem): None for word, stem in found if stem in _SAME or len(word) > 2 or word.isdigit()}


def _split(name: str) -> str:
    return re.sub(r"([a-zа-я])([A-ZА-Я])", r"\1 \2", name).replace("_", " ")


# ---- Which function

_MISSING: Any = object()


def call_function(
    messages: list[dict[str, Any]], functions: Any, function_call: Any = None,
) -> tuple[str, dict[str, Any]] | None:
    """Return name and arguments of the function that the service would call, None where it would answer in words.

    A result at the end is answered, `{"name": …}` is obeyed, and else the function that shares most words with the
    question is called, if any fits. Entries without `parameters` are built-in functions and stay uncalled.
    """
    last = messages[-1].get("role") if messages else None
    forced = mapping(function_call)
    described = [f for f in listing(functions) if isinstance(f, dict) and isinstance(f.get("parameters"), dict)]
    if forced:
        described = [f for f in described if f.get("name") == forced.get("name")]
    if not described or last == "function" or not (forced or (last == "user" and function_call != "none")):
        return None
    question = next((text_of(m) for m in reversed(messages) if m.get("role") == "user"), "")
    words = _Hints(question).words
    chosen = max(described, key=lambda function: _fit(function, words))
    if not forced and _fit(chosen, words) < 2:
        return None
    return str(chosen.get("name")), _fill_arguments(chosen, question, mapping(forced.get("partial_arguments")))


def _fit(function: dict[str, Any], words: Iterable[str]) -> float:
    """Return how well a function fits the words of a question; from 2 on it is worth a call.

    A word of its name counts 3, of its description 2, of its parameters 1; an example as a whole up to 4.
    """
    parameters = mapping(function["parameters"].get("properties"))
    about = " ".join(f"{name} {mapping(parameters[name]).get('description')}" for name in list(parameters)[:50])
    telling = {word for word in words if len(word) > 2 and not word.isdigit()}
    texts = ((3, function.get("name")), (2, function.get("description")), (1, about))
    score = sum(weight * len(telling & find_stems(str(text or "")).keys()) for weight, text in texts)
    return score + 4 * _nearest_example(function, words)[0]


def _nearest_example(function: dict[str, Any], words: Iterable[str]) -> tuple[float, dict[str, Any]]:
    """Return which share of the words of a question and of the nearest example are the same, and its arguments."""
    asked, best = set(words), (0.0, {})  # type: set[str], tuple[float, dict[str, Any]]
    for example in map(mapping, listing(function.get("few_shot_examples"))[:50]):
        request = find_stems(str(example.get("request"))).keys()
        share = len(request & asked) / max(len(request), len(asked), 1)
        best = (share, mapping(example.get("params"))) if share > best[0] else best
    return best


# ---- What a question holds for arguments

_GROUPS = {"двоих": 2, "троих": 3, "четверых": 4, "пятерых": 5, "шестерых": 6, "двое": 2, "трое": 3, "четверо": 4}
_NUMERALS = ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять"]
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


class _Hints:
    """Hold what a question has for arguments, each find to be used once; `left` bounds the work on a schema."""

    def __init__(self, question: str, root: Any = None) -> None:
        self.question, self.root, self.left = question, root, 1000
        self.words = {stem: place for place, stem in enumerate(find_stems(question))}
        self.used: set[str] = set()
        values = {**{word: number for number, word in enumerate(_NUMERALS)}, **_GROUPS}
        self.rest = re.sub(r"\b(%s)\b" % "|".join(values), lambda found: str(values[found[0]]), question)

    def take(self, pattern: Pattern[str], label: str, accepts: Callable[[Any], bool]) -> Any:
        """Take out what matches, with its cue among the words about a parameter if possible, and is accepted."""
        found, about = [], find_stems(label).keys()
        for match in itertools.islice(pattern.finditer(self.rest), 20):
            groups = match.groupdict()
            cue = groups.get("cue") or ""
            value = _read(pattern, cue, groups["value"] or groups.get("rest") or "")
            if accepts(value):
                found.append((not find_stems(cue).keys() & about, match.span(), value))
        if not found:
            return _MISSING
        _, (start, end), value = min(found, key=lambda find: find[:2])
        self.rest = self.rest[:start] + " " + self.rest[end:]
        return value


def _read(pattern: Pattern[str], cue: str, text: str) -> Any:
    """Return a find as an argument is written: numbers as such, places in their first form, currencies by code.

    >>> [_read(_PROPER, *pair) for pair in (("в", "Манжероке"), ("из", "Москвы"), ("в", "казани"), ("в", "Китае"))]
    ['Манжерок', 'Москва', 'Казань', 'Китай']
    """
    if pattern is _NUMBER:
        return float(text.replace(",", ".")) if "," in text or "." in text else int(text)
    if pattern is _CURRENCY:
        return _SAME.get(_stem(text.lower()), text).upper()
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
_BLANK: dict[str, Callable[[], Any]] = {
    "string": str, "integer": int, "number": int, "boolean": bool, "array": list, "object": dict, "null": lambda: None}


def compose_json(messages: list[dict[str, Any]], schema: dict[str, Any]) -> str:
    """Return an answer that a schema allows, indented as the service has it: every field, of the question if it can.

    >>> print(compose_json([{"role": "user", "content": "Сколько?"}], {"properties": {"n": {"type": "integer"}}}))
    {
        "n": 1
    }
    """
    question = next((text_of(m) for m in reversed(messages) if m.get("role") == "user"), "")
    hints = _Hints(question, schema)
    whole = _resolve(schema, hints)
    properties = list(mapping(whole.get("properties")))
    return json.dumps(
        _fill({**whole, "required": properties} if properties else whole, "", hints), ensure_ascii=False, indent=4)


def _fill_arguments(function: dict[str, Any], question: str, partial: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that the schema allows: those given, an example's where it is near, and else made ones."""
    share, example = _nearest_example(function, _Hints(question).words)
    hints = _Hints("" if share == 1.0 else question, function["parameters"])  # the very example needs no guesses
    schema = _resolve(function["parameters"], hints)
    left = {name: value for name, value in mapping(schema.get("properties")).items() if name not in partial}
    needed = [name for name in _required(schema) if name not in partial]
    return {**partial, **_fill_object({"properties": left, "required": needed}, hints, example if share > 0.5 else {})}


def _required(schema: dict[str, Any]) -> list[str]:
    return [name for name in listing(schema.get("required")) if isinstance(name, str)]


def _resolve(schema: Any, hints: _Hints, depth: int = 0) -> dict[str, Any]:
    """Return a schema with its reference followed, all of `allOf` and the first variant that is not null in it."""
    schema, hints.left = mapping(schema), hints.left - 1
    parts = listing(schema.get("allOf"))[:9]
    for key in ("anyOf", "oneOf"):
        parts += [part for part in listing(schema.get(key)) if mapping(part).get("type") != "null"][:1]
    if isinstance(schema.get("$ref"), str):
        target = hints.root
        for key in schema["$ref"].split("/")[1:9]:
            target = mapping(target).get(key)
        parts.append(target)
    whole: dict[str, Any] = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf", "oneOf", "$ref")}
    for part in parts if depth < 9 and hints.left > 0 else []:
        part = _resolve(part, hints, depth + 1)
        both = {**mapping(part.get("properties")), **mapping(whole.get("properties"))}
        whole = {**part, **whole, "required": _required(part) + _required(whole)}
        whole.update({"properties": both} if both else {})
    return whole


def _type_of(schema: dict[str, Any]) -> str:
    """Return the first type of a schema, null last, or what its other keys tell."""
    kinds = schema.get("type")
    known = [kind for kind in listing(kinds) or [kinds] if isinstance(kind, str) and kind in _BLANK]
    told = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return min(known or [told], key="null".__eq__)


def _fill(schema: Any, label: str, hints: _Hints, needed: bool = True, given: Any = None, depth: int = 0) -> Any:
    """Return a value from the question, from what is known, or made; `_MISSING` where nothing fits nor need to."""
    schema = _resolve(schema, hints)
    kind, label = _type_of(schema), f"{_split(label)}\n{str(schema.get('description') or '')[:2000]}"
    if hints.left <= 0 or depth > 30:
        return _BLANK[kind]() if needed else _MISSING
    options = [schema["const"]] if "const" in schema else listing(schema.get("enum"))
    if not options and kind == "object":
        return _fill_object(schema, hints, mapping(given), needed, depth)
    if not options and kind == "array":
        return _fill_array(schema, label, hints, needed, listing(given), depth)
    value = _choose(options, hints) if options else _find(schema, kind, label, hints)
    if value is not _MISSING or not needed:
        return value
    known = [given, schema.get("default"), *listing(schema.get("examples"))[:9]]
    known = [v for v in known if (v in options if options else _accepts(schema, kind, v))] + options
    return known[0] if known else _make(schema, kind, label, hints)


def _fill_object(
    schema: dict[str, Any], hints: _Hints, given: dict[str, Any], needed: bool = True, depth: int = 0,
) -> Any:
    """Fill what an object requires and what the question has something for, in the order of its properties."""
    properties, required = mapping(schema.get("properties")), dict.fromkeys(_required(schema))
    filled: dict[str, Any] = {}
    for name, wanted in [*((n, needed) for n in required), *((n, False) for n in properties if n not in required)]:
        if wanted or hints.left > 0:
            filled[name] = _fill(properties.get(name), name, hints, wanted or name in given, given.get(name), depth + 1)
    if not needed and all(value is _MISSING for value in filled.values()):
        return _MISSING
    for name in required:
        if filled.get(name, _MISSING) is _MISSING:
            filled[name] = _fill(properties.get(name), name, hints, True, given.get(name), depth + 1)
    return {name: filled[name] for name in {**properties, **required} if filled.get(name, _MISSING) is not _MISSING}


def _fill_array(
    schema: dict[str, Any], label: str, hints: _Hints, needed: bool, given: list[Any], depth: int,
) -> Any:
    """Collect what the question has for an array, and make the items that it must have besides: at least one."""
    sizes = {"minLength": schema.get("minItems"), "maxLength": schema.get("maxItems")}
    low, most = _limits(sizes, "string")
    least = max(low, min(1 if hints.question else len(given) or 1, most))
    values: list[Any] = []
    while len(values) < max(min(most, 20), least) and hints.left > 0:
        place = len(values)
        wanted, known = place < least and (needed or place > 0), (given[place:place + 1] or [None])[0]
        value = _fill(schema.get("items"), label, hints, wanted, known, depth + 1)
        if value is _MISSING or (schema.get("uniqueItems") is True and value in values):
            break
        values.append(value)
    return values if values or needed else _MISSING


def _choose(options: list[Any], hints: _Hints) -> Any:
    """Return the option that a question names first."""
    named: list[tuple[int, int]] = []
    for index, option in enumerate(options[:50]):
        stems = find_stems(str(option)).keys() if isinstance(option, (str, int, float)) else set()
        if stems and stems <= hints.words.keys() - hints.used:
            named.append((min(hints.words[stem] for stem in stems), index))
    if not named:
        return _MISSING
    option = options[min(named)[1]]
    hints.used.update(find_stems(str(option)))
    return option


def _find(schema: dict[str, Any], kind: str, label: str, hints: _Hints) -> Any:
    """Return what a question holds for a parameter that is no collection."""
    if kind == "boolean":
        shared = {word for word in hints.words.keys() & find_stems(label).keys() if len(word) > 2} - hints.used
        hints.used |= shared
        denied = re.findall(r"\b(?:без|не|no|not|without) (?:для |в |a |the )?(\w{1,40})", hints.question.lower())
        return not any(find_stems(word).keys() & shared for word in denied) if shared else _MISSING
    patterns = [_NUMBER] if kind in ("integer", "number") else _purpose(schema, label)[0] if kind == "string" else []
    for pattern in patterns:
        value = hints.take(pattern, label, lambda value: _accepts(schema, kind, value))
        if value is not _MISSING:
            return value
    return _MISSING


def _purpose(schema: dict[str, Any], label: str) -> tuple[list[Pattern[str]], str]:
    """Return how a question may tell a text, and the text where it does not: by format, name or description."""
    texts = [str(schema.get("format")), *label.lower().split("\n", 1)]
    for text, (purpose, patterns, otherwise) in itertools.product(texts, _PURPOSES[:-1]):
        if purpose.search(text):
            return patterns, otherwise
    return _PURPOSES[-1][1:]


def _limits(schema: dict[str, Any], kind: str) -> tuple[float, float]:
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


def _accepts(schema: dict[str, Any], kind: str, value: Any) -> bool:
    """Tell whether a schema allows a text, a number or a boolean."""
    low, high = _limits(schema, kind)
    if isinstance(value, str):
        sample = _FORMATS.get(str(schema.get("format")))
        alike = not sample or re.sub(r"\w", "0", value) == re.sub(r"\w", "0", sample)
        return kind == "string" and alike and low <= len(value) <= high
    if isinstance(value, bool) or kind not in ("integer", "number"):
        return kind == "boolean" and isinstance(value, bool)
    return isinstance(value, int if kind == "integer" else (int, float)) and low <= value <= high


def _make(schema: dict[str, Any], kind: str, label: str, hints: _Hints) -> Any:
    """Return a value that a schema allows where neither the question nor the schema name one."""
    low, high = _limits(schema, kind)
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format"))) or _purpose(schema, label)[1] or hints.question or label.strip()
        return (text or "…")[:max(0, int(high))].ljust(min(int(low), 9999), ".")
    if kind == "integer":
        return min(max(1, math.ceil(low)), math.floor(high))
    return min(max(1, low), high) if kind == "number" else _BLANK[kind]()
