"""The command line: ``gigachat-lite "вопрос"`` streams the answer to stdout, everything else goes to stderr."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import difflib
import errno
import json
import logging
import math
import os
import re
import stat
import sys
import threading
from typing import Any, Callable, Sequence, TextIO

from . import ConfigurationError, GigaChat, GigaChatException, TransportError, __version__
from .config import convert, decode_text
from .exceptions import printable
from .texts import encodes, explain, words

# ---- Options

WAYS = ("credentials", "client_secret", "access_token", "password", "cert_file")  # one of them authorises a client


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


def seconds(text: str) -> str:
    """Check a timeout, which has more forms than a number, and leave it to the client to read."""
    try:
        convert("timeout", text, "--timeout")
    except ConfigurationError:
        raise argparse.ArgumentTypeError(words("seconds", text)) from None
    return text


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
        "timeout": ("SECONDS", seconds),
    }
    for name, (metavar, kind) in with_value.items():
        add("--" + name, metavar=words(metavar), type=kind, help=words(name))
    for name in ("no-stream", "json", "raw-sse", "no-token-cache", "emulator", "version"):
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
            near = [full for full in given if full.startswith(name)][:1] or difflib.get_close_matches(name, given, 1)
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
        return require_text(data + sys.stdin.buffer.read())
    except OSError as exc:
        raise Misuse(words("unreadable", exc.strerror or exc)) from exc
    finally:
        timer.cancel()


def require_text(data: bytes) -> str:
    """Decode what people pipe; what is no text is refused."""
    text = decode_text(data)
    if text is None or BINARY.search(text):
        raise Misuse(words("binary"))
    return text.rstrip()


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
        # In the C locale an old Python cannot read its arguments; people mean utf-8.
        given = (os.fsencode(word).decode("utf-8", "replace") for word in (sys.argv[1:] if argv is None else argv))
        return run(list(given), sys.stdout)
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
        if client.config["token_cache"] is None and not options.emulator:
            client.config["token_cache"] = True  # commands are short: the next one finds the token of this one
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
        from .emulator import SCOPES, Emulator

        try:
            emulator = Emulator(scope=options.scope) if options.scope in SCOPES else Emulator()
            settings = dict(stack.enter_context(emulator).config)
        except OSError as exc:
            raise TransportError(words("no emulator", exc.strerror or exc)) from exc
    if options.no_token_cache:
        settings["token_cache"] = False
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
