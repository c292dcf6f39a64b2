"""Files: every form in which one is given, what is sent for it, what is written to disk, and what must not happen."""
from __future__ import annotations

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
import threading
import time
from types import SimpleNamespace

import pytest
import responses

from clients import finish, new_client, start
from gigachat_lite import (
    AuthenticationError,
    Emulator,
    ForbiddenError,
    GigaChatException,
    NotFoundError,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TransportError,
    client_id_cvar,
)
from gigachat_lite.emulator import files as emulated
from gigachat_lite.files import LIMITS, TYPES, Upload, find_type
from servers import drop, never, raw, reply

FILE = {"id": "f-1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.txt", "purpose": "general"}
STORED = reply(body=FILE)
BUSY = reply(503, {"status": 503, "message": "busy"})
CONTENT = bytes(range(256)) * 700  # some pieces' worth of it, no text
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
PNG = b"\x89PNG\r\n\x1a\n\0\0"
MB = 1 << 20


class Pipe:
    """Give bytes as a pipe does: once, from where it stands, some at a time."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, size=-1):
        return self._file.read(min(size, 1000) if size >= 0 else -1)


class Odd(io.BytesIO):
    """Be a file that is not what it was when it was measured: `more` bytes longer, or one that fails to be read."""

    def __init__(self, content, more=0, fails_at=None):
        super().__init__(content)
        self._more, self._fails_at = more, fails_at

    def tell(self):
        return super().tell() + self._more

    def read(self, size=-1):
        if self._fails_at is not None and super().tell() >= self._fails_at:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


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


def opened(path):
    return open(str(path), "rb")


def moved(path):
    file = opened(path)
    file.seek(3)
    return file


def by_number(path):
    return os.fdopen(os.open(str(path), os.O_RDONLY), "rb")


FORMS = [  # what makes it of the path of Отчёт.pdf, the file's name, its type
    (str, "Отчёт.pdf", "application/pdf"),
    (pathlib.Path, "Отчёт.pdf", "application/pdf"),
    (opened, "Отчёт.pdf", "application/pdf"),
    (moved, "Отчёт.pdf", "application/pdf"),
    (by_number, "upload.bin", "application/octet-stream"),
    (lambda path: path.read_bytes(), "upload.bin", "application/octet-stream"),
    (lambda path: bytearray(path.read_bytes()), "upload.bin", "application/octet-stream"),
    (lambda path: memoryview(path.read_bytes()), "upload.bin", "application/octet-stream"),
    (lambda path: io.BytesIO(path.read_bytes()), "upload.bin", "application/octet-stream"),
    (lambda path: Pipe(path.read_bytes()), "upload.bin", "application/octet-stream"),
    (lambda path: ("a.PNG", path.read_bytes()), "a.PNG", "image/png"),
    (lambda path: ("a.mp3", opened(path)), "a.mp3", "audio/mp3"),
    (lambda path: ("a.docx", path), "a.docx", TYPES["docx"]),
    (lambda path: (None, path), "Отчёт.pdf", "application/pdf"),
    (lambda path: ("a.txt", Pipe(path.read_bytes()), None), "a.txt", "text/plain"),
    (lambda path: ("a.txt", path.read_bytes(), "audio/wave"), "a.txt", "audio/wave"),
    (lambda path: ("a", opened(path), 'text/plain; charset="utf-8"'), "a", "text/plain"),
]


@pytest.mark.parametrize("form, name, mime", FORMS)
def test_every_form_arrives_whole_under_its_name_and_type(api, tmp_path, form, name, mime):
    path = tmp_path / "Отчёт.pdf"
    path.write_bytes(CONTENT)
    running = api(STORED)
    given = form(path)
    answer = client_of(running).upload_file(given)
    assert answer == FILE and answer.id_ == "f-1" and answer.bytes_ == 5 and answer.modalities is None
    for each in given if isinstance(given, tuple) else [given]:
        if hasattr(each, "close"):
            assert not each.closed, "the caller's file is the caller's to close"
            each.close()
    (request,) = running.calls
    parts = parts_of(request)
    assert (request.method, request.path) == ("POST", "/api/v1/files") and list(parts) == ["purpose", "file"]
    assert parts["purpose"].content == b"general" and parts["file"].content == CONTENT
    assert (parts["file"].filename, parts["file"].content_type) == (name, mime)


def test_the_body_is_this_to_the_byte(api):
    running = api(STORED)
    client_of(running).upload_file(("ы.txt", b"text"), "assistant", headers={"Content-Type": "application/json"})
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
    "back\\slash\\.txt", "tab\t.txt", "🙂.txt", "sem;i=colon.txt", "a" * 300 + ".txt"])
def test_names_arrive_as_they_are_and_stay_inside_their_quotes(giga, name):
    assert giga.upload_file((name, b"x")).filename == name.replace("\t", "%09")  # of which a form has no escape


def test_a_name_that_is_no_utf_8_is_still_a_name(api, tmp_path):
    path = os.fsencode(str(tmp_path)) + b"/\xff.txt"
    with open(path, "wb") as file:
        file.write(b"x")
    running = api(STORED)
    client_of(running).upload_file(os.fsdecode(path))
    assert parts_of(running.calls[0])["file"].filename == "?.txt"


@pytest.mark.parametrize("name, head, mime", [
    ("A.JPG", b"", "image/jpeg"), ("a.b.tif", b"", "image/tiff"), ("notes.md", "# Да".encode(), "text/plain"),
    ("data.csv", b"", "text/plain"), ("Makefile", b"all:\n\techo\n", "text/plain"), ("", PNG, "image/png"),
    ("photo", b"\xff\xd8\xff\xe0", "image/jpeg"), ("", b"%PDF-1.7\0", "application/pdf"), ("", b"ID3\4", "audio/mp3"),
    ("", b"RIFF\0\0\0\0WAVEfmt ", "audio/x-wav"), ("", b"OggS\0", "audio/x-ogg"), ("", b"II*\0", "image/tiff"),
    ("", b"BM\1\1\1\1\0\0\0\0", "image/bmp"), ("", b"BMW is a text", "text/plain"),
    ("", b"\0\0\0\x20ftypM4A ", "audio/x-m4a"), ("", b"\0\0\0\x20ftypisom", "audio/mp4"),
    ("a.exe", b"MZ\0", "application/octet-stream"), ("a.zip", b"PK\3\4", "application/octet-stream")])
def test_types_are_told_by_name_then_by_content(name, head, mime):
    assert find_type(name, head)[0] == mime


def test_types_and_limits_are_the_ones_of_the_service():
    known = {name: kind for kind, names in emulated.TYPES.items() for name in names}
    assert set(TYPES.values()) <= set(known) and LIMITS == emulated.LIMITS
    for extension, mime in TYPES.items():
        assert find_type("x." + extension, b"\0") == (mime, extension)


# ---- What is refused before anything is sent


REFUSED = [
    ("report.pdf", FileNotFoundError, "No such file.*a string is a path.*'report.pdf'"),
    ("the text itself\n" * 1000, OSError, "File name too long.*a string is a path"),
    (pathlib.Path("report.pdf"), FileNotFoundError, r"directory: 'report.pdf'"),
    (".", IsADirectoryError, "Is a directory"),
    (("a.txt", "report.pdf"), TypeError, r"text.encode\(\) is the text, Path\(text\) a file"),
    (("a.txt", "text", "text/plain"), TypeError, r"text.encode\(\)"),
    (io.StringIO("text"), TypeError, "'rb'"),
    (("a.txt", io.StringIO("text")), TypeError, "'rb'"),
    (5, TypeError, "a path, bytes or a file .* not int"),
    (None, TypeError, "not NoneType"),
    (["a.txt", b""], TypeError, "not list"),
    (("a.txt",), TypeError, r"\(name, data, type\)"),
    (("a.txt", b"", "text/plain", {}), TypeError, r"\(name, data, type\)"),
    ((5, b""), TypeError, "are strings"),
    ((b"a.txt", b""), TypeError, "are strings"),
    (("a.txt", b"", 5), TypeError, "are strings"),
    (("a.txt", b"", "text"), ValueError, "'text' is no type"),
    (("a.txt", b"", ""), ValueError, "is no type"),
    (("a.txt", b"", "text/plain\r\nX: y"), ValueError, "is no type"),
]


@pytest.mark.parametrize("given, error, words", REFUSED)
def test_what_is_no_file_is_refused_before_anything_is_sent(api, tmp_path, given, error, words):
    running = api(STORED)
    with pytest.raises(error, match=words) as caught:
        client_of(running).upload_file(given)
    assert not running.requests and len(str(caught.value)) < 400


def test_a_purpose_is_a_string_and_a_text_file_is_closed_by_its_owner_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x", encoding="utf-8")
    with open(str(path), encoding="utf-8") as file, pytest.raises(TypeError, match="'rb'"):
        Upload(file)
    with pytest.raises(TypeError, match="purpose"):
        Upload(path, 5)


@pytest.mark.parametrize("name, mime, limit", [
    ("a.png", None, 15 * MB), ("a.mp3", None, 35 * MB), ("a.txt", None, 40 * MB), ("a.pdf", None, 40 * MB),
    ("a.bin", "image/webp", 15 * MB), ("a.bin", "application/msword", 40 * MB), ("a.txt", "AUDIO/wav", 35 * MB)])
def test_what_is_larger_than_the_service_takes_is_refused_before_anything_is_sent(api, tmp_path, name, mime, limit):
    path = tmp_path / name
    running = api(STORED)
    with open(str(path), "wb") as file:
        file.truncate(limit + 1)
    for size in limit, limit + 1:
        os.truncate(str(path), size)
        given = (name, path, mime)
        if size == limit:
            body = Upload(given)
            assert limit < len(body) < limit + 1000
            body.close()
        else:
            with pytest.raises(ValueError, match=f"{name} is too large: .* {limit >> 20} MB"):
                client_of(running).upload_file(given)
    assert not running.requests


def test_a_pipe_without_an_end_is_not_read_for_ever():
    endless = SimpleNamespace(read=lambda size: b"\0" * size)
    with pytest.raises(ValueError, match="a.png is too large"):
        Upload(("a.png", endless))


def test_types_that_are_not_documented_may_be_of_any_size(tmp_path):
    with open(str(tmp_path / "a.bin"), "wb") as file:
        file.truncate(100 * MB)
    body = Upload(tmp_path / "a.bin")
    assert body.size == 100 * MB
    body.close()


def test_an_empty_file_is_sent_and_the_service_decides(giga):
    assert giga.upload_file(("empty.txt", b"")).bytes == 0
    assert giga.upload_file(("empty.txt", Pipe(b""))).bytes == 0


def test_a_file_that_does_not_tell_its_length_is_sent_whole(api, tmp_path):
    running = api(STORED)
    with open("/proc/self/cmdline", "rb") as file:  # of 0 bytes, it says
        client_of(running).upload_file(file)
    with open("/proc/self/cmdline", "rb") as file:
        assert parts_of(running.calls[0])["file"].content == file.read() != b""


def test_a_pipe_of_the_system_is_sent_whole(api):
    running = api(STORED)
    end, start_of = os.pipe()
    writer = start(lambda: (os.write(start_of, CONTENT[:60000]), os.close(start_of)))
    with os.fdopen(end, "rb") as file:
        client_of(running).upload_file(("a.bin", file))
    finish(writer)
    assert parts_of(running.calls[0])["file"].content == CONTENT[:60000]


# ---- Sent again, and not


@pytest.mark.parametrize("first", [BUSY, reply(429, {"status": 429, "message": "Too many requests"}), reply(401)])
@pytest.mark.parametrize("form", [str, opened, moved, lambda path: ("a", path.read_bytes())])
def test_a_file_is_rewound_and_sent_again_whole(api, tmp_path, first, form):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    running = api([first, first if first is BUSY else STORED, STORED])
    given = form(path)
    client_of(running, access_token=None, credentials="YTpi").upload_file(given)
    if hasattr(given, "close"):
        given.close()
    bodies = [request.body for request in running.calls]
    assert len(bodies) == (3 if first is BUSY else 2) and len(set(bodies)) == 1
    assert parts_of(running.calls[-1])["file"].content == CONTENT


@pytest.mark.parametrize("status, error", [(503, ServerError), (429, RateLimitError), (401, AuthenticationError)])
def test_what_cannot_be_rewound_is_not_sent_again_and_the_error_says_so(api, status, error):
    running = api([reply(status, {"status": status, "message": "no"}), STORED])
    giga = client_of(running, access_token=None, credentials="YTpi")
    with pytest.raises(error, match="The file cannot be rewound, so it was not sent again") as caught:
        giga.upload_file(Pipe(CONTENT))
    assert str(caught.value).count("rewound") == 1 and len(running.calls) == 1
    assert parts_of(running.calls[0])["file"].content == CONTENT
    giga.upload_file(b"x")
    assert running.calls[1].headers["Authorization"] == ("Bearer token-2" if status == 401 else "Bearer token-1")


def test_a_file_closed_in_the_meantime_is_not_sent_again(api):
    file = io.BytesIO(CONTENT)
    running = api([lambda request, connection: file.close() or BUSY, STORED])
    with pytest.raises(ServerError, match="503 busy.*cannot be rewound"):
        client_of(running).upload_file(file)
    assert len(running.calls) == 1


def test_an_error_that_is_final_says_nothing_about_sending_again(api):
    running = api(reply(400, {"status": 400, "message": "Unsupported"}))
    with pytest.raises(ResponseError) as caught:
        client_of(running).upload_file(Pipe(b"x"))
    assert "rewound" not in str(caught.value)


def test_what_was_not_begun_may_be_sent_from_a_pipe_too(api):
    body = Upload(Pipe(b"x"))
    assert body.rewind(GigaChatException())
    assert b"".join(body).count(b"\r\nx\r\n") == 1
    assert not body.rewind(GigaChatException())
    body.close()


@pytest.mark.parametrize("last", [reply(500), reply(502), reply(504), drop(), drop("rst"), reply(200, b"{", length=9)])
def test_what_may_have_made_a_file_is_not_sent_again(api, last):
    running = api([last])
    with pytest.raises((ServerError, TransportError)):
        client_of(running).upload_file(b"x")
    assert len(running.calls) == 1


@pytest.mark.parametrize("file, words", [
    (Odd(CONTENT, more=1), "upload.bin has another length than before"),
    (Odd(CONTENT, fails_at=50000), "upload.bin could not be read while it was sent: .*Input/output error")])
def test_a_file_that_fails_while_it_is_sent_makes_nothing(api, file, words):
    running = api(STORED)
    giga = client_of(running)
    with pytest.raises(GigaChatException, match=words) as caught:
        giga.upload_file(file)
    assert not isinstance(caught.value, TransportError) and not running.calls
    giga.upload_file(b"x")
    assert len(running.calls) == 1 and running.connections == 2


def test_a_file_that_has_grown_is_sent_as_long_as_it_was(api):
    running = api(STORED)
    client_of(running).upload_file(Odd(CONTENT, more=-10))
    assert parts_of(running.calls[0])["file"].content == CONTENT[:-10]


@pytest.mark.parametrize("options, words", [
    ({"timeout": 0.05}, "nothing came for 0.05 s"), ({"deadline": 0.1}, "the deadline of this call ran out")])
def test_a_server_that_does_not_read_is_not_waited_for(options, words):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        giga = new_client(base_url=url + "/api/v1", auth_url=url + "/oauth", access_token="t", timeout=(5, 5))
        began = time.monotonic()
        with pytest.raises(RequestTimeout, match=words):
            giga.upload_file(("a.bin", bytes(20 * MB)), **options)
        assert time.monotonic() - began < 4


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_asked(api):
    running = api(never())
    with pytest.raises(RequestTimeout):
        client_of(running).upload_file(b"x", timeout=(5, 0.05))
    assert len(running.calls) == 1


def test_uploads_from_many_threads_do_not_mix(api, tmp_path):
    running = api(lambda request, connection: reply(body={**FILE, "filename": parts_of(request)["file"].filename}))
    giga = client_of(running)
    barrier = threading.Barrier(8)

    def upload(number):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(bytes([number]) * (100000 + number))
        barrier.wait()
        return [giga.upload_file(path).filename for _ in range(3)]

    assert finish(*[start(upload, number) for number in range(8)]) == [[f"{number}.bin"] * 3 for number in range(8)]
    for request in running.calls:
        part = parts_of(request)["file"]
        number = int(part.filename.partition(".")[0])
        assert part.content == bytes([number]) * (100000 + number)


@responses.activate
def test_stand_ins_for_the_network_see_the_body():
    seen = []
    responses.add_callback(
        "POST", "http://localhost/v1/files",
        lambda request: seen.append(b"".join(request.body)) or (200, {}, json.dumps(FILE)))
    giga = new_client(base_url="http://localhost/v1", access_token="t")
    assert giga.upload_file(("a.txt", b"text")) == FILE and b"\r\n\r\ntext\r\n--" in seen[0]


# ---- Read and deleted


def test_files_come_go_and_are_found_again(giga, tmp_path):
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


def test_a_file_is_read_with_the_client_id_that_it_was_made_with(giga, tmp_path):
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


def test_ids_stay_inside_their_part_of_the_path(api, tmp_path):
    running = api(reply(body=FILE))
    giga = client_of(running)
    giga.get_file("../models?x#y")
    giga.delete_file("a/b")
    giga.get_image("Я")
    giga.download_file("%2e", tmp_path / "x")
    assert [request.path for request in running.calls] == [
        "/api/v1/files/..%2Fmodels%3Fx%23y", "/api/v1/files/a%2Fb/delete", "/api/v1/files/%D0%AF/content",
        "/api/v1/files/%252e/content"]
    for call in giga.get_file, giga.delete_file, giga.get_image, lambda id: giga.download_file(id, tmp_path / "y"):
        for bad in "", "..", None, 5:
            with pytest.raises(ValueError, match="an id is needed"):
                call(bad)
    assert len(running.calls) == 4 and os.listdir(str(tmp_path)) == ["x"]


def test_deleting_sends_an_empty_body_and_is_not_repeated_blindly(api):
    recorded = reply(body={"id": "123", "object": "file", "deleted": True})
    running = api([BUSY, recorded, reply(500)])
    giga = client_of(running)
    assert giga.delete_file("123").object == "file" and giga.get_files.__doc__
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
    image.save(tmp_path / "a.jpg")
    image.save(str(tmp_path / "b.jpg"))
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes() == CONTENT
    image.content = "!"
    with pytest.raises(ValueError):
        image.save(tmp_path / "a.jpg")
    assert sorted(os.listdir(str(tmp_path))) == ["a.jpg", "b.jpg"] and (tmp_path / "a.jpg").read_bytes() == CONTENT


# ---- Written to disk


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("kind", ["application/octet-stream", "image/jpeg", "application/json", "text/plain", None])
def test_a_file_arrives_whole_however_it_is_sent(api, tmp_path, framing, kind):
    running = api(reply(body=[CONTENT[:70000], CONTENT[70000:]], headers={"Content-Type": kind}, framing=framing))
    giga = client_of(running)
    for name in "a", "b":
        assert giga.download_file("f-1", str(tmp_path / name)) == len(CONTENT)
        assert (tmp_path / name).read_bytes() == CONTENT
    assert running.connections == (2 if framing == "close" else 1) and sorted(os.listdir(str(tmp_path))) == ["a", "b"]
    headers = running.calls[0].headers
    assert headers["Accept-Encoding"] == "identity" and headers["Accept"] == "*/*"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_small_json_is_a_file_too_and_an_error_in_it_is_an_error(api, tmp_path, framing):
    wrong, kept = '{"status":429,"message":"Too many requests"}', '{"status":"kept"}'
    running = api([reply(body=body, headers=JSON, framing=framing) for body in (wrong, kept)])
    assert client_of(running).download_file("f-1", tmp_path / "a.json") == 17
    assert (tmp_path / "a.json").read_bytes() == b'{"status":"kept"}' and len(running.calls) == 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_empty_file_is_written_too(api, tmp_path, framing):
    assert client_of(api(reply(headers=OCTETS, framing=framing))).download_file("f-1", tmp_path / "a") == 0
    assert (tmp_path / "a").read_bytes() == b""


FAILURES = [
    (reply(body=CONTENT, headers=OCTETS).cut(100000), TransportError, "broke off"),
    (reply(body=CONTENT, headers=OCTETS).cut(100000, "rst"), TransportError, "broke off"),
    (reply(body=CONTENT, headers=OCTETS).cut(0), TransportError, "broke off"),
    (reply(body=CONTENT, headers=OCTETS, length=len(CONTENT) + 1), TransportError, "broke off"),
    (reply(body=CONTENT, headers=OCTETS, framing="chunked").cut(100000), TransportError, "broke off"),
    (reply(body=[CONTENT], headers=OCTETS, framing="chunked").cut(len(CONTENT) + 9), TransportError, "broke off"),
    (reply(body=[CONTENT, 9.0], headers=OCTETS, framing="chunked"), RequestTimeout, "deadline"),
    pytest.param(reply(body=CONTENT, headers=OCTETS).drip(0.01, 1000), RequestTimeout, "deadline",
                 marks=pytest.mark.long),
    (reply(404, {"status": 404, "message": "No such model"}), NotFoundError, "Check the file's id"),
    (reply(body="<h1>Blocked</h1>", headers={"Content-Type": "text/html"}), ResponseError, "is no file: Blocked"),
    (reply(204, headers={"Content-Length": None}), ResponseError, "is no file: empty"),
    (reply(206, CONTENT[:9], OCTETS), ResponseError, "is no file"),
    (reply(302, headers={"Location": "/x"}), ResponseError, "Redirects"),
    (reply(body=gzip.compress(CONTENT), headers={**OCTETS, "Content-Encoding": "gzip"}), ResponseError, "compressed"),
    (reply(body={"status": 402, "message": "Payment required"}), ResponseError, "402"),
    (reply(500), ServerError, "500"),
    (drop(), TransportError, "closed"),
    (raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"), TransportError, "broke off"),
]


@pytest.mark.parametrize("answer, error, words", FAILURES)
def test_whatever_fails_leaves_what_was_there_and_nothing_else(api, tmp_path, answer, error, words):
    running = api(answer)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    giga = client_of(running, max_retries=0, deadline=0.05 if words == "deadline" else None)
    for target in path, tmp_path / "new.jpg":
        with pytest.raises(error, match=words):
            giga.download_file("f-1", target)
    assert os.listdir(str(tmp_path)) == ["a.jpg"] and path.read_bytes() == b"old"
    assert {request.path.rpartition("/")[2] for request in running.calls} == {"content"}


def test_a_body_that_broke_off_is_not_asked_for_again_but_an_error_before_it_is(api, tmp_path):
    whole = reply(body=CONTENT, headers=OCTETS)
    running = api([BUSY, drop(), whole, whole.cut(5)])
    giga = client_of(running)
    assert giga.download_file("f-1", tmp_path / "a") == len(CONTENT)
    with pytest.raises(TransportError):
        giga.download_file("f-1", tmp_path / "a")
    assert len(running.calls) == 4 and (tmp_path / "a").read_bytes() == CONTENT


def test_a_download_below_an_exception_of_the_caller_is_judged_by_its_own(api, tmp_path):
    running = api(reply(body=CONTENT, headers=OCTETS).cut(9))
    try:
        raise socket.timeout("the caller's")
    except OSError:
        with pytest.raises(TransportError, match="broke off") as caught:
            client_of(running).download_file("f-1", tmp_path / "a")
    assert not isinstance(caught.value, RequestTimeout)


def test_a_file_keeps_its_mode_and_a_link_leads_where_it_led(api, tmp_path):
    giga = client_of(api(reply(body=CONTENT, headers=OCTETS)))
    (tmp_path / "secret").write_bytes(b"old")
    os.chmod(str(tmp_path / "secret"), 0o600)
    os.symlink("secret", str(tmp_path / "link"))
    giga.download_file("f-1", tmp_path / "link")
    assert os.readlink(str(tmp_path / "link")) == "secret" and (tmp_path / "secret").read_bytes() == CONTENT
    assert stat.S_IMODE(os.stat(str(tmp_path / "secret")).st_mode) == 0o600
    giga.download_file("f-1", tmp_path / "new")
    (tmp_path / "plain").write_bytes(b"")
    assert os.stat(str(tmp_path / "new")).st_mode == os.stat(str(tmp_path / "plain")).st_mode


@pytest.mark.parametrize("path, error", [("no/such/a", FileNotFoundError), (".", IsADirectoryError), ("", OSError)])
def test_where_nothing_can_be_written_nothing_is_asked_for(api, tmp_path, path, error):
    running = api(reply(body=CONTENT, headers=OCTETS))
    with pytest.raises(error) as caught:
        client_of(running).download_file("f-1", path)
    assert not running.calls and os.listdir(str(tmp_path)) == [] and ".part" not in str(caught.value)


def test_what_is_no_regular_file_is_written_as_it_is(api, tmp_path):
    running = api(reply(body=CONTENT, headers=OCTETS))
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


CHILD = """
import os, resource, sys
from gigachat_lite import GigaChat
giga = GigaChat(base_url=sys.argv[1], access_token="t", env_file=False, environ={})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""


def child(running, code, *arguments):
    """Run code in a new interpreter, with a client of its own, and return what it printed."""
    root = pathlib.Path(__file__).parent.parent
    command = [sys.executable, "-W", "error", "-c", CHILD + code, running.base_url, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)}, timeout=100, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode()


@pytest.mark.long
def test_a_disk_that_fills_up_on_the_way_leaves_what_was_there(api, tmp_path):
    running = api(reply(body=CONTENT, headers=OCTETS))
    (tmp_path / "a").write_bytes(b"old")
    said = child(running, """
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, resource.RLIM_INFINITY))
try:
    giga.download_file("f-1", "a")
except OSError as error:
    print(type(error).__name__, error.errno, os.listdir("."))
""")
    assert said.split() == ["OSError", str(errno.EFBIG), "['a']"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(api, tmp_path):
    size = 100 * MB
    piece = os.urandom(MB)
    down = reply(body=[piece] * 100, headers=OCTETS)
    chunked = reply(body=[piece] * 100, headers=OCTETS, framing="chunked")
    small = reply(body=b"x", headers=OCTETS)
    running = api([STORED, small, STORED, STORED, down, chunked])
    with open(str(tmp_path / "big.bin"), "wb") as file:
        for _ in range(100):
            file.write(piece)
    said = child(running, """
giga.upload_file(("a.bin", b"x"))
giga.download_file("f-1", "small")
before = peak()
giga.upload_file("big.bin")
first = peak()
read, write = os.pipe()
if not os.fork():
    os.close(read)
    with open("big.bin", "rb") as source, os.fdopen(write, "wb") as sink:
        for piece in iter(lambda: source.read(65536), b""):
            sink.write(piece)
    os._exit(0)
os.close(write)
with os.fdopen(read, "rb") as pipe:
    giga.upload_file(("a.bin", pipe))
os.wait()
second = peak()
sizes = [giga.download_file("f-1", "a"), giga.download_file("f-1", "b")]
print(first - before, second - before, peak() - before, *sizes)
""")
    *grown, one, two = map(int, said.split())
    assert max(grown) <= 1024, f"{grown} KiB more"
    assert one == two == size and [len(request.body) > size for request in running.calls[2:4]] == [True, True]
