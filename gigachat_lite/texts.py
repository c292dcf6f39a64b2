"""What the command line says, in Russian and in English."""

from __future__ import annotations

import contextlib
import locale
import os
import re
import sys
from typing import TextIO

from .advice import HINTS, NOT_THE_API
from .exceptions import GigaChatException, ModelNotSpecifiedError, printable

TEXTS = {
    "about": (
        "Спросить GigaChat из командной строки. Слова вопроса соединяются пробелом. Текст, который подан на stdin по "
        "конвейеру или из файла, добавляется к вопросу после пустой строки, а без вопроса спрашивается он сам; «-» "
        "первым или последним словом — читать stdin, чем бы он ни был. Ответ идёт в stdout, всё остальное в stderr. "
        "Настройки берутся из опций, переменных GIGACHAT_* и файла .env: первые сильнее. Ключ опцией не передают: "
        "командную строку видят все, кто работает на этой машине.",
        "Ask GigaChat from the command line. The words of the question are joined by spaces. Text that comes to stdin "
        "through a pipe or from a file follows the question after an empty line, and without a question is the "
        'question; "-" as the first or the last word: read stdin, whatever it is. The answer goes to stdout, all the '
        "rest to stderr. Settings come from options, GIGACHAT_* variables and the file .env, the former being "
        "stronger. No option takes the key: everybody on this machine can see the command line.",
    ),
    "codes": (
        "Коды выхода: 0 — ответ получен; 1 — ошибка сервиса, сети или вывода; 2 — ошибка в командной строке или в "
        "настройках; 130 — прервано по Ctrl-C; 141 — вывод закрыт тем, кто его читал.",
        "Exit codes: 0 answered; 1 the service, the network or the output failed; 2 something is wrong with the "
        "command line or the settings; 130 ended by Ctrl-C; 141 the reader of the output closed it.",
    ),
    "examples": (
        """
Примеры:
  cat report.txt | gigachat-lite "Сократи до трёх предложений"
  gigachat-lite --system "Ты переводчик" "Переведи: good morning"
  while read -r line; do gigachat-lite "$line" </dev/null; done <questions.txt
""",
        """
Examples:
  cat report.txt | gigachat-lite "Shorten this to three sentences"
  gigachat-lite --system "You are a translator" "Translate: доброе утро"
  while read -r line; do gigachat-lite "$line" </dev/null; done <questions.txt
""",
    ),
    "usage": ("Использование: ", "Usage: "), "options": ("Опции", "Options"),
    "line": ("%(prog)s [опции] [вопрос ...]", "%(prog)s [options] [question ...]"),
    **{"TEXT": ("ТЕКСТ", "TEXT"), "NAME": ("ИМЯ", "NAME"), "NUMBER": ("ЧИСЛО", "NUMBER")},
    **{"FILE": ("ФАЙЛ", "FILE"), "SECONDS": ("СЕКУНДЫ", "SECONDS")},
    "system": ("системное сообщение: роль модели, правила ответа", "the system message: role and rules"),
    "model": ("модель (GIGACHAT_MODEL)", "the model (GIGACHAT_MODEL)"),
    "temperature": ("больше 0; чем меньше, тем предсказуемее ответ", "above 0; the lower, the more predictable"),
    "max-tokens": ("предел длины ответа в токенах", "limit of the answer's length in tokens"),
    "scope": ("версия API, для которой выдан ключ (GIGACHAT_SCOPE)", "the API that the key is for (GIGACHAT_SCOPE)"),
    "env-file": ("файл с настройками вместо .env", "a file with settings in place of .env"),
    "timeout": ("сколько ждать соединения и потом каждой части ответа; можно двумя числами: 10,180",
                "how long to wait for a connection, then for each part of the answer; also as two: 10,180"),
    "no-stream": ("напечатать ответ целиком, а не по мере готовности", "print the answer when it is whole"),
    "json": ("напечатать весь ответ сервиса объектом JSON", "print the service's whole answer, as a JSON object"),
    "raw-sse": ("напечатать поток как есть, для отчёта об ошибке", "print the stream as it is, for a bug report"),
    "no-token-cache": ("не хранить токен доступа на диске до его конца (GIGACHAT_TOKEN_CACHE=0)",
                       "keep no access token on disk until its end (GIGACHAT_TOKEN_CACHE=0)"),
    "emulator": ("ответит встроенный эмулятор: без ключа и без сети", "the emulator answers: no key, no network"),
    "version": ("показать версию", "show the version"), "help": ("показать эту справку", "show this help"),
    "see": ("Справка: gigachat-lite --help", "Help: gigachat-lite --help"),
    "unknown": ("нет такой опции: {0}{1}; если это слово вопроса, поставьте перед вопросом --",
                "no such option: {0}{1}; if it is a word of the question, put -- before the question"),
    "near": (" (может быть, {0}?)", " (did you mean {0}?)"),
    "no value": ("нужно значение; если оно начинается с «-», пишите через знак равенства: {0}=…",
                 "a value is needed; if it begins with -, write it with an equals sign: {0}=…"),
    "superfluous": ("значение здесь не нужно", "it takes no value"),
    "float": ("нужно число больше нуля, а не «{0}»", "a number above zero is needed, not {0!r}"),
    "int": ("нужно целое число больше нуля, а не «{0}»", "a whole number above zero is needed, not {0!r}"),
    "seconds": ("нужно число секунд, два через запятую (10,180) или inf, а не «{0}»",
                "a number of seconds is needed, two with a comma (10,180) or inf, not {0!r}"),
    "conflict": ("{0} и {1} вместе не работают: оставьте что-то одно", "{0} and {1} exclude each other: drop one"),
    "no question": ("нет вопроса: напишите его в командной строке или подайте текст на stdin",
                    "there is no question: write one on the command line, or send text to stdin"),
    "unreadable": ("stdin не читается ({0}): подайте на него текст", "stdin cannot be read ({0}): send text to it"),
    "binary": ("на stdin двоичные данные: нужен текст, лучше в utf-8", "stdin is binary: send text, best in utf-8"),
    "waiting": ("жду текста на stdin; если его не будет, нажмите Ctrl-C и добавьте </dev/null",
                "waiting for text on stdin; if there is to be none, press Ctrl-C and add </dev/null"),
    "no file": ("--env-file: нет файла {0}; проверьте путь", "--env-file: there is no file {0}; check the path"),
    "no model": ("у {0} нет модели по умолчанию: назовите её (--model или GIGACHAT_MODEL)",
                 "{0} has no default model: name one (--model or GIGACHAT_MODEL)"),
    "output": ("не удалось вывести ответ ({0}): проверьте, куда он направлен",
               "the answer could not be written ({0}): check where it goes"),
    "no emulator": ("эмулятор не запустился: {0}", "the emulator could not start: {0}"),
    "partial": ("пришло только начало ответа: {0}", "only the beginning of the answer has come: {0}"),
    "empty": ("ответ пуст: спросите иначе", "the answer is empty: ask differently"),
    "length": ("ответ оборван: увеличьте --max-tokens или попросите отвечать короче (finish_reason length)",
               "the answer is cut off: raise --max-tokens, or ask for a shorter one (finish_reason length)"),
    "blacklist": ("тема под ограничением, ответ заменён сервисом: спросите иначе (finish_reason blacklist)",
                  "the service replaced the answer to a restricted topic: ask differently (finish_reason blacklist)"),
    "reason": ("необычный конец ответа: finish_reason {0}", "an unusual end of the answer: finish_reason {0}"),
    "no key": (
        """\
Нет ключа. Получите ключ авторизации (Authorization key) в личном кабинете: https://developers.sber.ru/studio
Положите его в файл .env в этой папке строкой GIGACHAT_CREDENTIALS=… или в переменную окружения с тем же именем.
Попробовать без ключа и без сети: gigachat-lite --emulator "Привет! Кто ты?\"""",
        """\
There is no key. Get an authorization key in your cabinet: https://developers.sber.ru/studio
Put it into a file .env in this folder as GIGACHAT_CREDENTIALS=…, or into an environment variable of that name.
To try without a key and without a network: gigachat-lite --emulator "Привет! Кто ты?\"""",
    ),
}
IN_RUSSIAN: dict[int | str, str] = {  # what the package says most often; all else stays in English
    **dict.fromkeys((1, 5, 7), "Укажите верный --scope: GIGACHAT_API_PERS у физических лиц, GIGACHAT_API_B2B у "
                    "компаний с предоплатой, GIGACHAT_API_CORP у компаний с оплатой по факту."),
    6: "Такого ключа авторизации нет: скопируйте его из личного кабинета ещё раз или создайте там новый.",
    401: "Проверьте ключ (GIGACHAT_CREDENTIALS), токен или пароль.",
    402: "Токены этой модели закончились: купите ещё или назовите другую модель (--model, GIGACHAT_MODEL).",
    403: "Договор не включает этого запроса, или по этому адресу не API.",
    404: "Проверьте адрес (GIGACHAT_BASE_URL).",
    413: "Текст не помещается в контекст модели: сократите его или спросите по частям.",
    400: "Чего сервис не понял, сказано в сообщении.", 422: "Что неверно в запросе, сказано в сообщении.",
    429: "С ключом физического лица запросы идут по одному, с ключом компании по десять сразу; повторите позже.",
    "the name cannot be resolved": "имя не найдено",
    "no connection: nothing listens there": "нет соединения: там никто не отвечает",
    "no connection: no route to it": "нет соединения: туда нет пути",
    "check base_url (GIGACHAT_BASE_URL) or auth_url, and the port":
        "проверьте base_url (GIGACHAT_BASE_URL), auth_url и порт",
    "no connection within the connect timeout": "соединения не дождались",
    "nothing came for {timeout} s": "за {0} с ничего не пришло",
    "the answer broke off before its end": "ответ оборвался",
    "the connection was closed before the answer": "соединение закрыто до ответа",
    "the proxy's rules forbid this host": "правила прокси не пускают к этому адресу",
    "the proxy wants a user and a password": "прокси требует имя и пароль",
    "the proxy refuses the user or the password": "прокси не принимает имя или пароль",
    "the proxy could not reach the host": "прокси не смог соединиться с сервером",
    " through the proxy ": " через прокси ",
    "check base_url, auth_url and the network": "проверьте сеть, base_url и auth_url",
    "check the network and its firewall": "проверьте сеть и её файрвол",
    "check the network and the VPN": "проверьте сеть и VPN",
    "check the proxy's address": "проверьте адрес прокси",
    "check the host and the port": "проверьте адрес и порт",
    ", or name a proxy (GIGACHAT_PROXY)": " или укажите прокси (GIGACHAT_PROXY)",
    "allow more time (timeout, GIGACHAT_TIMEOUT)": "дайте больше времени (--timeout, GIGACHAT_TIMEOUT)",
    "; ask again": "; спросите ещё раз",
    "the server may want a client certificate (cert_file, key_file)":
        "возможно, сервер ждёт сертификат клиента (GIGACHAT_CERT_FILE, GIGACHAT_KEY_FILE)",
    "give the missing root as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)":
        "укажите недостающий корневой сертификат (GIGACHAT_CA_BUNDLE_FILE)",
    "the stream ": "поток ", "ended before its ": "закончился раньше, чем пришло ",
    "The server asks to wait {seconds} s.": "Сервер просит подождать {0} с.",
    NOT_THE_API: "Это не API: проверьте base_url, auth_url (GIGACHAT_BASE_URL, GIGACHAT_AUTH_URL) и прокси.",
    "The service failed: repeat later.": "Сервис не справился: повторите позже.",
    **{" (from ": " (от ", ", request id ": ", id запроса ", ", code ": ", код "},
    "Name another model: get_models() lists them.": "Назовите другую модель (--model, GIGACHAT_MODEL).",
    "Tokens are asked for too often: repeat later, and let one client serve all calls.":
        "Токены запрашиваются слишком часто: повторите позже.",
}


def encodes(text: str, stream: TextIO | None) -> bool:
    """Tell whether a stream has all the letters of a text."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "ignore").decode(encoding) == text


def speaks_russian() -> bool:
    """Tell whether to speak Russian: the locale is, and stderr has the letters."""
    named = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), None)
    if named is None:
        with contextlib.suppress(ValueError):  # of a locale that Python cannot make out
            named = locale.getlocale()[0]
    return (named or "").lower().startswith("ru") and encodes("Я", sys.stderr)


def words(key: str, *values: object) -> str:
    """Pick a text in the user's language, and fill in the values."""
    text = TEXTS[key][0 if speaks_russian() else 1]
    return text.format(*values) if values else text


def explain(error: GigaChatException) -> str:
    """Say in one line what an error of the package means on the command line."""
    text = str(error)
    if isinstance(error, ModelNotSpecifiedError):
        return words("no model", text.partition(" ")[0])
    for key, russian in IN_RUSSIAN.items() if speaks_russian() else ():
        english = re.escape(HINTS[key] if isinstance(key, int) else key)
        text = re.sub(re.sub(r"\\{\w+\\}", "(.*?)", english), russian.replace("{0}", r"\1"), text)
    return printable(words("partial", text) if error.partial else text)
