"""Canned answers: pure functions of the dialogue, the same each time."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from .text import JSONDict, as_dict, message_text

_SUM = re.compile(r"(\d{1,9})\s?([-+*])\s?(\d{1,9})")
_RANGE = re.compile(r"(?:от|from|с) (\d{1,4}) (?:до|to|по) (\d{1,4})", re.IGNORECASE)
_NAME = re.compile(r"меня зовут ([^\W\d_]{2,30})", re.IGNORECASE)
_OPENINGS = ("Скажу иначе.", "Можно ответить и так.", "Ещё один вариант.")
_INTRODUCTION = (
    "Здравствуйте! Я GigaChat, а точнее его эмулятор: отвечаю по-русски, без сети и без ключа, и на один и тот же "
    "вопрос всегда одинаково. Спросите о чём-нибудь, и вы увидите, как придёт ответ.")
_TOPICS = {
    "страхов": "На стоимость страховки дома влияют прежде всего:\n\n"
        "1. **Стоимость и площадь дома**: чем дороже его восстановить, тем выше взнос.\n"
        "2. **Материал стен и возраст**: деревянный дом страховать дороже, чем кирпичный.\n"
        "3. **Место**: риск паводка, лесных пожаров и краж в округе.\n"
        "4. **Набор рисков и франшиза**: чем больше вы берёте на себя, тем дешевле полис.",
    "байкал":
        "Байкал — самое глубокое озеро на Земле: до 1642 метров. Ему около 25 миллионов лет, и в нём примерно пятая "
        "часть пресной воды планеты, не считая льда. В озеро впадает более трёхсот рек, а вытекает одна — Ангара.",
    r"\bстих|четверостиш":
        "Летит строка за строкой,\nКак снег за окном в декабре,\nИ каждый ответ за тобой —\nКак свет на вечерней заре.",
    r"\bкод\b|python|питон":
        'Вот небольшой пример на Python:\n\n```python\ndef greet(name):\n    return "Привет, " + name\n```',
    r"\b(спасибо|благодарю|thanks)\b": "Пожалуйста! Если появятся ещё вопросы, я здесь.",
    r"\b(привет|здравствуй|hello\b)|добр\w{1,3} (день|вечер|утро)|кто (же )?ты|как тебя зовут|что ты умеешь":
        _INTRODUCTION,
}

# ---- Answers


def canned_reply(messages: list[JSONDict]) -> str:
    """Return the answer to the last question of a dialogue, from the result of a function where that came last.

    >>> canned_reply([{"role": "user", "content": text} for text in ("Меня зовут Анна", "Как меня зовут?")])
    'Вас зовут Анна.'
    >>> canned_reply([{"role": "user", "content": "Погода?"}, {"role": "function", "content": '{"temperature": 25}'}])
    'Вот что известно по вашему вопросу «Погода?»: температура — 25.'
    """
    questions = [text for text in (message_text(m) for m in messages if m.get("role") == "user") if text]
    question, earlier = questions[-1] if questions else "Кто ты?", questions[-2::-1]
    quotes = [text if len(text) <= 80 else text[:80].rpartition(" ")[0] + "…" for text in [question] + earlier[:1]]
    if messages and messages[-1].get("role") == "function":
        return _describe_result(messages[-1].get("content"), f" «{quotes[0]}»" if questions else "")
    if "как меня зовут" in question.lower():
        names = [name for text in earlier for name in _NAME.findall(text)[-1:]]
        return f"Вас зовут {names[0]}." if names else "Вы ещё не представились."
    name = _NAME.search(question)
    if name:
        return f"Очень приятно, {name.group(1)}! Чем могу помочь?"
    answer = _solve(question) or next((v for k, v in _TOPICS.items() if re.search(k, question, re.IGNORECASE)), "")
    before = f"Перед этим было: «{quotes[1]}». " if earlier else ""
    return answer or (
        f"Вы написали: «{quotes[0]}». {before}Я эмулятор и по существу судить не берусь, а настоящий GigaChat ответит "
        "на такой же запрос.")


def _solve(question: str) -> str:
    """Answer a sum or a request to count, with nothing where the question is neither.

    >>> _solve("Сколько будет 2 + 2?"), _solve("Count from 1 to 3")
    ('2 + 2 = 4', '1, 2, 3')
    """
    found = _SUM.search(question)
    if found:
        left, sign, right = int(found.group(1)), found.group(2), int(found.group(3))
        value = left + right if sign == "+" else left - right if sign == "-" else left * right
        return f"{left} {sign} {right} = {value}"
    found = _RANGE.search(question)
    return ", ".join(map(str, range(int(found.group(1)), int(found.group(2)) + 1)[:200])) if found else ""


_LABELS = dict(re.findall(r"(\w+) (\w+)", """
temperature температура, weather погода, forecast прогноз, wind ветер, humidity влажность, location место, city город,
date дата, time время, name название, price цена, rate курс, status состояние, message сообщение"""))


def _describe_result(result: Any, question: str) -> str:
    """Put the result of a function in words: a line for a little, a list for more, an apology for an error."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):  # plain text speaks for itself
        result = json.loads(result)
    while isinstance(result, dict) and len(result) == 1:
        (key, inner), = result.items()
        if key != "result" and not isinstance(inner, list):
            break
        result = inner
    error = next((result[key] for key in ("error", "errors", "ошибка") if as_dict(result).get(key)), None)
    if error or as_dict(result).get("status") == "error":
        reason = _describe(error or result)
        return f"Не получилось ответить на ваш вопрос{question}. Функция сообщила об ошибке: {reason}."
    if result in (None, "", [], {}):
        return f"По вашему вопросу{question} ничего не нашлось."
    several = isinstance(result, dict) and len(result) > 3
    lines = [{key: result[key]} for key in result] if several else result if isinstance(result, list) else [result]
    texts = [_describe(line) for line in lines[:30]] + [f"и ещё {len(lines) - 30}"] * (len(lines) > 30)
    known = f"Вот что известно по вашему вопросу{question}:"
    return known + "".join("\n- " + text for text in texts) if len(texts) > 1 else f"{known} {texts[0].rstrip('.')}."


def _describe(value: Any, depth: int = 0) -> str:
    """Return a value of JSON as people say it, cut where it is long or deep.

    >>> _describe({"temperature": {"min": -1.5, "max": 3}, "rain": [True, None]})
    'температура (min — -1.5, max — 3), rain (да, нет данных)'
    """
    if isinstance(value, (dict, list)) and depth > 9:
        return "…"
    if isinstance(value, list):
        separator = "; " if any(isinstance(item, dict) for item in value) else ", "
        return separator.join(_describe(item, depth + 1) for item in value[:30])
    if not isinstance(value, dict):
        known = "нет данных" if value is None else "да" if value is True else "нет" if value is False else str(value)
        return known if len(known) <= 2000 else known[:2000] + "…"
    pairs = [(_LABELS.get(key.lower(), key.replace("_", " ")[:200]), value[key]) for key in list(value)[:30]]
    return ", ".join(
        f"{name} ({_describe(item, depth + 1)})" if isinstance(item, (dict, list)) else f"{name} — {_describe(item)}"
        for name, item in pairs)


def rephrase(text: str, index: int) -> str:
    """Return the text of choice `index`: the first is the text itself, the others open in words of their own."""
    if not index or not text:
        return text
    opening = _OPENINGS[index - 1] if 0 < index <= len(_OPENINGS) else f"Вариант {index + 1}."
    return opening + ("\n\n" if "\n" in text else " ") + text
