"""Files: how they are uploaded, kept and given back, and what no upload may be."""

from __future__ import annotations

import uuid

import pytest
import requests

from caller import Caller
from clients import finish, start
from gigachat_lite.emulator.files import LIMITS, TYPES

from .helpers import refused

FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"'
PLAIN = b"Content-Type: text/plain"
BAD_FORM = (400, "Your request contains invalid multipart syntax.")
TEXT_FILE = ("a.txt", b"a", "text/plain")


def post(caller, body, content_type, client_id=None):
    headers = {"X-Client-ID": client_id} if client_id else {}
    return caller.ask("POST", "/v1/files", body, **{"Content-Type": content_type, **headers})


def upload(caller, file=TEXT_FILE, data=None, client_id=None, field="file"):
    """Upload a form as `requests` encodes it."""
    data = {"purpose": "general"} if data is None else data
    prepared = requests.Request("POST", "http://a/v1/files", files={field: file}, data=data).prepare()
    return post(caller, prepared.body, prepared.headers["Content-Type"], client_id)


def form(caller, *lines, boundary="b"):
    """Upload a form made by hand: lines, with CRLF between them."""
    return post(caller, b"\r\n".join(lines), f"multipart/form-data; boundary={boundary}")


def content_of(caller, answer):
    return caller.ask("GET", f"/v1/files/{answer.json['id']}/content")


def list_names(caller, **headers):
    return [file["filename"] for file in caller.ask("GET", "/v1/files", **headers).json["data"]]


def test_a_file_is_described_as_recorded(raw, emulator):
    with Caller(emulator) as caller:
        caller.log_in()
        added = upload(caller, ("отчёт.txt", "Привет".encode(), "text/plain")).json
        assert list(added) == [
            "id", "object", "bytes", "created_at", "filename", "purpose", "access_policy", "modalities"]
        assert uuid.UUID(added["id"]).version == 4 and isinstance(added["created_at"], int)
        assert {**added, "id": 0, "created_at": 0} == {
            "id": 0, "object": "file", "bytes": 12, "created_at": 0, "filename": "отчёт.txt", "purpose": "general",
            "access_policy": "private", "modalities": ["text"]}
        path = "/v1/files/" + added["id"]
        upload(caller)
        assert caller.ask("GET", path).json == added and list_names(caller) == ["отчёт.txt", "a.txt"]
        assert caller.ask("POST", path + "/delete").json == {
            "id": added["id"], "deleted": True, "access_policy": "private"}
        assert list_names(caller) == ["a.txt"]
        for method, ending in (("GET", ""), ("GET", "/content"), ("POST", "/delete")):
            assert refused(caller.ask(method, path + ending)) == (404, "No such file")


def test_every_byte_survives(caller):
    content = bytes(range(256)) * 20 + b"\r\n--\r\n\r\n--b\r\n--\r\n\r\n\n\r"
    added = upload(caller, ("a.jpg", content, "image/jpeg"))
    assert content_of(caller, added).content == content and added.json["bytes"] == len(content)


def test_every_documented_type_is_taken(caller):
    assert sum(map(len, TYPES.values())) == 22
    for kind, name in ((kind, name) for kind, types in TYPES.items() for name in types):
        added = upload(caller, ("a", b"a", name.upper() + "; charset=utf-8"))
        assert added.json["modalities"] == [kind]
        expected = "image/jpeg" if name == "image/jpeg" else "application/octet-stream"
        assert content_of(caller, added).headers["content-type"] == expected


@pytest.mark.parametrize("owner", [None, "anna"])
def test_a_file_belongs_to_its_client(caller, owner):
    file_id = upload(caller, ("own.txt", b"a", "text/plain"), client_id=owner).json["id"]
    for other in {None, "anna", "Anna"} - {owner}:
        headers = {"X_Client_ID": other} if other else {}
        for method, ending in (("GET", ""), ("GET", "/content"), ("POST", "/delete")):
            answer = caller.ask(method, f"/v1/files/{file_id}{ending}", **headers)
            assert refused(answer) == (403, f"Access to file '{file_id}' is denied")
        assert file_id not in {file["id"] for file in caller.ask("GET", "/v1/files", **headers).json["data"]}
    assert caller.ask("GET", "/v1/files/" + file_id, **({"X_Client_ID": owner} if owner else {})).status == 200


@pytest.mark.parametrize(("data", "purpose"), [
    ({}, "general"), ({"purpose": ""}, "general"), ({"purpose": "assistant"}, "assistant"), ({"more": "а"}, "general")])
def test_purposes(caller, data, purpose):
    assert upload(caller, data=data).json["purpose"] == purpose


REFUSED_FORMS = {
    "no boundary": ([b"--b--"], ""),
    "empty boundary": ([b"--", b"", b"----"], '""'),
    "nothing": ([], "b"),
    "another boundary": ([b"--b", FILE, PLAIN, b"", b"a", b"--b--"], "c"),
    "no last boundary": ([b"--b", FILE, PLAIN, b"", b"a", b"--b", b""], "b"),
    "cut last boundary": ([b"--b", FILE, PLAIN, b"", b"a", b"--b-"], "b"),
    "no empty line": ([b"--b", FILE, PLAIN, b"--b--"], "b"),
    "no disposition": ([b"--b", PLAIN, b"", b"a", b"--b--"], "b"),
    "another disposition": ([b"--b", FILE.replace(b"form-data", b"attachment"), b"", b"a", b"--b--"], "b"),
    "no name": ([b"--b", b"Content-Disposition: form-data", b"", b"a", b"--b--"], "b"),
    "endless head": ([b"--b", FILE, b"a" * 70000, b"", b"a", b"--b--"], "b"),
    "countless boundaries": ([b"--b"] * 100000 + [b"--b--"], "b"),
}


@pytest.mark.parametrize("name", list(REFUSED_FORMS))
def test_broken_forms_are_refused(caller, name):
    lines, boundary = REFUSED_FORMS[name]
    assert refused(form(caller, *lines, boundary=boundary)) == BAD_FORM


def test_other_uploads_are_refused(caller):
    before = list_names(caller)
    for kind in ("text/plain", "multipart/mixed; boundary=b", "multipart/form-data"):
        assert refused(post(caller, b"--b--", kind)) == BAD_FORM
    named = [b"--b", b'Content-Disposition: form-data; name="file"', b"", b"a", b"--b--"]
    for answer, message in ((upload(caller, data={"purpose": "x"}), "purpose must be one of general, assistant"),
                            (upload(caller, field="document"), "file is required"),
                            (form(caller, *named), "file must have a name")):
        assert refused(answer) == (422, "Invalid params: " + message)
    for kind in (b"audio/mpeg", b"application/zip", b""):
        status, message = refused(form(caller, b"--b", FILE, b"Content-Type: " + kind, b"", b"a", b"--b--"))
        assert status == 400 and message.startswith(f"Unsupported file type '{kind.decode()}': ")
        assert "audio/mp3" in message
    assert list_names(caller) == before


def test_each_kind_has_its_limit(caller):
    assert LIMITS == {"text": 40 * 2 ** 20, "image": 15 * 2 ** 20, "audio": 35 * 2 ** 20}
    content = bytes(LIMITS["image"])
    assert upload(caller, ("a.png", content, "image/png")).json["bytes"] == len(content)
    assert refused(upload(caller, ("a.png", content + b"a", "image/png"))) == (413, "Payload too large")
    assert upload(caller, ("a.mp3", content + b"a", "audio/mp3")).status == 200


@pytest.mark.parametrize(("given", "expected"), [
    ("filename=a.txt", "a.txt"), ('filename="a b;c=d.txt"', "a b;c=d.txt"), (r'filename="a\"b\\c.txt"', r'a"b\c.txt'),
    ('filename="a%22b%0D%0A%41.txt"', 'a"b\r\n%41.txt'), ('filename="отчёт.txt"', "отчёт.txt"),
    ("filename*=utf-8''%D1%91%20%27.txt", "ё '.txt"), ("filename*=UTF-8'ru'%D1%91.txt", "ё.txt"),
    ("filename*=iso-8859-1''%E9.txt", "é.txt"), ("filename*=utf-8''%D1%91.txt; filename=e.txt", "ё.txt"),
    ("filename=\"e.txt\"; filename*=utf-8''%D1%91.txt", "ё.txt"), ('FileName = "a.txt"', "a.txt"),
    (b'filename="\xff.txt"', "\ufffd.txt")], ids=ascii)
def test_names_of_files(caller, given, expected):
    head = b'content-disposition: FORM-DATA; name="file"; ' + (given if isinstance(given, bytes) else given.encode())
    assert form(caller, b"--b", PLAIN, head, b"", b"a", b"--b--").json["filename"] == expected


@pytest.mark.parametrize(("boundary", "lines", "expected"), [
    ('"b c:="', [b"--b c:=", FILE, PLAIN, b"", b"a", b"--b c:=--"], b"a"),
    ("b", [b"a preamble", b"--b \t", FILE, PLAIN, b"", b"a", b"--b--", b"--b", b"an epilogue"], b"a"),
    ("b", [b"--b", FILE, PLAIN, b"", b"a", b"--bc", b"--b-", b"--b--c", b" --b", b"--b--  ", b""],
     b"a\r\n--bc\r\n--b-\r\n--b--c\r\n --b"),
    ("b", [b"--b", FILE, PLAIN, b"", b"", b"--b--"], b""),
    ("b", [b"--b", FILE, PLAIN, b"", b"", b"", b"--b--"], b"\r\n"),
    ("b", [b"--b", FILE, PLAIN, b"", b"a", b"--b", FILE, PLAIN, b"", b"second", b"--b--"], b"a"),
], ids=["quoted", "text around", "lines like boundaries", "empty", "an empty line", "the first of two"])
def test_boundaries(caller, boundary, lines, expected):
    assert content_of(caller, form(caller, *lines, boundary=boundary)).content == expected


def test_files_take_several_threads(emulator):
    def work():
        with Caller(emulator) as caller:
            caller.log_in()
            for _ in range(20):
                file_id = upload(caller).json["id"]
                assert any(file["id"] == file_id for file in caller.ask("GET", "/v1/files").json["data"])
                caller.ask("POST", f"/v1/files/{file_id}/delete")
            return "done"

    assert finish(*(start(work) for _ in range(4))) == ["done"] * 4
