"""The emulator: the service on sockets, in threads that stop at once, with the responses that a test has scripted."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import ssl
import tempfile
import threading
import weakref
from typing import Any, Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from .connection import Connection, listen, shut_down
from .faults import parse_fault
from .models import SCOPES
from .scripts import Script, response
from .service import Service
from .tls import MODES, NAMES, make_certificates, server_context, write_files
from .web import REASONS, HTTPError, Request, Response, api_error

MAX_REMEMBERED = 10_000  # requests
_THREAD = "gigachat-emulator"


class Emulator(Service):
    """Run an offline GigaChat in threads of this process: a context manager, or `start()` and `stop()`.

    It listens on loopback unless told otherwise, on a free port unless given one. `token_lifetime` is in seconds,
    `scope` what its key is good for, `chunk_delay` the seconds between two events of a stream, `max_connections` the
    generations at a time (1 for a private person's key, else 10; more are answered 429). `strict` turns away what the
    service does, or may: unknown fields, wrong types, broken histories. `fault` spoils every answer, see `faults`.
    `tls=True` makes throw-away certificates, which takes trustme; `cert_file`, `key_file` and `ca_bundle_file` are
    one's own. Then API and auth host have a port each, and `client_cert` and `auth_client_cert` say whether a client's
    certificate is "required", "optional" or not wanted ("none"); `names` are those in the server's certificate.

    `requests` holds what was asked, the last 10,000, and may be cleared. Addresses are known once it has started;
    `base_url` works without its `/api` as well. Leaving its `with` is an AssertionError where a script was left over.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *,
        token_lifetime: float = 1800.0, scope: str = SCOPES[0], chunk_delay: float = 0.0, strict: bool = True,
        max_connections: int | None = None, fault: str | Sequence[str] | None = None,
        tls: bool = False, client_cert: str = "none", auth_client_cert: str | None = None,
        names: Sequence[str] = NAMES, cert_file: str | None = None, key_file: str | None = None,
        ca_bundle_file: str | None = None, on_response: Callable[[Request, int], None] | None = None,
    ) -> None:
        """Keep the settings; nothing listens before `start()`."""
        super().__init__(scope, strict, token_lifetime, chunk_delay, max_connections)
        self.host, self.port, self.on_response, self.fault = host, port, on_response, fault
        self.url = self.base_url = self.auth_url = ""
        self.ca_bundle_file = ca_bundle_file or cert_file  # of what signed the server's certificate
        self.client_cert_file = self.client_key_file = None  # type: str | None  # where the emulator makes certificates
        self.requests: list[Request] = []
        self._scripts: list[Script] = []
        self._stopping, self._numbers = threading.Event(), itertools.count(1)
        self._tls, self._names, self._dir = tls or cert_file is not None, names, ""
        self._pems: dict[str, bytes] = {}
        self._client_cert = client_cert, client_cert if auth_client_cert is None else auth_client_cert
        self._own_files = None if cert_file is None else (cert_file, key_file or cert_file)
        if cert_file is None and (key_file or ca_bundle_file or (not tls and self._client_cert != ("none", "none"))):
            raise ValueError("key_file, ca_bundle_file and client_cert need tls=True or a cert_file")
        if set(self._client_cert) - set(MODES):
            raise ValueError('client_cert and auth_client_cert are "none", "optional" or "required"')
        self._ports, self._pid = [port, 0], 0
        self._listeners: dict[threading.Thread, socket.socket] = {}
        self._connections: dict[threading.Thread, socket.socket] = {}

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, exc_type: object, *_: object) -> None:
        self.stop()
        self.check(unused=exc_type is None)

    # -- What leads a client here

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings of a client that talks to this emulator and takes nothing from the machine around it.

        RuntimeError before `start()`: without addresses a client would go to the service itself.
        """
        return {**self._settings(), "env_file": False, "environ": {}, "trust_env": False}

    @property
    def environ(self) -> dict[str, str]:
        """Return the same as variables, for a program of any language that reads the official ones."""
        return {"GIGACHAT_" + name.upper(): str(value) for name, value in self._settings().items()}

    def _settings(self) -> dict[str, str]:
        if not self.url:
            raise RuntimeError("the emulator has no address before it is started: use it in a with, or call start()")
        settings = {
            "base_url": self.base_url, "auth_url": self.auth_url, "credentials": self.credentials,
            "scope": "" if self.scope == SCOPES[0] else self.scope, "ca_bundle_file": self.ca_bundle_file}
        if self._client_cert != ("none", "none"):
            settings.update(cert_file=self.client_cert_file, key_file=self.client_key_file)
        return {name: value for name, value in settings.items() if value}

    # -- What a test prepares and asks

    @property
    def fault(self) -> str | Sequence[str] | None:
        """Return the faults that spoil every answer of the API, `NAME[:VALUE][*TIMES]`; may be set at any time.

        Of several the first that applies is taken, until its times are used up. ValueError where one is unknown.
        """
        return self._fault

    @fault.setter
    def fault(self, fault: str | Sequence[str] | None) -> None:
        faults = [parse_fault(text) for text in ([fault] if isinstance(fault, str) else fault or [])]
        with self.lock:
            self._faults, self._fault = faults, fault

    def enqueue(
        self, status: int | Callable[[Request], Any] | None = None, headers: Mapping[str, str | None] | None = None,
        body: Any = None, *, path: str | None = None, events: Iterable[Any] | None = None, delay: float = 0.0,
        fault: str | None = None, text: str | None = None,
    ) -> None:
        """Script the next response, first in first out, in place of the real one and of every check.

        It goes to the next request of the API, or to the next whose path ends with `path` (`path="/oauth"`). A dict or
        a list is sent as JSON, text and bytes as they are; an error without a body gets the service's usual one.
        `headers` beat the usual ones, None takes one away; a Content-Length need not be true, the connection ends then.
        `events` make a stream: bytes as they are, else each a `data:` line; `"[DONE]"` is yours to add. `delay` are
        seconds before the response; `fault` spoils it by name. With nothing but these two it is the service's own.

        `text` is what the model says in answer to the next chat or run of a thread, in place of words, calls and
        tools; all else is the service's own: the form that was asked for, streamed or whole, the checks, the usage.

        In place of a status it may be a callable: `(request) -> response`, which is a body, a status (int), what
        `emulator.response()` makes, or None for the service's own.
        """
        given = {"status": status, "headers": headers, "body": body, "events": events}
        others = [f"{name}=" for name, value in given.items() if value is not None]
        if text is not None and (others or not isinstance(text, str)):
            raise ValueError("text= is what the model says, a str, and goes together with path=, delay= and fault= "
                             "alone" + f", not with {', '.join(others)}" * bool(others))
        make, about = None, "the service's own" if text is None else f"the text {text[:40]!r}"
        if callable(status):
            make, about = status, getattr(status, "__name__", repr(status))
        elif others or (text is None and not delay and not fault):
            made = response(status, headers, body, events=events)
            make, about = (lambda _: made), str(made.status)
        about += "".join((f" for {path}" if path else "", f" with the fault {fault}" if fault else ""))
        script = Script(path, make, float(delay), parse_fault(fault) if fault is not None else None, about, text)
        with self.lock:
            self._scripts.append(script)

    @property
    def unused(self) -> list[str]:
        """Describe the answers that were scripted and that nobody asked for."""
        with self.lock:
            return [script.about for script in self._scripts]

    def check(self, unused: bool = True) -> None:
        """Raise what a script or the emulator itself has raised, and AssertionError where a script was left over.

        The service answered 500 for the first, so the test's own failure may be but its consequence; for the second
        it often is the cause, which is what `unused=False` is for.
        """
        __tracebackhide__ = True
        with self.lock:
            failures, left = self._errors[:], [script.about for script in self._scripts]
            self._errors.clear()
            self._scripts.clear()
        if failures:
            raise failures[0]
        if left and unused:
            raise AssertionError("scripted and never asked for: " + "; ".join(left))

    # -- Life: a thread accepts at each port, one serves each connection

    def start(self) -> Emulator:
        """Listen, and return the emulator; OSError where the port is taken, ImportError for TLS without trustme."""
        if self._listeners:
            return self
        sockets: list[socket.socket] = []
        try:
            contexts = self._make_contexts()
            for index in range(len(contexts)):
                sockets.append(listen(self.host, self._ports[index]))
                self._ports[index] = sockets[index].getsockname()[1]
        except BaseException:
            _remove_folder(self._dir, os.getpid())
            for sock in sockets:
                sock.close()
            raise
        self.port, self._pid = self._ports[0], os.getpid()
        self.url, auth = (self._url(sock) for sock in (sockets[0], sockets[-1]))
        self.base_url, self.auth_url = self.url + "/api/v1", auth + "/api/v2/oauth"
        self._stopping.clear()
        for listener, context in zip(sockets, contexts):
            thread = threading.Thread(target=self._accept, args=(listener, context), name=_THREAD, daemon=True)
            self._listeners[thread] = listener
            thread.start()
        return self

    def _make_contexts(self) -> list[ssl.SSLContext | None]:
        """Return a context for each port; started again, it is the same server, with the same authority."""
        if not self._tls:
            return [None]
        if self._own_files is None:
            self._pems = self._pems or make_certificates(self._names)
            if self._dir:
                os.mkdir(self._dir, 0o700)
            else:
                self._dir = tempfile.mkdtemp(prefix=_THREAD + "-")
                weakref.finalize(self, _remove_folder, self._dir, os.getpid())  # where nobody calls stop()
            *own, self.ca_bundle_file, self.client_cert_file, self.client_key_file = write_files(self._dir, self._pems)
        cert_file, key_file = self._own_files or own
        return [server_context(cert_file, key_file, self.ca_bundle_file or "", mode) for mode in self._client_cert]

    def _url(self, listener: socket.socket) -> str:
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- not to listen, but to ask
        host = everywhere.get(self.host, self.host)
        scheme, host = "https" if self._tls else "http", f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}:{listener.getsockname()[1]}"

    def stop(self) -> None:
        """Close the ports and every connection at once, streams too, and wait for the threads; again is harmless.

        In a forked child, which has no such threads, only the child's own ends of the sockets are closed.
        """
        listeners, self._listeners = self._listeners, {}
        if self._pid != os.getpid():
            for sock in (*listeners.values(), *self._connections.values()):
                sock.close()
            self._connections, self._ports = {}, [0, 0]  # those are the parent's
            return
        self._stopping.set()
        for thread, listener in listeners.items():
            while thread.is_alive():
                shut_down(listener)  # wakes the thread on Linux; elsewhere a caller does
                with contextlib.suppress(OSError):
                    socket.create_connection((urlsplit(self.url).hostname or "", listener.getsockname()[1]), 1).close()
                thread.join(1)
        for sock in list(self._connections.values()):
            shut_down(sock)
        for thread in list(self._connections):
            if thread is not threading.current_thread():  # a scripted callable may end its own emulator
                thread.join(5)
        self._forget_finished()
        _remove_folder(self._dir, os.getpid())

    def _forget_finished(self) -> None:
        with self.lock:
            self._connections = {t: s for t, s in self._connections.items() if t.is_alive()}

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        with listener:
            while not self._stopping.is_set():
                try:
                    sock = listener.accept()[0]
                except OSError:  # out of descriptors: wait instead of spinning
                    self._stopping.wait(0.05)
                    continue
                try:
                    if context is not None:  # without a handshake yet: others wait here
                        sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    number = next(self._numbers)
                    thread = threading.Thread(target=self._serve, args=(sock, number), name=_THREAD, daemon=True)
                    thread.start()
                except (OSError, RuntimeError):  # gone already, or no more threads
                    sock.close()
                    continue
                self._forget_finished()
                with self.lock:
                    self._connections[thread] = sock

    def _serve(self, sock: socket.socket, number: int) -> None:
        connection = Connection(sock, number, self._stopping)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.handshake()
            while self._serve_request(connection):
                pass
        except (OSError, ValueError):  # the caller has gone, or stop() hung up
            pass
        except Exception as exc:  # of an answer that a script has made as it pleased
            self._errors.append(exc)
        finally:
            connection.close()

    def _serve_request(self, connection: Connection) -> bool:
        """Serve one request; tell whether another may follow."""
        try:
            request = connection.read_request()
        except HTTPError as error:
            return connection.write_response(error.response, None)
        return request is not None and connection.write_response(self._make_response(request), request)

    # -- Responses

    def _make_response(self, request: Request) -> Response:
        """Remember a request and return what was scripted for it, or else what the service would say."""
        with self.lock:
            self.requests.append(request)
            del self.requests[:-MAX_REMEMBERED]
            script = next((script for script in self._scripts if script.matches(request)), None)
            if script is not None:
                self._scripts.remove(script)
        response = self._run_script(script, request) if script else self._inject_fault(self.respond(request), request)
        if self.on_response is not None:
            try:
                self.on_response(request, response.status)
            except Exception as exc:
                self._errors.append(exc)
        return response

    def _run_script(self, script: Script, request: Request) -> Response:
        try:
            response = script.run(request, self.respond)
        except BaseException as exc:  # an assertion of the test, say, which is to fail there and not here
            self._errors.append(exc)
            response = api_error(500, REASONS[500]).response
        return script.spoil(response)

    def _inject_fault(self, response: Response, request: Request) -> Response:
        """Return the response as the first fault that applies spoils it, until its times are used up."""
        with self.lock:
            for index, fault in enumerate(self._faults):
                spoilt = fault.inject(response) if fault.times and fault.matches(request) else None
                if spoilt is not None:
                    self._faults[index] = fault._replace(times=fault.times - 1)
                    return spoilt
        return response


def _remove_folder(folder: str, owner: int) -> None:
    """Remove a folder of certificates; not in a forked child, whose parent may still need it."""
    if folder and owner == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
