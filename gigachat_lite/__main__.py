"""The command line: ``gigachat-lite "вопрос"`` streams the answer to stdout, everything else goes to stderr."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import difflib
import errno
import json
import locale
import logging
import math
import os
import re
import stat
import sys
import threading
from typing import Any, Callable, Sequence, TextIO

from . import ConfigurationError, GigaChat, GigaChatException, ModelNotSpecifiedError, TransportError, __version__
from .exceptions import printable
from .faults import ELSEWHERE, HINTS, WHAT_HAPPENED

# ---- Texts, in Russian and in English

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
    "timeout": ("сколько ждать соединения, а потом каждой части ответа (GIGACHAT_TIMEOUT)",
                "how long to wait for a connection, and then for each part of the answer (GIGACHAT_TIMEOUT)"),
    "no-stream": ("напечатать ответ целиком, а не по мере готовности", "print the answer when it is whole"),
    "json": ("напечатать весь ответ сервиса объектом JSON", "print the service's whole answer, as a JSON object"),
    "raw-sse": ("напечатать поток как есть, для отчёта об ошибке", "print the stream as it is, for a bug report"),
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
    "partial": ("пришло только начало ответа, спросите ещё раз: {0}", "only the beginning has come, ask again: {0}"),
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
WAYS = ("credentials", "client_secret", "access_token", "password", "cert_file")  # one of them authorises a client
IN_RUSSIAN: dict[int | str, str] = {  # what the package says most often; all else stays in English
    **dict.fromkeys((1, 5, 7), "Укажите верный --scope: GIGACHAT_API_PERS у физических лиц, GIGACHAT_API_B2B у "
                    "компаний с предоплатой, GIGACHAT_API_CORP у компаний с оплатой по факту."),
    6: "Такого ключа авторизации нет: скопируйте его из личного кабинета ещё раз или создайте там новый.",
    401: "Проверьте ключ (GIGACHAT_CREDENTIALS), токен или пароль.",
    402: "Токены этой модели закончились: купите ещё или назовите другую модель (--model, GIGACHAT_MODEL).",
    403: "Договор не включает этого запроса, или по этому адресу не API.",
    404: "Проверьте адрес (GIGACHAT_BASE_URL).",
    413: "Текст не помещается в контекст модели: сократите его или спросите по частям.",
    400: "Чего сервис не понял, сказано в сообщении.", 422: "Какое поле неверно, сказано в сообщении.",
    429: "С ключом физического лица запросы идут по одному, с ключом компании по десять сразу; повторите позже.",
    "dns": "имя не найдено; проверьте сеть, base_url, auth_url и не нужен ли прокси (GIGACHAT_PROXY)",
    "refused": "нет соединения; проверьте сеть, base_url (GIGACHAT_BASE_URL) и не нужен ли прокси (GIGACHAT_PROXY)",
    "connect timeout": "соединения не дождались; возможно, нужен прокси (GIGACHAT_PROXY)",
    "read timeout": "за {0} с ничего не пришло (--timeout, GIGACHAT_TIMEOUT)",
    "broken": "ответ оборвался; спросите ещё раз",
    "the stream ended before its [DONE]": "поток закончился без [DONE]",
    "The service asks to wait {read} s.": "Сервис просит подождать {0} с.",
    ELSEWHERE: "Это не API: проверьте base_url, auth_url (GIGACHAT_BASE_URL, GIGACHAT_AUTH_URL) и прокси.",
    "The service failed: repeat later.": "Сервис не справился: повторите позже.",
    "The service offers: ": "Сервис предлагает: ",
    "Name another model (GIGACHAT_MODEL).": "Назовите другую модель (--model, GIGACHAT_MODEL).",
}


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
        english = re.escape(HINTS[key] if isinstance(key, int) else WHAT_HAPPENED.get(key, key))
        text = re.sub(english.replace(r"\{read\}", "(.*?)"), russian.replace("{0}", r"\1"), text)
    return printable(words("partial", text) if error.partial else text)


# ---- Options


class Misuse(Exception):
    """Says what is wrong with the command line."""


class Parser(argparse.ArgumentParser):
    """A parser that leaves it to ``main`` what to print and when to exit."""

    def error(self, message: str) -> Any:
        """Raise what argparse would print, the commonest words in the user's language."""
        name, colon, what = message.replace("argument ", "", 1).partition(": ")
        if what.startswith("expected"):
            what = words("no value", name)
        elif what.startswith("ignored explicit argument"):
            what = words("superfluous")
        raise Misuse(name + colon + what)


class Help(argparse.HelpFormatter):
    """Help in the user's language."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Begin with the user's word for "usage"."""
        super().add_usage(usage, actions, groups, words("usage") if prefix is None else prefix)


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Make an option's type: a number, in which people also write a decimal comma."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            number = kind(text.replace(",", "."))
            if 0 < number < math.inf:
                return number
        raise argparse.ArgumentTypeError(words("int" if kind is int else "float", text))

    return read


def option_parser() -> Parser:
    """Describe the options; the words of the question are left over, so that they may stand anywhere."""
    forms: dict[str, Any] = {"formatter_class": Help, "add_help": False, "allow_abbrev": False}
    parser = Parser("gigachat-lite", words("line"), words("about"), words("codes"), **forms)
    add = parser.add_argument_group(words("options")).add_argument
    with_value: dict[str, tuple[str, Callable[[str], Any]]] = {
        "system": ("TEXT", str),
        "model": ("NAME", str),
        "temperature": ("NUMBER", above_zero(float)),
        "max-tokens": ("NUMBER", above_zero(int)),
        "scope": ("NAME", str),
        "env-file": ("FILE", str),
        "timeout": ("SECONDS", above_zero(float)),
    }
    for name, (metavar, kind) in with_value.items():
        add("--" + name, metavar=words(metavar), type=kind, help=words(name))
    for name in ("no-stream", "json", "raw-sse", "emulator", "version"):
        add("--" + name, action="store_true", help=words(name))
    add("-h", "--help", action="store_true", help=words("help"))
    return parser


def read_options(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Tell options from the words of the question; after ``--`` there are words alone."""
    end = argv.index("--") if "--" in argv else len(argv)
    options, rest = parser.parse_known_args(argv[:end])
    given = {"--" + name.replace("_", "-"): value not in (None, False) for name, value in vars(options).items()}
    for word in rest:
        if re.fullmatch(r"(?s)--?[^\W\d_][\w-]*(=.*)?", word):
            name = word.partition("=")[0]
            near = difflib.get_close_matches(name, given, 1)
            raise Misuse(words("unknown", name, words("near", *near) if near else ""))
    for names in ("--raw-sse", "--json"), ("--raw-sse", "--no-stream"), ("--emulator", "--env-file"):
        if all(given[name] for name in names):
            raise Misuse(words("conflict", *names))
    path = options.env_file
    if path is not None and not os.path.exists(os.path.expanduser(path)):
        raise ConfigurationError(words("no file", path))
    return options, rest + list(argv[end + 1 :])


# ---- Input

PATIENCE = 5.0  # seconds without a byte on stdin, after which the user is told what is waited for
BINARY = re.compile("[\0-\x06\x0e-\x19\x1c-\x1f]")  # not in text: colours, bells, \b and DOS's \x1a may be there


def offers_text() -> bool:
    """Tell whether stdin is a pipe or a file; for a terminal or an editor's socket one could wait in vain."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # it is closed, or nothing that the system knows
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def read_stdin() -> str:
    """Read stdin to its end; somebody who may wait in vain is told what for."""
    timer = threading.Timer(PATIENCE, lambda: say(words("waiting")))
    timer.daemon = True
    try:
        if sys.stdin is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        timer.start()
        if hasattr(os, "set_blocking"):  # as another process may have had it; a slow pipe would be a short one
            os.set_blocking(sys.stdin.fileno(), True)
        data = sys.stdin.buffer.read(1)
        timer.cancel()
        return decode_text(data + sys.stdin.buffer.read())
    except OSError as exc:
        raise Misuse(words("unreadable", exc.strerror or exc)) from exc
    finally:
        timer.cancel()


def decode_text(data: bytes) -> str:
    """Decode what people pipe: utf-8 with or without a mark, utf-16 with one, cp1251; not what is no text.

    >>> decode_text("да\\n".encode("cp1251")), decode_text("да".encode("utf-16"))
    ('да', 'да')
    """
    utf_16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1251"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if not BINARY.search(text):
                return text.rstrip()
    raise Misuse(words("binary"))


# ---- Output

CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])  # C0, but for \t and \n, DEL, C1


def say(text: str, prefix: str = "gigachat-lite: ") -> None:
    """Write to stderr, if there is one that takes it, and nothing that would steer a terminal."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(prefix + text.translate(CONTROLS) + "\n")
            sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def show(text: str, out: TextIO) -> None:
    """Write at once: exactly to a pipe or a file, without what would steer it to a terminal."""
    out.write(text.translate(CONTROLS) if out.isatty() else text)
    out.flush()


def encodes(text: str, stream: TextIO | None) -> bool:
    """Tell whether a stream has all the letters of a text."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "ignore").decode(encoding) == text


def silence(stream: TextIO) -> None:
    """Lead a stream that failed to nowhere, or Python would complain of that pipe or disk once more at its exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Warnings(logging.Handler):
    """Says the package's warnings in the manner of all the rest."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one in one line."""
        say(printable(record.getMessage()))


def read_choice(answer: Any, name: str) -> tuple[str | None, str]:
    """Get the finish reason and the text of the first choice, whatever a stranger may have sent in their places."""
    try:
        choice = answer["choices"][0]
        message = choice.get(name) or {}
        text = message.get("content") if message.get("role") != "function_in_progress" else None
        return choice.get("finish_reason"), text if isinstance(text, str) else ""
    except (AttributeError, LookupError, TypeError):
        return None, ""


def print_whole(client: GigaChat, body: dict[str, Any], out: TextIO) -> tuple[str | None, str]:
    """Print the answer when it is whole; this and the next three return its finish reason and its text."""
    reason, text = read_choice(client.chat(body), "message")
    if text:
        show(text + "\n", out)
    return reason, text


def print_json(client: GigaChat, body: dict[str, Any], out: TextIO) -> tuple[str | None, str]:
    """Print the answer as JSON: for people indented, else on one line; what the output lacks is escaped, not lost."""
    answer = client.chat(body)
    indent = 2 if out.isatty() else None
    text = json.dumps(answer, ensure_ascii=False, indent=indent)
    if not encodes(text, out):
        text = json.dumps(answer, indent=indent)
    text = re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found.group()):04x}", text)
    show(text + "\n", out)
    return read_choice(answer, "message")[0], text


def print_stream(client: GigaChat, body: dict[str, Any], out: TextIO) -> tuple[str | None, str]:
    """Print the answer as it comes; what had come stays printed on an error, with a line end."""
    with client.stream(body) as stream:
        try:
            for chunk in stream:
                show(read_choice(chunk, "delta")[1], out)
        finally:
            if stream.text:
                show("\n", out)
        return stream.finish_reason, stream.text


def print_raw(client: GigaChat, body: dict[str, Any], out: TextIO) -> tuple[str | None, str]:
    """Print the bytes of the stream as they arrive; an error of the output is not to pass for one of the network."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    errors: list[OSError] = []

    def write(data: bytes) -> None:
        try:
            if out.isatty():
                show(decode(data), out)
            else:
                out.buffer.write(data)
                out.flush()
        except OSError as exc:
            errors.append(exc)
            raise

    with client.stream(body) as stream:
        stream.tap(write)
        try:
            for _ in stream:
                pass
        finally:
            if errors:
                raise errors[0]
        return stream.finish_reason, "the bytes"


# ---- Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 1 (service, network or output), 2 (usage or settings), 130 (Ctrl-C) or 141."""
    if sys.stdout is None:
        say(words("output", os.strerror(errno.EBADF)))
        return 1
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter shows "?" instead of a traceback
            stream.reconfigure(errors="replace")
    logger, handler = logging.getLogger(__package__), Warnings(logging.WARNING)
    logger.addHandler(handler)
    try:
        return run(sys.argv[1:] if argv is None else argv, sys.stdout)
    except Misuse as exc:
        say(f"{printable(str(exc))}\n{words('see')}")
        return 2
    except GigaChatException as exc:
        say(explain(exc))
        return 2 if isinstance(exc, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        silence(sys.stdout)
        if isinstance(exc, BrokenPipeError):
            return 141
        say(words("output", exc.strerror or exc))
        return 1
    finally:
        logger.removeHandler(handler)


def run(argv: Sequence[str], out: TextIO) -> int:
    """Do what the command line asks for; the exit code, where that is no exception."""
    parser = option_parser()
    options, prompt = read_options(parser, argv)
    if options.help or options.version:
        show(parser.format_help() + words("examples") if options.help else f"gigachat-lite {__version__}\n", out)
        return 0
    first, last = prompt[:1] == ["-"], prompt[1:][-1:] == ["-"]
    question = " ".join(prompt[first : len(prompt) - last]).strip()
    from_stdin = first or last or offers_text()
    if not question and not from_stdin:
        raise Misuse(words("no question"))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(GigaChat(**settings_of(options, stack)))
        if not any(client.config[name] for name in WAYS):
            say(words("no key"), prefix="")
            return 2
        body = body_of(options, question, read_stdin() if from_stdin else "")
        printers = ((options.raw_sse, print_raw), (options.json, print_json), (options.no_stream, print_whole))
        answer = next((printer for wanted, printer in printers if wanted), print_stream)
        reason, text = answer(client, body, out)
    if reason not in (None, "stop"):
        say(words(reason if reason in ("length", "blacklist") else "reason", printable(str(reason))))
    elif not text:
        say(words("empty"))
    return 0


def settings_of(options: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Make the client's settings; those of an emulator, started inside this process, leave the machine's out."""
    settings: dict[str, Any] = {"env_file": options.env_file}
    if options.emulator:
        from .emulator import Emulator

        try:
            emulator = Emulator(scope=options.scope) if options.scope else Emulator()
            settings = dict(stack.enter_context(emulator).config)
        except OSError as exc:
            raise TransportError(words("no emulator", exc.strerror or exc)) from exc
    return {**settings, "model": options.model, "scope": options.scope, "timeout": options.timeout}


def body_of(options: argparse.Namespace, question: str, text: str) -> dict[str, Any]:
    """Make the request: the question, an empty line and the text of stdin, and what the options say."""
    content = "\n\n".join(part for part in (question, text) if part)
    if not content:
        raise Misuse(words("no question"))
    messages = [{"role": "system", "content": options.system}] if options.system else []
    body: dict[str, Any] = {"messages": [*messages, {"role": "user", "content": content}]}
    for name in ("temperature", "max_tokens"):
        if getattr(options, name):
            body[name] = getattr(options, name)
    return body


if __name__ == "__main__":
    sys.exit(main())
