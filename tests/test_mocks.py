"""Record, mock and patch what lies below the client, as its users do: whole answers and streams come through each."""
from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from unittest import mock

import pytest
import requests
import urllib3

from clients import new_client
from gigachat_lite import GigaChatException, PaymentRequiredError, ServerError, TransportError
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, oauth_reply, reply, sse
from test_resources import V2_STREAM

JSON, EVENTS = "application/json", "text/event-stream"
BASE = "https://api.giga.chat/v1"
CHAT, MODELS, TOKEN = BASE + "/chat/completions", BASE + "/models", "https://auth.example/oauth"
MODEL_LIST = b'{"object":"list","data":[{"id":"GigaChat","object":"model","owned_by":"salutedevices"}]}'
KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OnNlY3JldA=="

# vcrpy leaves connections of a pool to the collector, with plain requests too.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed", "ignore::pytest.PytestUnraisableExceptionWarning")


def client_of(api, **settings):
    return new_client(**{"credentials": KEY, "base_url": api.base_url, "auth_url": api.auth_url, **settings})


def offline(**settings):
    giga = new_client(**{"base_url": BASE, "access_token": "token-0", "model": "GigaChat", **settings})
    giga.transport.sleep = lambda seconds: None
    return giga


def stream_text(stream):
    with stream:
        return "".join(chunk.choices[0].delta.content for chunk in stream)


def completion(text):
    body = json.loads(CHAT_BODY.decode())
    body["choices"][0]["message"]["content"] = text
    return body


def text_of(answer):
    return answer.choices[0].message.content


# ---- Recorders


class Recorder:
    """Plays a cassette of vcrpy, or records it where there is none yet; the token is left out."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.vcr = pytest.importorskip("vcr").VCR(
            cassette_library_dir=str(folder), filter_headers=["authorization"], **options)

    def __call__(self, name="tape.yaml"):
        return self.vcr.use_cassette(name)

    def text(self, name="tape.yaml"):
        return (self.folder / name).read_text(encoding="utf-8")


def everything(giga):
    """Make each kind of call once, and tell what came of it."""
    said = [text_of(giga.chat("x")), stream_text(giga.stream("x"))]
    v2 = giga.chat.stream("x")
    said += ["".join(chunk.text for chunk in v2), v2.completion.usage.total_tokens]
    with pytest.raises(PaymentRequiredError) as caught:
        giga.chat("x")
    with pytest.raises(PaymentRequiredError) as caught_of_stream:
        giga.stream("x")
    return [*said, caught.value.message, caught_of_stream.value.message, giga.get_models().data[0].id_]


EVERYTHING = [CHAT_TEXT, STREAM_TEXT, "1, 2, 3", 27, "Payment Required", "Payment Required", "GigaChat"]


def full_script():
    refusal = reply(402, {"status": 402, "message": "Payment Required"})
    return [reply(body=CHAT_BODY), sse(STREAM_BODY), sse(V2_STREAM), refusal, refusal, reply(body=MODEL_LIST)]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_vcr_records_every_call_and_plays_it_back(api, certs, tmp_path, tls):
    recorder = Recorder(tmp_path)
    running = api(full_script(), context=certs.context() if tls else None)
    origin = running.at("localhost")
    settings = {"base_url": origin + "/api/v1", "auth_url": origin + "/api/v2/oauth"}
    settings["ca_bundle_file"] = str(certs.ca_pem)
    with recorder():
        assert everything(client_of(running, **settings)) == EVERYTHING
    assert running.oauth_calls == 1 and len(running.calls) == 6
    running.stop()
    with recorder() as tape:
        assert everything(client_of(running, **settings)) == EVERYTHING
        assert tape.play_count == 7


def test_a_cassette_holds_plain_text_and_no_key(api, tmp_path):
    recorder, yaml = Recorder(tmp_path), pytest.importorskip("yaml")
    running = api(full_script(), oauth=oauth_reply("t-secret"))
    with recorder():
        everything(client_of(running))
    tape = yaml.safe_load(recorder.text())  # refuses whatever is not plain
    headers = [each["request"]["headers"] for each in tape["interactions"]]
    assert {type(value) for each in headers for values in each.values() for value in values} == {str}
    assert KEY not in recorder.text() and "Bearer" not in recorder.text()


def test_header_values_are_plain_str_in_any_cassette(api, tmp_path):
    recorder, yaml, seen = Recorder(tmp_path), pytest.importorskip("yaml"), []
    recorder.vcr.before_record_request = lambda request: seen.append(dict(request.headers)) or request
    recorder.vcr.filter_headers = ()  # as many have it, the token included
    with recorder():
        everything(client_of(api(full_script())))
    values = [value for headers in seen for value in headers.values()]
    assert {type(value) for value in values} <= {str, bytes} and "Bearer token-1" in values
    assert "Bearer token-1" in str(yaml.safe_load(recorder.text()))


@pytest.mark.parametrize("serializer", ["yaml", "json"])
def test_one_client_keeps_through_many_cassettes(api, tmp_path, serializer):
    recorder = Recorder(tmp_path, serializer=serializer)
    texts = [f"answer {number}" for number in range(4)]
    running = api([answer for text in texts for answer in (reply(body=completion(text)), sse(STREAM_BODY))])
    giga = client_of(running, access_token="token-0", credentials=None)
    for _ in range(3):  # the first records, the others play
        for number, text in enumerate(texts):
            with recorder(f"tape{number}"):
                assert text_of(giga.chat("x")) == text
                assert stream_text(giga.stream("x")) == STREAM_TEXT
    assert len(running.calls) == 8


def test_cassettes_and_real_calls_take_turns(api, tmp_path):
    recorder = Recorder(tmp_path)
    running = api([reply(body=completion(text)) for text in ("real 1", "taped", "real 2", "real 3")])
    giga = client_of(running)
    assert text_of(giga.chat("x")) == "real 1"
    with recorder():
        assert text_of(giga.chat("x")) == "taped"
    assert text_of(giga.chat("x")) == "real 2"
    with recorder():
        assert text_of(giga.chat("x")) == "taped"
    assert text_of(giga.chat("x")) == "real 3" and len(running.calls) == 4


def test_a_cassette_that_has_no_answer_is_an_error(api, tmp_path):
    recorder = Recorder(tmp_path)
    running = api([reply(body=CHAT_BODY)])
    giga = client_of(running)
    for _ in range(2):
        with recorder():
            giga.chat("x")
    with recorder():
        giga.chat("x")
        with pytest.raises(Exception, match="existing cassette"):
            giga.chat("x")
    assert len(running.calls) == 1


RECORDED = """
import pytest
from gigachat_lite import GigaChat

GIGA = GigaChat(base_url={base_url!r}, auth_url={auth_url!r}, credentials={key!r})

@pytest.fixture(scope="module")
def vcr_config():
    return {{"filter_headers": ["authorization"]}}

@pytest.mark.vcr
@pytest.mark.parametrize("text", ["one", "two"])
def test_chat(text):
    assert GIGA.chat("x").choices[0].message.content == text

@pytest.mark.vcr
def test_stream():
    with GIGA.stream("x") as stream:
        assert len(list(stream)) == 5 and stream.text.startswith("$1")
"""


def test_pytest_recording_records_and_plays_back(api, tmp_path):
    pytest.importorskip("pytest_recording")
    running = api([reply(body=completion("one")), reply(body=completion("two")), sse(STREAM_BODY)])
    text = RECORDED.format(base_url=running.base_url, auth_url=running.auth_url, key=KEY)
    (tmp_path / "test_recorded.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_recording.plugin"]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for options in (["--record-mode=once"], ["--record-mode=none", "--block-network"]):
        done = subprocess.run(
            [*command, *options], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert "3 passed" in done.stdout.decode(), done.stdout.decode()
    assert len(running.calls) == 3


# ---- Libraries that stand in for the network: each is given lists of (status, content type, body) or errors


@contextlib.contextmanager
def with_responses(answers):
    library = pytest.importorskip("responses")
    with library.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        for (method, url), given in answers.items():
            for item in given:
                if isinstance(item, Exception):
                    mocked.add(method, url, body=item)
                else:
                    mocked.add(method, url, status=item[0], content_type=item[1], body=item[2])
        yield


@contextlib.contextmanager
def with_requests_mock(answers):
    library = pytest.importorskip("requests_mock")
    with library.Mocker() as mocked:
        for (method, url), given in answers.items():
            mocked.register_uri(method, url, [
                {"exc": item} if isinstance(item, Exception)
                else {"status_code": item[0], "headers": {"Content-Type": item[1]}, "content": item[2]}
                for item in given])
        yield


@contextlib.contextmanager
def with_pook(answers):
    library = pytest.importorskip("pook")
    library.on()
    try:
        for (method, url), given in answers.items():
            for item in given:
                mocked = library.mock(url, method=method)
                if isinstance(item, Exception):
                    mocked.error(item)
                else:
                    mocked.reply(item[0]).header("Content-Type", item[1]).body(item[2])
        yield
    finally:
        library.off()


@contextlib.contextmanager
def with_httpretty(answers, **options):
    library = pytest.importorskip("httpretty")
    with library.enabled(**options):
        for (method, url), given in answers.items():
            left = list(given)

            def answer(request, uri, headers, left=left):
                item = left.pop(0)
                if isinstance(item, Exception):
                    raise item
                return item[0], {"Content-Type": item[1]}, item[2]

            library.register_uri(method, url, body=answer)
        yield


@contextlib.contextmanager
def with_mocket(answers):
    library = pytest.importorskip("mocket")
    http = importlib.import_module("mocket.mocks.mockhttp" if sys.version_info >= (3, 8) else "mocket.mockhttp")
    with library.Mocketizer():
        for (method, url), given in answers.items():
            http.Entry.register(method, url, *(
                item if isinstance(item, Exception)
                else http.Response(item[2], item[0], {"Content-Type": item[1]}) for item in given))
        yield


LIBRARIES = {
    "responses": with_responses,
    "requests-mock": with_requests_mock,
    "pook": with_pook,
    "httpretty": with_httpretty,
    "httpretty-alone": lambda answers: with_httpretty(answers, allow_net_connect=False),
    "mocket": with_mocket,
}


def every_library(test):
    """Run a test with each library; httpretty fails in threads of its own, mocket leaves sockets to the collector."""
    quiet = ["ignore:datetime.datetime.utcnow", "ignore::pytest.PytestUnraisableExceptionWarning",
             "ignore::pytest.PytestUnhandledThreadExceptionWarning"]
    test = pytest.mark.filterwarnings(*quiet)(test)
    return pytest.mark.parametrize("library", list(LIBRARIES))(test)


def need_plain_requests(library):
    """Skip where the library cannot even mock a plain call of requests here."""
    with LIBRARIES[library]({("GET", MODELS): [(200, JSON, MODEL_LIST)]}):
        try:
            body = requests.get(MODELS, timeout=5).content
        except Exception as error:
            body = str(error).partition("\n")[0]
    if body != MODEL_LIST:
        pytest.skip(f"{library} does not mock a plain call of requests here: {body}")


@every_library
def test_a_mocked_chat_and_stream_are_answered(library):
    need_plain_requests(library)
    giga = offline(access_token=None, credentials=KEY, auth_url=TOKEN)
    token = b'{"access_token":"t-1","expires_at":4102444800000}'
    with LIBRARIES[library]({
        ("POST", TOKEN): [(200, JSON, token)],
        ("POST", CHAT): [(200, JSON, CHAT_BODY), (200, EVENTS, STREAM_BODY)],
    }):
        assert text_of(giga.chat("x")) == CHAT_TEXT
        assert stream_text(giga.stream("x")) == STREAM_TEXT and giga.token == "t-1"


@every_library
def test_a_mocked_500_of_a_read_is_retried(library):
    need_plain_requests(library)
    with LIBRARIES[library]({("GET", MODELS): [(500, JSON, b"{}"), (200, JSON, MODEL_LIST)]}):
        assert offline().get_models().data[0].id_ == "GigaChat"


@every_library
def test_a_mocked_500_is_an_error_in_the_end(library):
    need_plain_requests(library)
    with LIBRARIES[library]({("POST", CHAT): [(500, JSON, b'{"status":500,"message":"down"}')]}), pytest.raises(
        ServerError, match="down"
    ):
        offline(max_retries=0).chat("x")


@every_library
def test_an_error_that_a_library_raises(library):
    need_plain_requests(library)
    giga = offline(max_retries=0)
    for error in (requests.ConnectionError("unplugged"), requests.Timeout("late")):
        with LIBRARIES[library]({("POST", CHAT): [error]}), pytest.raises(TransportError):
            giga.chat("x")
        with LIBRARIES[library]({("POST", CHAT): [error]}), pytest.raises(TransportError):
            giga.stream("x")


@every_library
def test_one_client_outlives_a_mock(api, library):
    need_plain_requests(library)
    running = api([reply(body=completion("real 1")), reply(body=completion("real 2")), sse(STREAM_BODY)])
    giga = client_of(running)
    url = running.base_url + "/chat/completions"
    assert text_of(giga.chat("x")) == "real 1"
    mocked = json.dumps(completion("mocked")).encode()
    with LIBRARIES[library]({("POST", url): [(200, JSON, mocked), (200, EVENTS, STREAM_BODY)]}):
        other = client_of(running, access_token="t", credentials=None)
        assert text_of(other.chat("x")) == "mocked" and stream_text(other.stream("x")) == STREAM_TEXT
    assert text_of(giga.chat("x")) == "real 2" and len(running.calls) == 2
    assert stream_text(other.stream("x")) == STREAM_TEXT


def test_one_client_with_every_library_in_turn():
    giga, texts = offline(), []
    for _ in range(2):
        for library in ("responses", "requests-mock", "pook"):
            body = json.dumps(completion(library)).encode()
            with LIBRARIES[library]({("POST", CHAT): [(200, JSON, body), (200, EVENTS, STREAM_BODY)]}):
                texts.append(text_of(giga.chat("x")))
                assert stream_text(giga.stream("x")) == STREAM_TEXT
    assert texts == ["responses", "requests-mock", "pook"] * 2


# ---- unittest.mock, which hands over answers that were made by hand


def ready_response(content, kind, status=200):
    """Make an answer as test helpers do: its content is there, and nothing to read it from."""
    response = requests.Response()
    response.status_code, response._content, response.url = status, content, CHAT
    response.headers["Content-Type"] = kind
    return response


def urllib3_response(content, kind, status=200):
    return urllib3.HTTPResponse(io.BytesIO(content), {"Content-Type": kind}, status, preload_content=False)


def response_of_bytes(content, kind, status=200):
    response = requests.Response()
    response.status_code, response.url, response.raw = status, CHAT, urllib3_response(content, kind, status)
    response.headers["Content-Type"] = kind
    return response


def response_of_a_file(content, kind, status=200):
    response = ready_response(content, kind, status)
    response._content, response.raw = False, io.BytesIO(content)
    return response


PATCHES = [
    pytest.param("requests.Session.send", ready_response, id="session-content"),
    pytest.param("requests.Session.send", response_of_bytes, id="session-urllib3"),
    pytest.param("requests.Session.send", response_of_a_file, id="session-file"),
    pytest.param("requests.adapters.HTTPAdapter.send", ready_response, id="adapter-content"),
    pytest.param("requests.adapters.HTTPAdapter.send", response_of_bytes, id="adapter-urllib3"),
    pytest.param("requests.adapters.HTTPAdapter.send", response_of_a_file, id="adapter-file"),
    pytest.param("urllib3.connectionpool.HTTPConnectionPool.urlopen", urllib3_response, id="urlopen"),
]


@pytest.mark.parametrize("target, make", PATCHES)
def test_a_patch_that_hands_over_an_answer(target, make):
    giga = offline()
    answers = [make(CHAT_BODY, JSON), make(STREAM_BODY, EVENTS), make(V2_STREAM, EVENTS), make(b"{}", JSON, 503),
               make(CHAT_BODY, JSON), make(STREAM_BODY[:-20], EVENTS), make(b'{"message":"no money"}', JSON, 402)]
    with mock.patch(target, side_effect=answers) as patched:
        assert text_of(giga.chat("x")) == CHAT_TEXT
        assert stream_text(giga.stream("x")) == STREAM_TEXT
        assert "".join(chunk.text for chunk in giga.chat.stream("x")) == "1, 2, 3"
        assert text_of(giga.chat("x", deadline=5)) == CHAT_TEXT  # after a retry
        with pytest.raises(GigaChatException) as caught:
            list(giga.stream("x"))
        assert caught.value.partial and STREAM_TEXT.startswith(caught.value.partial)
        with pytest.raises(PaymentRequiredError, match="no money"):
            giga.stream("x")
    assert patched.call_count == 7 and len(giga.transport.limiter.streams) == 0


@pytest.mark.parametrize("target, make", PATCHES)
def test_a_patched_download_is_read(target, make):
    with mock.patch(target, side_effect=[make(b"\xff\xd8picture", "image/jpg")]):
        assert base64.b64decode(offline().get_image("1").content) == b"\xff\xd8picture"


def test_patches_one_after_the_other_then_a_server(api):
    running = api([reply(body=CHAT_BODY), sse(STREAM_BODY)])
    giga = client_of(running, access_token="t", credentials=None)
    for patch in PATCHES:
        target, make = patch.values
        with mock.patch(target, side_effect=[make(CHAT_BODY, JSON), make(STREAM_BODY, EVENTS)]):
            assert text_of(giga.chat("x")) == CHAT_TEXT
            assert stream_text(giga.stream("x")) == STREAM_TEXT
    assert len(running.calls) == 0
    assert text_of(giga.chat("x")) == CHAT_TEXT
    assert stream_text(giga.stream("x")) == STREAM_TEXT and len(running.calls) == 2


@pytest.mark.parametrize("target", sorted({patch.values[0] for patch in PATCHES}))
def test_a_patch_that_raises(target):
    giga = offline()
    with mock.patch(target, side_effect=requests.ConnectionError("unplugged")) as patched:
        for call in (giga.chat, giga.stream, giga.chat.stream):
            with pytest.raises(TransportError):
                call("x")
    assert patched.call_count == 3  # paid calls, of which nobody knows how far they came
