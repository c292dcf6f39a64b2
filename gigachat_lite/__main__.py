"""The command line: ``gigachat-lite "вопрос"`` streams the answer to stdout, everything else goes to stderr."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any, Sequence, TextIO

from . import ConfigurationError, GigaChat, GigaChatException, __version__

NO_KEY = """\
Нет ключа. Получите ключ авторизации (Authorization key) в личном кабинете: https://developers.sber.ru/studio
Положите его в файл .env в этой папке строкой GIGACHAT_CREDENTIALS=… или в переменную окружения с тем же именем.
Попробовать без ключа и без сети: gigachat-lite --emulator "Привет! Кто ты?"
"""

REASONS = {
    "length": "ответ оборван: кончились max_tokens (finish_reason length)",
    "blacklist": "тема под ограничением, ответ заменён сервисом (finish_reason blacklist)",
    "error": "модель ошиблась в аргументах функции (finish_reason error)",
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    cli = argparse.ArgumentParser(
        prog="gigachat-lite",
        description="Спросить GigaChat из командной строки. Настройки: переменные GIGACHAT_* и файл .env.",
    )
    cli.add_argument("prompt", nargs="+", metavar="вопрос", help="вопрос; несколько слов соединяются пробелом")
    cli.add_argument("--model", help="модель (GIGACHAT_MODEL)")
    cli.add_argument("--no-stream", action="store_true", help="напечатать ответ целиком, а не по мере готовности")
    cli.add_argument("--emulator", action="store_true", help="ответит встроенный эмулятор: без ключа и без сети")
    cli.add_argument("--version", action="version", version="gigachat-lite " + __version__)
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 1 (service or network), 2 (usage or settings), 130 (Ctrl-C) or 141 (pipe)."""
    if sys.stdout is None:  # closed by the caller: nobody is to see the answer
        return 2
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter shows "?" instead of a traceback
            stream.reconfigure(errors="replace")
    options = parser().parse_args(argv)
    prompt = " ".join(options.prompt).strip()
    if not prompt:
        parser().error("вопрос пуст")
    try:
        with contextlib.ExitStack() as stack:
            settings = emulator_settings(stack) if options.emulator else {}
            if options.model:
                settings["model"] = options.model
            client = stack.enter_context(GigaChat(**settings))
            if not has_way(client):
                sys.stderr.write(NO_KEY)
                return 2
            reason = answer(client, prompt, sys.stdout, whole=options.no_stream)
            if reason not in (None, "stop"):
                print(f"gigachat-lite: {REASONS.get(reason, 'finish_reason ' + reason)}", file=sys.stderr)
    except ConfigurationError as exc:
        return fail(exc, 2)
    except GigaChatException as exc:
        return fail(exc, 1)
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        # Python would complain of the closed pipe or the full disk once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141 if isinstance(exc, BrokenPipeError) else fail(exc, 1)
    return 0


def emulator_settings(stack: contextlib.ExitStack) -> dict[str, Any]:
    """Start the emulator inside this process, and take its settings."""
    from .emulator import Emulator

    return dict(stack.enter_context(Emulator()).config)


def has_way(client: GigaChat) -> bool:
    """Tell whether any setting could authorise the client."""
    ways = ("credentials", "client_secret", "access_token", "password", "cert_file")
    return any(client.config[name] for name in ways)


def answer(client: GigaChat, prompt: str, out: TextIO, whole: bool) -> str | None:
    """Print the answer, as it comes or whole, with a line end after it, and tell its finish reason.

    What had come stays printed on an error.
    """
    if whole:
        choices = client.chat(prompt).choices or []
        message = choices[0].message if choices else None
        print((message and message.content) or "", file=out, flush=True)
        return choices[0].finish_reason if choices else None
    with client.stream(prompt) as stream:
        try:
            for chunk in stream:
                for choice in chunk.choices or ():
                    if choice.delta and choice.delta.role != "function_in_progress":
                        out.write(choice.delta.content or "")
                out.flush()
        finally:
            if stream.text:
                print(file=out, flush=True)
    return stream.finish_reason


def fail(exc: Exception, code: int) -> int:
    """Say on stderr what went wrong, in one line."""
    print(f"gigachat-lite: {exc}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
