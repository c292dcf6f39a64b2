"""The emulator's command line: ``python -m gigachat_lite.emulator [options] [-- command …]``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import subprocess
import sys
from typing import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from . import Emulator
from .faults import FAULTS, parse_fault
from .models import SCOPES
from .tls import NAMES
from .web import Request

PROGRAM = "python -m gigachat_lite.emulator"
LOOPBACK = ("127.0.0.1", "localhost")
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# The terminal sends these to the command as well, which alone decides what they mean.
KEYS = [getattr(signal, name) for name in ("SIGINT", "SIGQUIT") if hasattr(signal, name)]
CHILD = [signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []  # none on Windows, as no signals to pass on


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulator for a command, or until Ctrl-C or SIGTERM; return the exit code.

    It is the command's own, or 128 and the number of the signal that ended it, 126 or 127 where it could not be run;
    1 where the emulator cannot listen, 2 for wrong options.
    """
    options, command = read_options(sys.argv[1:] if argv is None else argv)
    if "help" in options.fault:
        print(list_faults())
        return 0
    port = options.port if options.port is not None else 0 if command else 8090
    emulator = Emulator(
        options.host, port, scope=options.scope, token_lifetime=options.token_lifetime, strict=options.strict,
        chunk_delay=options.chunk_delay, max_connections=options.max_connections, fault=options.fault,
        tls=options.tls, client_cert=options.client_cert, names=sorted({*NAMES, options.host} - {""}),
        on_response=log_request if options.verbose else None)
    try:
        emulator.start()
    except ImportError as exc:  # no trustme
        say(f"{PROGRAM}: {exc}")
        return 2
    except (OSError, OverflowError, ValueError) as exc:  # ValueError: a host that is no name
        taken = getattr(exc, "errno", None) == errno.EADDRINUSE
        reason = "the port is taken, choose another with --port" if taken else getattr(exc, "strerror", None) or exc
        say(f"Cannot listen on {options.host} port {port}: {str(reason).rstrip('.')}.")
        return 1
    try:
        if not command:
            return wait(emulator)
        return run([own_interpreter(command[0]), *command[1:]], child_environ(emulator, os.environ))
    finally:
        emulator.stop()


def read_options(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take the options and the command behind ``--``; a wrong one ends the program with exit code 2."""
    own, command = list(argv), []
    parser = make_parser()
    if "--" in own:
        own, command = own[:own.index("--")], own[own.index("--") + 1:]
        if not command:
            parser.error("a command is missing behind --")
    options, rest = parser.parse_known_args(own)
    if rest:
        hint = "" if rest[0].startswith("-") else " (a command goes behind --)"
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    limits = (
        ("port", 0, 65535), ("token_lifetime", 0, 10**6), ("chunk_delay", 0, 10**6), ("max_connections", 1, 10**6))
    for name, least, most in limits:
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            parser.error(f"argument --{name.replace('_', '-')}: a number from {least} to {most} is needed")
    if options.client_cert != "none" and not options.tls:
        parser.error("--client-cert needs --tls")
    return options, command


def make_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, usage=f"{PROGRAM} [options] [-- command ...]", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=list_faults(),
        description="An offline GigaChat: no key, no network, no surprises.\n\nWithout a command it runs until Ctrl-C."
                    "\nWith one, it runs as long as the command, whose GIGACHAT_* variables lead to it.")
    option = parser.add_argument
    option("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    option("--port", type=int, help="port, 0 for any free one (default: 8090; any free one with a command)")
    option("--scope", choices=SCOPES, default=SCOPES[0], help="what its key is good for (default: %(default)s)")
    option("--token-lifetime", type=float, default=1800, metavar="S", help="in seconds (default: %(default)s)")
    option("--chunk-delay", type=float, default=0, metavar="S", help="seconds between two events of a stream")
    option("--no-strict", dest="strict", action="store_false", help="let pass what the service would turn away")
    option("--max-connections", type=int, metavar="N", help="answers at a time (default: 1 for PERS, else 10)")
    option("--fault", type=check_fault, action="append", default=[], metavar="NAME[:VALUE][*TIMES]",
           help="spoil answers, may be repeated; the names are below, and in --fault help")
    option("--tls", action="store_true", help="https, with throw-away certificates (needs trustme)")
    option("--client-cert", choices=["none", "optional", "required"], default="none", help="ask for one, with --tls")
    option("--verbose", action="store_true", help="one line on stderr for each request")
    return parser


def check_fault(text: str) -> str:
    """Check a fault, or let ``help`` pass; the emulator reads it itself."""
    try:
        if text != "help":
            parse_fault(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def list_faults() -> str:
    """Name every fault in a line of its own, with its usual value."""
    lines = ["faults: NAME or NAME:VALUE; with *TIMES at its end one spoils that many answers and then stops:"]
    for name, kind in FAULTS.items():
        usual = "" if kind.value is None or kind.value < 0 else f" (VALUE is {kind.value:g} unless given)"
        lines.append(f"  {name:<16} {kind.about}{usual}")
    return "\n".join(lines)


def child_environ(emulator: Emulator, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a command: the emulator's in place of all others of GigaChat, but for the model.

    The official SDK demands a model; the scope is always named, as a ``.env`` may hold another; proxies are kept out.
    """
    kept = {name: value for name, value in environ.items() if not name.upper().startswith("GIGACHAT_")}
    model = environ.get("GIGACHAT_MODEL", "").strip() or "GigaChat"
    host = urlsplit(emulator.url).hostname or ""
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        hosts = environ.get(name) or environ.get(other) or ""
        # A lone * means all hosts, but nothing in a list.
        kept[name] = "*" if hosts.strip() == "*" else ",".join(filter(None, dict.fromkeys([hosts, *LOOPBACK, host])))
    # No token of an emulator outlives it.
    own = {"GIGACHAT_MODEL": model, "GIGACHAT_SCOPE": emulator.scope, "GIGACHAT_TOKEN_CACHE": "0"}
    return {**kept, **own, **emulator.environ}


def own_interpreter(program: str) -> str:
    """Return the interpreter that runs this, where a bare name means Python of its version, else the name itself.

    The one on PATH may be the system's, where the library is not installed.
    """
    names = ["python%s" % ".".join(map(str, sys.version_info[:count])) for count in (0, 1, 2)]
    name = program[:-4] if os.name == "nt" and program.lower().endswith(".exe") else program
    return sys.executable if name in names and sys.executable else program


def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command on this program's own streams, and return its exit code as a shell would tell it."""
    # What is ignored, as by `nohup`, stays so for the command, which would inherit SIG_IGN but inherits no handler.
    caught = [number for number in STOPS + KEYS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    with signals(caught + CHILD) as numbers:
        try:
            # Whatever else is open is handed on too, as `env` or `timeout` would: a shell's <(...) is such a file.
            child = subprocess.Popen(command, env=environ, close_fds=False)  # noqa: S603 -- the user's own command
        except OSError as exc:
            say(f"Cannot run {command[0]}: {exc.strerror}.")
            return 127 if isinstance(exc, FileNotFoundError) else 126
        while CHILD and child.poll() is None:
            for number in os.read(numbers, 100):
                if number in STOPS:
                    child.send_signal(number)
        code = child.wait()
    return code if code >= 0 else 128 - code


def wait(emulator: Emulator) -> int:
    """Print the settings and wait for a signal."""
    with signals([signal.SIGINT, *STOPS]) as numbers:
        print(f"GigaChat emulator listens on {emulator.url} (Ctrl-C ends it).\n"
              "Put these lines into .env, or export them in a shell:\n")
        print("\n".join(map("=".join, emulator.environ.items())), flush=True)
        os.read(numbers, 1)
    return 0


@contextlib.contextmanager
def signals(numbers: Sequence[int]) -> Iterator[int]:
    """Catch signals for a while, and yield a descriptor to read their numbers from, a byte each.

    None is lost or late, as one is that comes just before a system call: its handler would run after the call.
    """
    reader, writer = os.pipe()
    if CHILD:
        os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    if CHILD:  # whoever started this program may have blocked it, and hands that on
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield reader
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


def log_request(request: Request, status: int) -> None:
    """Tell what was asked and how it was answered; no query, header or body, where secrets may be."""
    say(f"{request.method} {ascii(request.path)[1:-1]} {status}")  # a path may hold what a terminal obeys


def say(text: str) -> None:
    """Write a line to stderr, whether or not anybody can read it: a closed one is None, and print would use stdout."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
