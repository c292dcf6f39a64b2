"""Files: every form in which one is given, what is sent for it, what is written to disk, and what must not happen."""
# ruff: noqa: SIM115 # files that a test hands over are open
from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import io
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from types import SimpleNamespace

import pytest
import responses

from clients import finish, new_client, start
from gigachat_lite import (
    Emulator,
    ForbiddenError,
    GigaChatException,
    NotFoundError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TransportError,
    client_id_cvar,
)
from gigachat_lite.emulator import files as emulated
from gigachat_lite.files import LIMITS, TYPES, encode_upload, find_type
from servers import drop, never, raw, reply

FILE = {"id": "f-1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.txt", "purpose": "general"}
STORED = reply(body=FILE)
BUSY = reply(503, {"status": 503, "message": "busy"})
CONTENT = bytes(range(256)) * 1200  # too large to be sent at once, and no text
PNG = b"\x89PNG\r\n\x1a\n\0\0"
PDF, TEXT, OCTET = "application/pdf", "text/plain", "application/octet-stream"
OCTETS, JSON = {"Content-Type": OCTET}, {"Content-Type": "application/json"}
MB = 1 << 20


def client_of(running, **settings):
    given = {"access_token": "t", "retry_backoff_factor": 0, "timeout": (5, 5)}
    return new_client(**{"base_url": running.base_url, "auth_url": running.auth_url, **given, **settings})


def parts_of(request):
    """Read a form as the emulator does."""
    assert int(request.headers["Content-Length"]) == len(request.body)
    headers = {"content-type": request.headers["Content-Type"]}
    return {part.name: part for part in emulated.parse_form(SimpleNamespace(headers=headers, raw=request.body))}


@pytest.fixture(scope="module")
def emu():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def giga(emu):
    return new_client(**{name: value for name, value in emu.config.items() if name not in ("env_file", "environ")})


# ---- What is sent


class Pipe:
    """Give bytes as a pipe does: once, some at a time."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, size=-1):
        return self._file.read(min(size, 1000) if size >= 0 else -1)


def opened(path):
    return open(str(path), "rb")


def moved(path):
    file = opened(path)
    file.seek(3)
    return file


def written(file, content):
    file.write(content)
    return file


def of_zip(path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/a.txt", path.read_bytes())
    return zipfile.ZipFile(packed).open("inner/a.txt")


def of_tar(path, mode="r"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(str(path))
    packed.seek(0)
    archive = tarfile.open(fileobj=packed, mode=mode)
    return "a.epub", archive.extractfile(archive.next())  # which has no name before Python 3.13


def of_pipe(path):
    end, beginning = os.pipe()

    def write():
        with os.fdopen(beginning, "wb") as file:
            file.write(path.read_bytes())

    start(write)
    return os.fdopen(end, "rb", buffering=0)


FORMS = {  # what makes it of the path of Отчёт.pdf, the file's name, its type
    "string": (str, "Отчёт.pdf", PDF),
    "path": (pathlib.Path, "Отчёт.pdf", PDF),
    "file": (opened, "Отчёт.pdf", PDF),
    "file that was read": (moved, "Отчёт.pdf", PDF),
    "file by number": (lambda path: os.fdopen(os.open(str(path), os.O_RDONLY), "rb"), "upload.bin", OCTET),
    "bytes": (lambda path: path.read_bytes(), "upload.bin", OCTET),
    "bytearray": (lambda path: bytearray(path.read_bytes()), "upload.bin", OCTET),
    "memoryview": (lambda path: memoryview(path.read_bytes()), "upload.bin", OCTET),
    "BytesIO": (lambda path: io.BytesIO(path.read_bytes()), "upload.bin", OCTET),
    "stream": (lambda path: Pipe(path.read_bytes()), "upload.bin", OCTET),
    "pipe": (of_pipe, "upload.bin", OCTET),
    "temporary": (lambda path: written(tempfile.NamedTemporaryFile(suffix=".wav"), path.read_bytes()), ".wav$",
                  "audio/x-wav"),
    "spooled": (lambda path: written(tempfile.SpooledTemporaryFile(9), path.read_bytes()), "upload.bin", OCTET),
    "zip member": (of_zip, "a.txt", TEXT),
    "tar member": (of_tar, "a.epub", TYPES["epub"]),
    "tar stream": (lambda path: of_tar(path, "r|"), "a.epub", TYPES["epub"]),
    "name, file": (lambda path: ("a.mp3", opened(path)), "a.mp3", "audio/mp3"),
    "None, path": (lambda path: (None, path), "Отчёт.pdf", PDF),
    "name, stream, None": (lambda path: ("a.txt", Pipe(path.read_bytes()), None), "a.txt", TEXT),
    "name, bytes, type": (lambda path: ("a.txt", path.read_bytes(), "audio/wave"), "a.txt", "audio/wave"),
    "name, file, long type": (lambda path: ("a", opened(path), 'text/plain; charset="utf-8"'), "a", TEXT),
}


@pytest.mark.parametrize("form, name, mime", FORMS.values(), ids=list(FORMS))
def test_every_form_arrives_whole(api, tmp_path, form, name, mime):
    path = tmp_path / "Отчёт.pdf"
    path.write_bytes(CONTENT)
    running = api([reply(401), BUSY, STORED])
    given = form(path)
    answer = client_of(running, access_token=None, credentials="YTpi").upload_file(given)
    assert answer == FILE and answer.id_ == "f-1" and answer.bytes_ == 5 and answer.modalities is None
    for each in given if isinstance(given, tuple) else [given]:
        if hasattr(each, "close"):
            assert not each.closed, "the caller's file is the caller's to close"
            each.close()
    for request in running.calls:
        parts = parts_of(request)
        assert (request.method, request.path, list(parts)) == ("POST", "/api/v1/files", ["purpose", "file"])
        assert parts["purpose"].content == b"general" and parts["file"].content == CONTENT
        assert re.search(name, parts["file"].filename) and parts["file"].content_type == mime
    assert len(running.calls) == 3 and len({request.body for request in running.calls}) == 1


def test_the_body_is_this_to_the_byte(api):
    running = api(STORED)
    client_of(running).upload_file(("ы.txt", b"text"), "assistant", headers=JSON)
    (request,) = running.calls
    boundary = re.fullmatch("multipart/form-data; boundary=([0-9a-f]{32})", request.headers["Content-Type"]).group(1)
    assert request.headers.get_all("Content-Type") == [request.headers["Content-Type"]]
    assert "Transfer-Encoding" not in request.headers and request.headers["Accept"] == "application/json"
    lines = [
        f"--{boundary}", 'Content-Disposition: form-data; name="purpose"', "", "assistant",
        f"--{boundary}", 'Content-Disposition: form-data; name="file"; filename="ы.txt"', "Content-Type: text/plain",
        "", "text", f"--{boundary}--", ""]
    assert request.body == "\r\n".join(lines).encode()


@pytest.mark.parametrize("name", [
    'a "quoted" name.txt', "Отчёт за 2025 год.txt", "two\r\nlines.txt", 'x"\r\nContent-Type: text/html\r\n\r\n.txt',
    "🙂.txt", "sem;i=colon.txt", "a" * 300 + ".txt", "no UTF-8: \udcff.txt"])
def test_names_stay_inside_their_quotes(giga, name):
    assert giga.upload_file((name, b"x")).filename == name.replace("\udcff", "?")


@pytest.mark.parametrize("name, head, mime", [
    ("A.JPG", b"", "image/jpeg"), ("a.b.tif", b"", "image/tiff"), ("notes.md", "# Да".encode(), TEXT),
    ("data.csv", b"", TEXT), ("Makefile", b"all:\n\techo\n", TEXT), ("", PNG, "image/png"),
    ("photo", b"\xff\xd8\xff\xe0", "image/jpeg"), ("", b"%PDF-1.7\0", PDF), ("", b"ID3\4", "audio/mp3"),
    ("", b"RIFF\0\0\0\0WAVEfmt ", "audio/x-wav"), ("", b"OggS\0", "audio/x-ogg"), ("", b"II*\0", "image/tiff"),
    ("", b"BM\1\1\1\1\0\0\0\0", "image/bmp"), ("", b"BMW is a text", TEXT), ("", b"\0\0\0\x20ftypM4A ", "audio/x-m4a"),
    ("", b"\0\0\0\x20ftypisom", "audio/mp4"), ("a.exe", b"MZ\0", OCTET), ("a.zip", b"PK\3\4", OCTET),
    *[("x." + extension, b"\0", mime) for extension, mime in TYPES.items()]])
def test_types_are_told_by_name_then_content(name, head, mime):
    assert find_type(name, head)[0] == mime


def test_types_and_limits_are_the_emulators():
    assert set(TYPES.values()) <= {name for names in emulated.TYPES.values() for name in names}
    assert LIMITS == emulated.LIMITS


# ---- What frameworks call an uploaded file


def of_werkzeug(name, mime):
    return pytest.importorskip("werkzeug.datastructures").FileStorage(io.BytesIO(CONTENT), name, "field", mime)


def of_flask(name, mime):
    app, data = pytest.importorskip("flask").Flask("test"), {"field": (io.BytesIO(CONTENT), name, mime)}
    return app.test_request_context(method="POST", data=data).request.files["field"]


def of_starlette(name, mime):
    made = pytest.importorskip("starlette.datastructures")
    file = written(tempfile.SpooledTemporaryFile(10), CONTENT)
    return made.UploadFile(file, filename=name, headers=made.Headers({"content-type": mime}))


def of_django(name, mime):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old releases of it warn of themselves
        uploaded = pytest.importorskip("django.core.files.uploadedfile")
    settings = pytest.importorskip("django.conf").settings
    if not settings.configured:
        settings.configure()
    return uploaded.SimpleUploadedFile(name, CONTENT, mime)


def like_aiohttp(name, mime):  # and Bottle, Litestar and Python's own cgi
    return SimpleNamespace(name="field", filename=name, file=io.BytesIO(CONTENT), content_type=mime)


@pytest.mark.parametrize("name, mime, expected", [
    ("Отчёт.pdf", PDF, PDF), ("Отчёт.PDF", OCTET, PDF), ("a.mp3", "audio/mpeg", "audio/mp3"),
    ("a", TYPES["doc"], TYPES["doc"]), ("a.webp", "image/webp; q=1", "image/webp"), (None, OCTET, OCTET)])
@pytest.mark.parametrize("framework", [of_werkzeug, of_flask, of_starlette, of_django, like_aiohttp])
@pytest.mark.parametrize("method", ["upload_file", "aupload_file"])
def test_uploads_of_frameworks_keep_their_names(api, method, framework, name, mime, expected):
    if name is None and framework in (of_flask, of_django):
        pytest.skip("a file without a name is none there")
    running, given = api(STORED), framework(name, mime)
    answer = getattr(client_of(running), method)(given)
    assert (asyncio.run(answer) if method == "aupload_file" else answer) == FILE
    getattr(given, "file", given).close()
    part = parts_of(running.calls[0])["file"]
    assert (part.filename, part.content_type, part.content) == (name or "upload.bin", expected, CONTENT)


# ---- What is refused before anything is sent


async def read_by_await(size=-1):
    return CONTENT


def broken(size):
    raise socket.gaierror(errno.EIO, "Input/output error")


REFUSED = [
    ("report.pdf", FileNotFoundError, "No such file.*a string is a path.*'report.pdf'"),
    ("the text itself\n" * 1000, OSError, "File name too long.*a string is a path"),
    (pathlib.Path("report.pdf"), FileNotFoundError, r"directory: 'report.pdf'"),
    (".", IsADirectoryError, "Is a directory"),
    (("a.txt", "report.pdf"), TypeError, r"text.encode\(\) is the text, Path\(text\) a file"),
    (io.StringIO("text"), TypeError, "'rb'"),
    (io.TextIOWrapper(io.BytesIO()), TypeError, "'rb'.*give its .buffer"),
    (("a.txt", io.StringIO("text")), TypeError, "'rb'"),
    (SimpleNamespace(read=lambda size: "text"), TypeError, "reads bytes .* not str: open it with 'rb'"),
    (SimpleNamespace(body=b"", filename="a"), TypeError, "give its .body"),
    (SimpleNamespace(read=read_by_await), TypeError, r"give \(name, await file.read\(\)\)"),
    (SimpleNamespace(read=broken), OSError, "Input/output error"),  # no fault of the network
    (5, TypeError, "a path, bytes or a file .* not int"),
    (None, TypeError, "not NoneType"),
    (["a.txt", b""], TypeError, "not list"),
    (("a.txt",), TypeError, r"\(name, data, type\)"),
    (("a.txt", b"", TEXT, {}), TypeError, r"\(name, data, type\)"),
    ((5, b""), TypeError, "are strings"),
    ((b"a.txt", b""), TypeError, "are strings"),
    (("a.txt", b"", 5), TypeError, "are strings"),
    (("a.txt", b"", "text"), ValueError, "'text' is no type"),
    (("a.txt", b"", ""), ValueError, "is no type"),
    (("a.txt", b"", "text/plain\r\nX: y"), ValueError, "is no type"),
    (("a.png", SimpleNamespace(read=lambda size: b"\0" * size)), ValueError, "a.png is too large"),  # without an end
]


@pytest.mark.parametrize("given, error, words", REFUSED)
def test_what_is_no_file_is_refused(api, given, error, words):
    running = api(STORED)
    with pytest.raises(error, match=words) as caught:
        client_of(running).upload_file(given)
    assert not running.requests and len(str(caught.value)) < 400 and not isinstance(caught.value, GigaChatException)
    with pytest.raises(TypeError, match="purpose"):
        client_of(running).upload_file(b"x", 5)


@pytest.mark.parametrize("name, mime, limit", [
    ("a.png", None, 15), ("a.mp3", None, 35), ("a.pdf", None, 40), ("a.bin", "image/webp", 15),
    ("a.bin", TYPES["doc"], 40), ("a.txt", "AUDIO/wav", 35)])
def test_files_over_the_limits_are_refused(name, mime, limit):
    size = limit * MB
    assert size < len(encode_upload((name, bytes(size), mime))[0]) < size + 1000
    with pytest.raises(ValueError, match=f"{name} is too large: .* {limit} MB"):
        encode_upload((name, bytes(size + 1), mime))
    assert len(encode_upload(("a.bin", bytes(size + 1)))[0]) > size  # what is not documented may have any size


def test_files_without_a_length_are_sent(giga):
    assert giga.upload_file(("empty.txt", b"")).bytes == giga.upload_file(("empty.txt", Pipe(b""))).bytes == 0
    with open("/proc/self/cmdline", "rb") as file:  # of 0 bytes, it says
        assert giga.upload_file(("a.txt", file)).bytes == len(pathlib.Path("/proc/self/cmdline").read_bytes()) > 0


# ---- Sent once


@pytest.mark.parametrize("last", [
    reply(400), reply(500), reply(502), reply(504), drop(), drop("rst"), reply(200, b"{", length=9), never()])
def test_what_may_be_stored_is_not_sent_again(api, last):
    running = api([last])
    with pytest.raises((ResponseError, TransportError)):
        client_of(running).upload_file(b"x", timeout=(5, 0.2))
    assert len(running.calls) == 1


@pytest.mark.parametrize("options, words", [
    ({"timeout": 0.05}, "nothing came for 0.05 s"), ({"deadline": 0.1}, "the deadline of this call ran out")])
def test_a_server_that_does_not_read_times_out(options, words):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        giga = new_client(base_url=url + "/api/v1", auth_url=url + "/oauth", access_token="t", timeout=(5, 5))
        began = time.monotonic()
        with pytest.raises(RequestTimeout, match=words):
            giga.upload_file(("a.bin", bytes(20 * MB)), **options)
        assert time.monotonic() - began < 4


@responses.activate
def test_stand_ins_for_the_network_see_the_body():
    seen = []
    responses.add_callback("POST", "http://localhost/v1/files",
                           lambda request: seen.append(request.body) or (200, {}, json.dumps(FILE)))
    giga = new_client(base_url="http://localhost/v1", access_token="t")
    assert giga.upload_file(("a.txt", b"text")) == FILE and b"\r\n\r\ntext\r\n--" in seen[0]


# ---- Read and deleted


def test_files_come_go_and_are_found(giga, tmp_path):
    mine = {"headers": {"X-Client-ID": "come-and-go"}}
    file = giga.upload_file(("a.txt", "Привет".encode()), **mine)
    assert giga.get_file(file.id, **mine) == file and file.purpose == "general" and file.modalities == ["text"]
    assert giga.get_files(**mine).data == [file]
    assert giga.download_file(file.id, tmp_path / "b", **mine) == file.bytes == 12
    assert (tmp_path / "b").read_text(encoding="utf-8") == "Привет"
    gone = giga.delete_file(file.id, **mine)
    assert gone.deleted is True and gone.id_ == file.id and giga.get_files(**mine) == {"data": []}
    with pytest.raises(NotFoundError, match="Check the file's id"):
        giga.get_file(file.id, **mine)


def test_a_file_belongs_to_its_client_id(giga, tmp_path):
    token = client_id_cvar.set("user-1")
    try:
        file = giga.upload_file(PNG)
        assert giga.get_image(file.id).content == base64.b64encode(PNG).decode()
    finally:
        client_id_cvar.reset(token)
    for call in giga.get_file, giga.delete_file, giga.get_image, lambda id: giga.download_file(id, tmp_path / "x"):
        with pytest.raises(ForbiddenError, match="Access to file .* is denied.*X-Client-ID"):
            call(file.id)
    assert os.listdir(str(tmp_path)) == []
    assert giga.download_file(file.id, tmp_path / "x", headers={"X-Client-ID": "user-1"}) == len(PNG)


def test_ids_stay_inside_their_part_of_paths(api, tmp_path):
    running = api(reply(body=FILE))
    giga = client_of(running)
    giga.get_file("../models?x#y")
    giga.delete_file("a/b")
    giga.get_image("Я")
    giga.download_file("%2e", tmp_path / "x")
    assert [request.path[14:] for request in running.calls] == [
        "..%2Fmodels%3Fx%23y", "a%2Fb/delete", "%D0%AF/content", "%252e/content"]
    for call in giga.get_file, giga.delete_file, giga.get_image, lambda id: giga.download_file(id, tmp_path / "y"):
        for bad in "", "..", None, 5:
            with pytest.raises(ValueError, match="an id is needed"):
                call(bad)
    assert len(running.calls) == 4 and os.listdir(str(tmp_path)) == ["x"]


def test_deleting_sends_nothing_and_once(api):
    recorded = reply(body={"id": "123", "object": "file", "deleted": True})
    running = api([BUSY, recorded, reply(500)])
    giga = client_of(running)
    assert giga.delete_file("123").object == "file"
    request = running.calls[-1]
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/files/123/delete", b"")
    assert request.headers["Content-Length"] == "0" and "Content-Type" not in request.headers
    with pytest.raises(ServerError):
        giga.delete_file("123")
    assert len(running.calls) == 3


def test_an_image_is_base64_and_saves_itself(api, tmp_path):
    running = api(reply(body=CONTENT, headers={"Content-Type": "image/jpeg", "X-Request-Id": "r-1"}))
    image = client_of(running).get_image("i-1")
    assert image.content == base64.b64encode(CONTENT).decode() and image.x_headers["x-request-id"] == "r-1"
    (tmp_path / "a.jpg").write_bytes(b"old")
    for path in (tmp_path / "a.jpg", str(tmp_path / "b.jpg")):
        image.save(path)
    image.content = "!"
    with pytest.raises(ValueError):
        image.save(tmp_path / "a.jpg")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.jpg": CONTENT, "b.jpg": CONTENT}


# ---- Written to disk


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("kind", [OCTET, "image/jpeg", "application/json", TEXT, None])
def test_a_file_arrives_whole_however_sent(api, tmp_path, framing, kind):
    running = api(reply(body=[CONTENT[:70000], CONTENT[70000:]], headers={"Content-Type": kind}, framing=framing))
    giga = client_of(running)
    for path in tmp_path / "a", tmp_path / "b":
        assert giga.download_file("f-1", str(path)) == len(CONTENT) and path.read_bytes() == CONTENT
    assert running.connections == (2 if framing == "close" else 1) and sorted(os.listdir(str(tmp_path))) == ["a", "b"]
    headers = running.calls[0].headers
    assert headers["Accept-Encoding"] == "identity" and headers["Accept"] == "*/*"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_small_json_may_be_a_file(api, tmp_path, framing):
    bodies = ['{"status":429,"message":"Too many requests"}', '{"status":"kept"}', "" if framing != "close" else "{}"]
    running = api([reply(body=body, headers=JSON, framing=framing) for body in bodies])
    for body in bodies[1:]:  # the first is an error, and sent again after
        assert client_of(running).download_file("f-1", tmp_path / "a.json") == len(body)
        assert (tmp_path / "a.json").read_text() == body
    assert len(running.calls) == 3


WHOLE = reply(body=CONTENT, headers=OCTETS)
CHUNKED = reply(body=[CONTENT], headers=OCTETS, framing="chunked")
FAILURES = [
    *[(answer, TransportError, "broke off") for answer in (
        WHOLE.cut(100000), WHOLE.cut(100000, "rst"), WHOLE.cut(0), CHUNKED.cut(100000), CHUNKED.cut(len(CONTENT) + 9),
        reply(body=CONTENT, headers=OCTETS, length=len(CONTENT) + 1),
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"))],
    (reply(body=[CONTENT, 9.0], headers=OCTETS, framing="chunked"), RequestTimeout, "deadline"),
    pytest.param(WHOLE.drip(0.01, 1000), RequestTimeout, "deadline", marks=pytest.mark.long),
    (reply(404, {"status": 404, "message": "No such model"}), NotFoundError, "Check the file's id"),
    (reply(body="<h1>Blocked</h1>", headers={"Content-Type": "text/html"}), ResponseError, "is no file: Blocked"),
    (reply(204, headers={"Content-Length": None}), ResponseError, "is no file: empty"),
    (reply(206, CONTENT[:9], OCTETS), ResponseError, "is no file"),
    (reply(302, headers={"Location": "/x"}), ResponseError, "Redirects"),
    (reply(body=gzip.compress(CONTENT), headers={**OCTETS, "Content-Encoding": "gzip"}), ResponseError, "compressed"),
    (reply(body={"status": 402, "message": "Payment required"}), ResponseError, "402"),
    (reply(500), ServerError, "500"),
    (drop(), TransportError, "closed"),
]


@pytest.mark.parametrize("answer, error, words", FAILURES)
def test_whatever_fails_leaves_what_was_there(api, tmp_path, answer, error, words):
    running = api(answer)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    giga = client_of(running, max_retries=0, deadline=0.05 if words == "deadline" else None)
    for target in path, tmp_path / "new.jpg":
        try:
            raise socket.timeout("of the caller, which is none of ours")
        except OSError:
            with pytest.raises(error, match=words) as caught:
                giga.download_file("f-1", target)
        assert isinstance(caught.value, RequestTimeout) == (words == "deadline")
    assert os.listdir(str(tmp_path)) == ["a.jpg"] and path.read_bytes() == b"old"
    assert {request.path.rpartition("/")[2] for request in running.calls} == {"content"}


def test_a_body_is_not_asked_for_again(api, tmp_path):
    running = api([BUSY, drop(), WHOLE, WHOLE.cut(5)])
    giga = client_of(running)
    assert giga.download_file("f-1", tmp_path / "a") == len(CONTENT)
    with pytest.raises(TransportError):
        giga.download_file("f-1", tmp_path / "a")
    assert len(running.calls) == 4 and (tmp_path / "a").read_bytes() == CONTENT


def test_files_keep_their_modes_and_links_lead(api, tmp_path):
    giga = client_of(api(WHOLE))
    secret, new, plain = (tmp_path / name for name in ("secret", "new", "plain"))
    for path in secret, plain:
        path.write_bytes(b"old")
    os.chmod(str(secret), 0o600)
    os.symlink("secret", str(tmp_path / "link"))
    giga.download_file("f-1", tmp_path / "link")
    giga.download_file("f-1", new)
    assert os.readlink(str(tmp_path / "link")) == "secret" and secret.read_bytes() == CONTENT
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and new.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("path, error", [("no/such/a", FileNotFoundError), (".", IsADirectoryError), ("", OSError)])
def test_nothing_is_asked_for_without_a_place(api, tmp_path, path, error):
    running = api(WHOLE)
    with pytest.raises(error) as caught:
        client_of(running).download_file("f-1", path)
    assert not running.calls and os.listdir(str(tmp_path)) == [] and ".part" not in str(caught.value)


def test_a_fifo_is_written_as_it_is(api, tmp_path):
    running = api(WHOLE)
    giga = client_of(running)
    path = str(tmp_path / "pipe")  # never a device of the machine, which a fault here would put an end to
    os.mkfifo(path)
    reader = start(pathlib.Path(path).read_bytes)
    assert giga.download_file("f-1", path) == len(CONTENT) and finish(reader) == [CONTENT]
    reader = start(lambda: os.close(os.open(path, os.O_RDONLY)))
    with pytest.raises(BrokenPipeError):  # the reader's fault, not the network's
        giga.download_file("f-1", path)
    finish(reader)
    assert stat.S_ISFIFO(os.stat(path).st_mode) and os.listdir(str(tmp_path)) == ["pipe"]
    assert giga.download_file("f-1", tmp_path / "file") == len(CONTENT) and running.connections == 2


@pytest.mark.long
def test_a_full_disk_leaves_what_was_there(api, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    code = """
import os, resource, sys
from gigachat_lite import GigaChat
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, resource.RLIM_INFINITY))
try:
    GigaChat(base_url=sys.argv[1], access_token="t", env_file=False).download_file("f-1", "a")
except OSError as error:
    print(type(error).__name__, error.errno, os.listdir("."))
"""
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent.parent)}
    said = subprocess.check_output([sys.executable, "-c", code, api(WHOLE).base_url], env=env, timeout=100)
    assert said.decode().split() == ["OSError", str(errno.EFBIG), "['a']"]
    assert (tmp_path / "a").read_bytes() == b"old"
