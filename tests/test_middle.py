"""Work through what stands between a client and the service, and in what surrounds it: middleboxes, forks, frameworks.

Also what a gateway, a notebook or a settings class puts in the way, and what the log says of retries.
"""
from __future__ import annotations

import contextlib
import gc
import http.client
import json
import logging
import os
import pathlib
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import traceback
import zipfile
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

import pytest

import gigachat_lite
from clients import finish, new_client, start
from gigachat_lite import RequestTimeout, ServerError, TransportError
from gigachat_lite.limiter import ConcurrencyLimiter
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, drop, never, oauth_reply, reply, sse, until

PATIENCE = 0.6  # seconds that a middlebox stands an unanswered request: more than a stale connection takes to show
PACKAGE = pathlib.Path(gigachat_lite.__file__).parent
KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OnNlY3JldA=="


def client_of(running, certs=None, port=None, **settings):
    """Make a client of a server, or of another port that leads to it, which pauses before no attempt."""
    origin = running.at("localhost" if certs else "127.0.0.1").replace(str(running.port), str(port or running.port))
    given = {"base_url": origin + "/api/v1", "access_token": "token-0", "timeout": 5}
    if certs:
        given["ca_bundle_file"] = str(certs.ca_pem)
    giga = new_client(**{**given, **settings})
    giga.transport.sleep = lambda seconds: None
    return giga


def text_of(answer):
    return answer.choices[0].message.content


def echo(request, connection):
    """Answer with the last message of the request."""
    body = json.loads(CHAT_BODY.decode())
    body["choices"][0]["message"]["content"] = request.json["messages"][-1]["content"]
    return reply(body=body)


def asked(request):
    return request.json["messages"][-1]["content"]


# ---- A middlebox


class Middlebox:
    """Forwards TCP connections to a port, and ends one where a request goes unanswered for too long."""

    def __init__(self, port, how):
        self.connections, self._to, self._how = 0, port, how
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(8)
        self.port = self._listener.getsockname()[1]
        self._acceptor = start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._to = None
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept()
        finish(self._acceptor)
        self._listener.close()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            if self._to is None:
                return client.close()
            self.connections += 1
            start(self._forward, client, socket.create_connection(("127.0.0.1", self._to)))

    def _forward(self, client, upstream):
        other, unanswered = {client: upstream, upstream: client}, False
        with client, upstream, contextlib.suppress(OSError):
            while True:
                ready = select.select(list(other), [], [], PATIENCE if unanswered else None)[0]
                if not ready and self._how == "rst":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                data = ready[0].recv(65536) if ready else b""
                if not data:
                    return
                other[ready[0]].sendall(data)
                unanswered = ready[0] is client


@pytest.mark.parametrize("ask, tls, how", [
    ("chat", False, "fin"), ("chat", True, "rst"), ("stream", True, "fin"),
    *(pytest.param(*row, marks=pytest.mark.long) for row in (
        ("chat", False, "rst"), ("chat", True, "fin"), ("stream", False, "fin"), ("stream", True, "rst"))),
])
def test_a_middlebox_costs_no_second_answer(api, certs, ask, tls, how):
    running = api([reply(body=CHAT_BODY), never()], context=certs.context() if tls else None)
    with Middlebox(running.port, how) as box:
        giga = client_of(running, certs if tls else None, box.port)
        assert text_of(giga.chat("x")) == CHAT_TEXT
        with pytest.raises(TransportError):
            getattr(giga, ask)("x")
        assert len(running.requests) == 2 and box.connections == 1


@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=pytest.mark.long)], ids=["plain", "tls"])
def test_a_middlebox_costs_a_read_another_attempt(api, certs, tls):
    running = api([reply(body=CHAT_BODY), never(), reply(body={"data": []})], context=certs.context() if tls else None)
    with Middlebox(running.port, "rst") as box:
        giga = client_of(running, certs if tls else None, box.port)
        giga.chat("x")
        assert giga.get_models().data == [] and len(running.requests) == 3


# ---- Connections that the server has closed


@pytest.mark.parametrize("how", ["fin", "rude", "rst"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_stale_connection_is_replaced_once(api, certs, tls, how):
    running = api([reply(body=CHAT_BODY), drop(how), reply(body=CHAT_BODY)], context=certs.context() if tls else None)
    giga = client_of(running, certs if tls else None)
    assert [text_of(giga.chat("x")), text_of(giga.chat("x"))] == [CHAT_TEXT, CHAT_TEXT]
    assert [request.connection for request in running.requests] == [1, 1, 2]


@pytest.mark.parametrize("how", ["fin", "rude", "rst"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_fresh_connection_that_drops_is_an_error(api, certs, tls, how):
    running = api([reply(body=CHAT_BODY), drop(how), drop(how)], context=certs.context() if tls else None)
    giga = client_of(running, certs if tls else None)
    giga.chat("x")
    with pytest.raises(TransportError):
        giga.chat("x")
    assert [request.connection for request in running.requests] == [1, 1, 2]


@pytest.mark.parametrize("how", ["fin", "rude", "rst"])
@pytest.mark.parametrize("through", ["directly", "proxy"])
def test_what_replaces_a_dropped_connection_is_fresh(api, proxy, certs, through, how):
    running = api([reply(body=CHAT_BODY), drop(how)], context=certs.context())
    giga = client_of(running, certs, **({"proxy": proxy(running.port).url} if through == "proxy" else {}))
    giga.chat("x")
    running.hang_up()  # urllib3 notices it before the next request, and connects anew
    with pytest.raises(TransportError):
        giga.chat("x")
    assert [request.connection for request in running.requests] == [1, 2]


# ---- Processes that C code has forked, as uWSGI does

FORKING = """
    import ctypes, os, signal, sys, threading
    from gigachat_lite import GigaChat

    giga = GigaChat(base_url=sys.argv[1], auth_url=sys.argv[2], env_file=False, environ={}, trust_env=False,
                    max_connections=1, **SETTINGS)

    def ask(text):
        answer = giga.chat(text).choices[0].message.content
        assert answer == text, (text, answer)

    def c_fork(work):
        child = ctypes.PyDLL(None).fork()  # runs no hook of Python's, and holds the interpreter's lock, as it must
        if child:
            return child
        code = 1
        try:
            signal.alarm(15)
            work()
            code = 0
        except BaseException as error:
            print("child:", repr(error), flush=True)
        finally:
            os._exit(code)

    def wait_for(child):
        status = os.waitpid(child, 0)[1]
        assert status == 0, "the child failed: %r" % status
"""


def forking(running, script, settings="access_token='t'", during=lambda process: None):
    """Run a script that forks in a process of its own; `during` may do something meanwhile."""
    code = textwrap.dedent(FORKING).replace("**SETTINGS", settings) + textwrap.dedent(script)
    process = subprocess.Popen(
        [sys.executable, "-c", code, running.base_url, running.auth_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        try:
            during(process)
            output = process.communicate(timeout=15)[0].decode()
        finally:
            process.kill()
    assert process.returncode == 0, output


needs_c_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_c_fork
def test_a_c_fork_gives_the_child_its_own_connection(api):
    running = api(echo)
    forking(running, """
        to_child, to_parent = os.pipe(), os.pipe()

        def child():
            for number in range(5):
                assert os.read(to_child[0], 1) == b"."
                ask("child %d" % number)
                os.write(to_parent[1], b".")

        ask("parent")
        pid = c_fork(child)
        for number in range(5):
            ask("parent %d" % number)
            os.write(to_child[1], b".")
            assert os.read(to_parent[0], 1) == b"."
        wait_for(pid)
        ask("parent at last")
    """)
    used = {name: {request.connection for request in running.calls if asked(request).startswith(name)}
            for name in ("parent", "child")}
    assert used == {"parent": {1}, "child": {2}} and len(running.calls) == 12


@needs_c_fork
def test_processes_of_a_c_fork_ask_at_a_time(api):
    running = api(echo)
    forking(running, """
        ask("parent")
        children = [c_fork(lambda: [ask("child %d of %d" % (number, os.getpid())) for number in range(20)])
                    for _ in range(4)]
        for number in range(20):
            ask("parent %d" % number)
        for child in children:
            wait_for(child)
    """)
    assert running.connections == 5 and len(running.calls) == 101


@needs_c_fork
def test_a_c_fork_frees_the_place_in_the_child(api):
    running = api(lambda request, connection: sse(STREAM_BODY) if request.json.get("stream") else echo(request, None))
    forking(running, """
        stream = giga.stream("parent")
        first = next(stream)
        wait_for(c_fork(lambda: [ask("child 1"), ask("child 2")]))
        assert len(list(stream)) == 4 and stream.completion is not None
        ask("parent")
    """)
    assert [request.connection for request in running.calls] == [1, 2, 2, 1]


@needs_c_fork
def test_a_c_fork_frees_the_token_lock_in_the_child(api):
    gate = threading.Event()
    running = api(echo, oauth=[oauth_reply("t-parent").after(gate), oauth_reply("t-child")])

    def during(process):
        until(lambda: running.oauth_calls == 1)  # the parent's other thread waits for its token
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda: len(running.calls) == 1, 15)  # the child has got its own
        gate.set()

    forking(running, """
        thread = threading.Thread(target=ask, args=("parent",))
        thread.start()
        sys.stdin.readline()
        wait_for(c_fork(lambda: ask("child")))
        thread.join()
    """, f"credentials={KEY!r}", during)
    assert [(asked(request), request.headers["Authorization"]) for request in running.calls] == [
        ("child", "Bearer t-child"), ("parent", "Bearer t-parent")]


@needs_c_fork
def test_a_c_fork_leaves_the_async_names_working(api):
    running = api(echo)
    forking(running, """
        import asyncio

        async def aask(text):
            assert (await giga.achat(text)).choices[0].message.content == text

        asyncio.run(aask("parent"))
        wait_for(c_fork(lambda: asyncio.run(aask("child"))))
        asyncio.run(aask("parent"))
    """)
    assert [request.connection for request in running.calls] == [1, 2, 1]


APP = """
import os
from gigachat_lite import GigaChat

giga = GigaChat(base_url={base_url!r}, access_token="t", env_file=False)
giga.chat("master")

def application(environ, start_response):
    user = {{"role": "user", "content": environ["QUERY_STRING"]}}
    answer = giga.chat([{{"role": "system", "content": str(os.getpid())}}, user])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.choices[0].message.content.encode()]
"""


@pytest.mark.long
@needs_c_fork
def test_workers_of_uwsgi_do_not_share_connections(api, tmp_path):
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    uwsgi = shutil.which("uwsgi", path=places)
    if uwsgi is None:
        pytest.skip("uwsgi is not installed")
    running = api(echo)
    (tmp_path / "app.py").write_text(APP.format(base_url=running.base_url), encoding="utf-8")
    command = [uwsgi, "--http-socket", "127.0.0.1:0", "--master", "--processes", "4", "--wsgi-file", "app.py",
               "--home", sys.prefix, "--die-on-term", "--need-app"]
    with open("uwsgi.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        text = lambda: pathlib.Path("uwsgi.log").read_text(errors="replace")  # noqa: E731
        until(lambda: "spawned uWSGI worker 4" in text() or process.poll() is not None, 30)
        port = re.search(r"bound to TCP address 127\.0\.0\.1:(\d+)", text())
        assert port and process.poll() is None, text()

        def ask(number):
            connection = http.client.HTTPConnection("127.0.0.1", int(port.group(1)), timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", f"/?user-{number}")
                return connection.getresponse().read().decode()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(200)))
    finally:
        process.terminate()
        process.wait(10)
    assert answers == [f"user-{number}" for number in range(200)]
    workers = {}
    for request in running.calls[1:]:
        workers.setdefault(request.connection, set()).add(request.json["messages"][0]["content"])
    assert 1 not in workers and all(len(processes) == 1 for processes in workers.values())
    assert len({process for processes in workers.values() for process in processes}) > 1


# ---- Streams that somebody keeps


class Holder:
    """Part of a cycle, as web frameworks make them of a response."""


def leave_in_a_cycle(giga):
    """Read the first event of a stream by a generator, and leave it to the cyclic collector."""
    def chunks():
        yield from giga.stream("x")

    holder = Holder()
    holder.itself, holder.chunks = holder, chunks()
    next(holder.chunks)


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


def streams_then_chats(request, connection):
    return sse(STREAM_BODY) if request.json.get("stream") else echo(request, connection)


@pytest.mark.filterwarnings("ignore:unclosed", "ignore::pytest.PytestUnraisableExceptionWarning")  # by the collector
@pytest.mark.parametrize("reader", ["other", pytest.param("same", marks=pytest.mark.long)])
def test_a_stream_left_in_a_cycle_frees_its_place(api, no_collector, reader):
    giga = client_of(api(streams_then_chats), max_connections=1, pool_timeout=5)
    for number in range(2):  # the second within a second of the first
        finish(start(leave_in_a_cycle, giga)) if reader == "other" else leave_in_a_cycle(giga)
        assert text_of(giga.chat(f"after {number}")) == f"after {number}"


@pytest.mark.long
@pytest.mark.parametrize("read", [1, 0])
def test_an_open_stream_of_a_notebook_is_named(api, read):
    giga = client_of(api(streams_then_chats), max_connections=1)
    stream = giga.stream("x")  # what Out[1] keeps
    for _ in range(read):
        next(stream)
    for call in (giga.chat, giga.stream, giga.chat.create):
        with pytest.raises(TransportError, match=r"open stream.*stream\.close\(\)") as caught:
            call("x")
        error = caught.value
        assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
        assert "Empty" not in "".join(traceback.format_exception(type(error), error, error.__traceback__))
    stream.close()
    assert text_of(giga.chat("x")) == "x"


def test_looking_for_a_place_never_hangs():
    for _ in range(20000):  # before Python 3.11, SimpleQueue.get(timeout=0) now and then waits for ever
        limiter = ConcurrencyLimiter(1)
        held = limiter.acquire()
        assert not limiter.take()
        with pytest.raises(RequestTimeout):
            limiter.acquire(until=0.0)
        held.release()


# ---- Gateways


@pytest.mark.parametrize("status", [502, 504])
@pytest.mark.parametrize("ask", ["chat", "stream"])
def test_a_gateways_answer_to_a_paid_call_is_final(api, status, ask):
    running = api([reply(status, "<html>Bad Gateway</html>", {"Content-Type": "text/html"})])
    with pytest.raises(ServerError, match=str(status)):
        getattr(client_of(running), ask)("x")
    assert len(running.calls) == 1


def test_gateways_that_are_named_are_asked_again(api):
    running = api([reply(502), reply(body=CHAT_BODY), reply(502), sse(STREAM_BODY), reply(504)])
    giga = client_of(running, retry_on_status_codes=(502,))
    assert text_of(giga.chat("x")) == CHAT_TEXT
    with giga.stream("x") as stream:
        assert len(list(stream)) == 5 and stream.text == STREAM_TEXT
    with pytest.raises(ServerError, match="504"):
        giga.chat("x")
    assert len(running.calls) == 5


@pytest.mark.parametrize("status", [502, 504])
def test_a_read_is_sent_again_after_a_gateways_error(api, status):
    running = api([reply(status), reply(body={"data": []})])
    assert client_of(running).get_models().data == [] and len(running.calls) == 2


# ---- Settings of settings classes


@pytest.mark.parametrize("bases", [(str, Enum), (Enum,)], ids=["str", "plain"])
def test_settings_may_be_members_of_an_enum(api, bases):
    running = api(echo)

    class Setting(*bases):
        SCOPE = "GIGACHAT_API_B2B"
        MODEL = "GigaChat-2-Pro"
        CREDENTIALS = KEY
        ACCESS_TOKEN = "t-member"
        BASE_URL = running.base_url
        AUTH_URL = running.auth_url

    giga = new_client(scope=Setting.SCOPE, model=Setting.MODEL, credentials=Setting.CREDENTIALS,
                      base_url=Setting.BASE_URL, auth_url=Setting.AUTH_URL)
    assert text_of(giga.chat("x")) == "x"
    oauth, chat = running.requests
    assert oauth.form == {"scope": "GIGACHAT_API_B2B"} and oauth.headers["Authorization"] == "Basic " + KEY
    assert chat.json["model"] == "GigaChat-2-Pro" and chat.path == "/api/v1/chat/completions"
    new_client(base_url=Setting.BASE_URL, access_token=Setting.ACCESS_TOKEN).chat("x")
    assert running.requests[-1].headers["Authorization"] == "Bearer t-member"


def test_variables_may_be_members_of_an_enum(api):
    running = api(echo)

    class Setting(str, Enum):
        ACCESS_TOKEN = "t-variable"
        BASE_URL = running.base_url

    new_client(environ={"GIGACHAT_" + setting.name: setting for setting in Setting}).chat("x")
    assert running.requests[-1].headers["Authorization"] == "Bearer t-variable"


# ---- Programs without files

CHECK = """
import gigachat_lite
giga = gigachat_lite.GigaChat(access_token="t", env_file=False, environ={})
roots = [root for host in giga.transport.tls.values() for root in host.context.get_ca_certs()]
assert any("Russian Trusted Root CA" in str(root["subject"]) for root in roots), roots
server = gigachat_lite.GigaChat(base_url=sys.argv[2], access_token="t", env_file=False, environ={}, trust_env=False)
assert server.chat("x").choices[0].message.content == "x"
with server.stream("x") as stream:
    assert len(list(stream)) == 5
"""
FROZEN = """
import importlib.util, sys, zipfile

class Importer:
    def __init__(self, files):
        self.files = files

    def name_of(self, name):
        path = name.replace(".", "/")
        return next((file for file in (path + "/__init__.py", path + ".py") if file in self.files), None)

    def find_spec(self, name, path=None, target=None):
        file = self.name_of(name)
        if file is None:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=file.endswith("__init__.py"))

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.files[self.name_of(module.__name__)], "frozen " + module.__name__, "exec"), module.__dict__)

with zipfile.ZipFile(sys.argv[1]) as archive:
    sys.meta_path.insert(0, Importer({name: archive.read(name) for name in archive.namelist()}))
"""


@pytest.mark.parametrize("way", ["zip", "frozen"])
def test_the_root_is_found_wherever_code_is(api, tmp_path, way):
    archive = str(tmp_path / "library.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for source in PACKAGE.rglob("*.py"):
            file.write(str(source), "gigachat_lite/" + source.relative_to(PACKAGE).as_posix())
    code = FROZEN if way == "frozen" else "import sys; sys.path.insert(0, sys.argv[1])\n"
    proof = "assert gigachat_lite.__file__.startswith(sys.argv[1])\n" if way == "zip" else (
        "assert not hasattr(gigachat_lite, '__file__')\n")
    command = [sys.executable, "-I", "-c", code + CHECK + proof, archive, api(streams_then_chats).base_url]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=15)
    assert done.returncode == 0, done.stdout.decode()


# ---- What the log says


def lines(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_each_retry_is_one_warning(api, caplog):
    running = api([reply(503), reply(500), reply(body=CHAT_BODY), drop(), reply(429, headers={"Retry-After": "3"}),
                   reply(body={"data": []})], oauth=[reply(500), oauth_reply("t")])
    giga = client_of(running, credentials=KEY, access_token=None, auth_url=running.auth_url)
    giga.transport.chance = lambda: 1.0
    with caplog.at_level(logging.WARNING, logger="gigachat_lite"):
        giga.chat("x")
        giga.get_models()
    chat, models, oauth = "POST /api/v1/chat/completions", "GET /api/v1/models", "POST /api/v2/oauth"
    expected = [(oauth, "500", "attempt 2 of 3", "0.5 s"), (chat, "503", "attempt 2 of 3", "0.5 s"),
                (chat, "500", "attempt 3 of 3", "1.0 s"), (models, "stale", "attempt 2 of 3", "0.0 s"),
                (models, "429", "attempt 3 of 3", "3.0 s")]
    assert len(lines(caplog, logging.WARNING)) == len(expected)
    for line, parts in zip(lines(caplog, logging.WARNING), expected):
        assert all(part in line for part in parts) and "\n" not in line, line


def test_no_line_has_an_empty_request_id(api, caplog):
    running = api([reply(503), reply(body=CHAT_BODY, headers={"X-Request-ID": "r-77"}), reply(body=CHAT_BODY)],
                  oauth=[reply(500), oauth_reply("t")])
    giga = client_of(running, credentials=KEY, access_token=None, auth_url=running.auth_url)
    with caplog.at_level(logging.DEBUG, logger="gigachat_lite"):
        giga.chat("x")
        giga.chat("x")
    said = lines(caplog, logging.DEBUG)
    assert len(said) == 5 and len([line for line in said if "/oauth" in line]) == 2
    assert [line for line in said if "request id" in line] == [line for line in said if line.endswith("r-77")]
    assert len([line for line in said if line.endswith("request id r-77")]) == 1
