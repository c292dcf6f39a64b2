"""What the emulator says: pure functions of the dialogue, the same each time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import struct
from typing import Any

_PIECE = re.compile(r"\s*(?:\S{1,40}\s*){1,4}|\s+")
# Latin words, digits by three, letters that are words of their own, other words (Russian above all), rulers and dots.
_TOKEN = re.compile(r"[A-Za-z]{1,7}|[0-9]{1,3}|[\u3040-\u9fff\uac00-\ud7af]|\w{1,4}|[-=*#.!?]{1,4}|[^\w\s]|\n+")
_SUM = re.compile(r"(\d{1,9})\s?([-+*])\s?(\d{1,9})")
_RANGE = re.compile(r"(?:от|from|с) (\d{1,4}) (?:до|to|по) (\d{1,4})", re.IGNORECASE)
_NAME = re.compile(r"меня зовут ([^\W\d_]{2,30})", re.IGNORECASE)
_OPENINGS = ("Скажу иначе.", "Можно ответить и так.", "Ещё один вариант.")
_INTRODUCTION = (
    "Здравствуйте! Я GigaChat, а точнее его эмулятор: отвечаю по-русски, без сети и без ключа, и на один и тот же "
    "вопрос всегда одинаково. Спросите о чём-нибудь, и вы увидите, как придёт ответ.")
_TOPICS = {
    "страхов":
        "На стоимость страховки дома влияют прежде всего:\n\n"
        "1. **Стоимость и площадь дома**: чем дороже его восстановить, тем выше взнос.\n"
        "2. **Материал стен и возраст**: деревянный дом страховать дороже, чем кирпичный.\n"
        "3. **Место**: риск паводка, лесных пожаров и краж в округе.\n"
        "4. **Набор рисков и франшиза**: чем больше вы берёте на себя, тем дешевле полис.",
    "байкал":
        "Байкал — самое глубокое озеро на Земле: до 1642 метров. Ему около 25 миллионов лет, и в нём примерно пятая "
        "часть пресной воды планеты, не считая льда. В озеро впадает более трёхсот рек, а вытекает одна — Ангара.",
    r"столиц\w{1,3} росси": "Столица России — Москва.",
    r"\bстих|четверостиш":
        "Летит строка за строкой,\nКак снег за окном в декабре,\nИ каждый ответ за тобой —\nКак свет на вечерней заре.",
    r"\bкод\b|python|питон":
        'Вот небольшой пример на Python:\n\n```python\ndef greet(name):\n    return "Привет, " + name\n```',
    r"\b(спасибо|благодарю|thanks)\b": "Пожалуйста! Если появятся ещё вопросы, я здесь.",
    r"\b(привет|здравствуй|hello\b)|добр\w{1,3} (день|вечер|утро)|кто (же )?ты|как тебя зовут|что ты умеешь":
        _INTRODUCTION,
}

# ---- Answers


def compose(messages: list[dict[str, Any]]) -> str:
    """Return the answer to the last question of a dialogue, from the result of a function where that came last.

    >>> compose([{"role": "user", "content": text} for text in ("Меня зовут Анна", "Как меня зовут?")])
    'Вас зовут Анна.'
    >>> compose([{"role": "user", "content": "Погода?"}, {"role": "function", "content": '{"temperature": 25}'}])
    'Вот что известно по вашему вопросу «Погода?»: температура — 25.'
    """
    said = [text for text in (text_of(m) for m in messages if m.get("role") == "user") if text]
    question, earlier = said[-1] if said else "Кто ты?", said[-2::-1]
    quotes = [text if len(text) <= 80 else text[:80].rpartition(" ")[0] + "…" for text in [question] + earlier[:1]]
    if messages and messages[-1].get("role") == "function":
        return _report(messages[-1].get("content"), f" «{quotes[0]}»" if said else "")
    if "как меня зовут" in question.lower():
        names = [name for text in earlier for name in _NAME.findall(text)[-1:]]
        return f"Вас зовут {names[0]}." if names else "Вы ещё не представились."
    name = _NAME.search(question)
    if name:
        return f"Очень приятно, {name.group(1)}! Чем могу помочь?"
    answer = _calculate(question) or next((v for k, v in _TOPICS.items() if re.search(k, question, re.IGNORECASE)), "")
    before = f"Перед этим было: «{quotes[1]}». " if earlier else ""
    return answer or (
        f"Вы написали: «{quotes[0]}». {before}Я эмулятор и по существу судить не берусь, а настоящий GigaChat ответит "
        "на такой же запрос.")


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message in one line, of a long one its ends; it is empty where there is none."""
    content = message.get("content")
    content = content if isinstance(content, str) else ""
    return " ".join((content if len(content) <= 5000 else content[:2500] + " " + content[-2500:]).split())


def mapping(value: Any) -> dict[str, Any]:
    """Return a dict, an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """Return a list, an empty one for what is none."""
    return value if isinstance(value, list) else []


def _calculate(question: str) -> str:
    """Answer a sum or a request to count, with nothing where the question is neither.

    >>> _calculate("Сколько будет 2 + 2?"), _calculate("Count from 1 to 3")
    ('2 + 2 = 4', '1, 2, 3')
    """
    found = _SUM.search(question)
    if found:
        left, sign, right = int(found.group(1)), found.group(2), int(found.group(3))
        value = left + right if sign == "+" else left - right if sign == "-" else left * right
        return f"{left} {sign} {right} = {value}"
    found = _RANGE.search(question)
    return ", ".join(map(str, range(int(found.group(1)), int(found.group(2)) + 1)[:200])) if found else ""


_LABELS = {
    "temperature": "температура", "weather": "погода", "forecast": "прогноз", "wind": "ветер", "humidity": "влажность",
    "location": "место", "city": "город", "date": "дата", "time": "время", "name": "название", "price": "цена",
    "rate": "курс", "currency": "валюта", "status": "состояние", "count": "количество", "total": "всего",
    "message": "сообщение"}


def _report(result: Any, question: str) -> str:
    """Put the result of a function in words: a line for a little, a list for more, an apology for an error."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):  # plain text speaks for itself
        result = json.loads(result)
    while isinstance(result, dict) and len(result) == 1:
        (key, inner), = result.items()
        if key != "result" and not isinstance(inner, list):
            break
        result = inner
    error = next((result[key] for key in ("error", "errors", "ошибка") if mapping(result).get(key)), None)
    if error or mapping(result).get("status") == "error":
        return f"Не получилось ответить на ваш вопрос{question}. Функция сообщила об ошибке: {_tell(error or result)}."
    if result in (None, "", [], {}):
        return f"По вашему вопросу{question} ничего не нашлось."
    several = isinstance(result, dict) and len(result) > 3
    lines = [{key: result[key]} for key in result] if several else result if isinstance(result, list) else [result]
    told = [_tell(line) for line in lines[:30]] + [f"и ещё {len(lines) - 30}"] * (len(lines) > 30)
    known = f"Вот что известно по вашему вопросу{question}:"
    return known + "".join("\n- " + line for line in told) if len(told) > 1 else f"{known} {told[0].rstrip('.')}."


def _tell(value: Any, depth: int = 0) -> str:
    """Return a value of JSON as people say it, cut where it is long or deep.

    >>> _tell({"temperature": {"min": -1.5, "max": 3}, "rain": [True, None]})
    'температура (min — -1.5, max — 3), rain (да, нет данных)'
    """
    if isinstance(value, (dict, list)) and depth > 9:
        return "…"
    if isinstance(value, list):
        separator = "; " if any(isinstance(item, dict) for item in value) else ", "
        return separator.join(_tell(item, depth + 1) for item in value[:30])
    if not isinstance(value, dict):
        known = "нет данных" if value is None else "да" if value is True else "нет" if value is False else str(value)
        return known if len(known) <= 2000 else known[:2000] + "…"
    pairs = [(_LABELS.get(key.lower(), key.replace("_", " ")[:200]), value[key]) for key in list(value)[:30]]
    return ", ".join(
        f"{name} ({_tell(item, depth + 1)})" if isinstance(item, (dict, list)) else f"{name} — {_tell(item)}"
        for name, item in pairs)


def vary(text: str, index: int) -> str:
    """Return the text of choice `index`: the first is the text itself, the others open in words of their own."""
    if not index or not text:
        return text
    opening = _OPENINGS[index - 1] if 0 < index <= len(_OPENINGS) else f"Вариант {index + 1}."
    return opening + ("\n\n" if "\n" in text else " ") + text


# ---- Streams, tokens, vectors


def pieces(text: str, every: int = 1) -> list[str]:
    """Return the parts that a stream sends, a few words each, `every` of them joined; an empty text is one part.

    >>> pieces("раз два три четыре пять"), pieces("")
    (['раз два три четыре ', 'пять'], [''])
    """
    parts = _PIECE.findall(text) or [""]
    every = max(1, every)
    return ["".join(parts[start:start + every]) for start in range(0, len(parts), every)]


def count_tokens(text: str) -> int:
    """Return a plausible number of tokens: in Russian one for three or four characters, as the documentation says."""
    return sum(1 for _ in _TOKEN.finditer(text))


@functools.lru_cache(maxsize=64)
def cut_tokens(text: str, limit: int | None) -> tuple[str, int, str]:
    """Return a text within `max_tokens`, the tokens it took (its end is one of them) and the reason why it ends.

    >>> cut_tokens("Hello.", None), cut_tokens("один два три", 2)
    (('Hello.', 3, 'stop'), ('один два', 2, 'length'))
    """
    ends = [match.end() for match in _TOKEN.finditer(text)]
    if limit is None or len(ends) < limit:
        return text, len(ends) + 1, "stop"
    return text[:ends[limit - 1]], limit, "length"


@functools.lru_cache(maxsize=512)
def embed(text: str) -> str:
    """Return the vector of a text, 1024 numbers, as JSON, because writing them out is what takes the time.

    Every word adds a vector hashed from it and half of one from its beginning, because Russian words differ at their
    ends: texts that share words are near. Words beyond 4,096 do not count: no model reads more.
    """
    mask, total, weight = int.from_bytes(b"\xff\xff\x00\x00" * 1024, "little"), 0, 0
    for word in re.findall(r"\w+", text.lower())[:4096] or [""]:
        for feature, share in ((word, 2), (word[:4] + "-", 1)):
            digest = hashlib.shake_128(feature.encode("utf-8")).digest(4096)
            total, weight = total + share * (int.from_bytes(digest, "little") & mask), weight + share
    sums = struct.unpack("<1024I", total.to_bytes(4096, "little"))
    return json.dumps([round((value / 32768 - weight) / 2, 6) for value in sums], separators=(",", ":"))
