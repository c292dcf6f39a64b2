"""TLS: two ports, certificates of both sides, names, and how it begins and ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import socket
import ssl
import stat
import sys

import pytest

from clients import new_client
from gigachat_lite import AuthenticationError, BadRequestError, TLSError
from gigachat_lite.emulator import Emulator

from .helpers import ASKED, CALLS, LONG, Raw, client_of, nothing_left, open_files, outcome, streamed, talk


@pytest.fixture(scope="module")
def secure():
    """An emulator that asks for a client's certificate at both ports, but does not insist."""
    with Emulator(tls=True, client_cert="optional") as emu:
        yield emu


def bare(emulator, *names):
    """The settings of a client on an emulator, but for its client's certificate and what else is named."""
    return {key: value for key, value in emulator.config.items() if key not in {"cert_file", "key_file", *names}}


def papers(emulator):
    return {"cert_file": emulator.client_cert_file, "key_file": emulator.client_key_file}


def trusting(emulator, with_cert=False):
    context = ssl.create_default_context(cafile=emulator.ca_bundle_file)
    context.check_hostname = False
    if with_cert:
        context.load_cert_chain(emulator.client_cert_file, emulator.client_key_file)
    return context


def secure_get(emulator, context, name, port=None, path="/v1/models"):
    """Speak TLS without a client of ours: ask for a server by this name, return all that it says."""
    sock = socket.create_connection((emulator.host, port or emulator.port), 5)
    with context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False) as tls:
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: tls.recv(65536), b""))


MODES = [("none", "none"), ("none", "required"), ("required", "none"), ("optional", "required")]
MORE_MODES = [("none", "optional"), ("optional", "none"), ("optional", "optional"), ("required", "optional"),
               ("required", "required")]


@pytest.mark.parametrize(("api", "auth"), [*MODES, *(pytest.param(*modes, marks=LONG) for modes in MORE_MODES)])
def test_two_ports_ask_for_certificates(api, auth):
    with Emulator(tls=True, client_cert=api, auth_client_cert=auth) as emu:
        assert emu.base_url.split("/api")[0] == emu.url != emu.auth_url.split("/api")[0]
        assert emu.base_url.startswith("https://127.0.0.1:") and emu.auth_url.startswith("https://127.0.0.1:")
        met = outcome(CALLS["models"], new_client(**dict(bare(emu), max_retries=0)))
        assert type(met) is TLSError if "required" in (api, auth) else isinstance(met, int)
        assert len(emu.requests) == (0 if auth == "required" else 1 if api == "required" else 2)
        assert all(request.client_cert is None for request in emu.requests)
        del emu.requests[:]
        assert CALLS["models"](new_client(**dict(bare(emu), **papers(emu))))
        assert [bool(request.client_cert) for request in emu.requests] == [auth != "none", api != "none"]
        assert set(papers(emu)) <= set(emu.config) or (api, auth) == ("none", "none")
        assert CALLS["models"](new_client(**emu.config))


def test_sni_and_certificate_are_remembered(secure):
    for name, with_cert in (("localhost", True), ("wrong.example.net", False), (None, True)):
        assert secure_get(secure, trusting(secure, with_cert), name).startswith(b"HTTP/1.1 ")
        request = secure.requests[-1]
        assert request.sni == name and bool(request.client_cert) == with_cert
        assert not with_cert or ("organizationName", "GigaChat emulator") in sum(request.client_cert["issuer"], ())


def test_a_certificate_takes_the_place_of_a_token(secure):
    del secure.requests[:]
    giga = new_client(**dict(bare(secure, "credentials"), **papers(secure)))
    assert CALLS["chat"](giga) and streamed(giga)
    assert ["authorization" in request.headers for request in secure.requests] == [False, False]
    met = outcome(CALLS["chat"], new_client(**dict(bare(secure, "credentials"), access_token="wrong", max_retries=0)))
    assert type(met) is AuthenticationError
    both = new_client(**dict(bare(secure, "credentials"), access_token="wrong", max_retries=0, **papers(secure)))
    assert type(outcome(CALLS["chat"], both)) is AuthenticationError  # a wrong token stays wrong
    assert secure_get(secure, trusting(secure), "localhost").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(("names", "good"), [
    (("wrong.example.net",), False), (("127.0.0.1",), True), (("localhost", "example.org"), False)])
def test_names_in_the_certificate_are_ones_own(names, good):
    with Emulator(tls=True, names=names) as emu:
        met = outcome(CALLS["models"], client_of(emu))
        assert isinstance(met, int) if good else type(met) is TLSError and "not valid for '127.0.0.1'" in str(met)
        context = trusting(emu)
        context.check_hostname = True
        assert secure_get(emu, context, names[-1]).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("kind", [str, pathlib.Path], ids=["str", "Path"])
def test_certificates_of_ones_own(certs, tmp_path, kind):
    leaf = certs.ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    own = {"cert_file": kind(tmp_path / "cert.pem"), "key_file": kind(tmp_path / "key.pem"),
           "ca_bundle_file": kind(certs.ca_pem)}
    client = {"cert_file": str(certs.client_pem), "key_file": str(certs.client_key)}
    with Emulator(client_cert="required", **own) as emu:
        assert (emu.client_cert_file, emu.client_key_file) == (None, None)
        assert str(emu.ca_bundle_file) == str(certs.ca_pem) and not set(client) & set(emu.config)
        assert CALLS["chat"](new_client(**dict(emu.config, **client)))
        assert type(outcome(CALLS["chat"], new_client(**dict(emu.config, max_retries=0)))) is TLSError
    assert (tmp_path / "key.pem").exists() and (tmp_path / "cert.pem").exists()  # they are not ours to remove


def test_clear_text_on_a_tls_port_gets_a_page(secure):
    for port in (secure.port, int(re.search(r":(\d+)/", secure.auth_url).group(1))):
        with Raw(secure, port=port) as caller:
            response = caller.send(ASKED)
            assert (response.status, response.headers["Content-Type"]) == (400, "text/html")
            assert b"400 Bad Request" in response.read() and response.headers["Connection"] == "close"
    here = dict(bare(secure), base_url=secure.base_url.replace("https:", "http:"), access_token="t")
    error = outcome(CALLS["models"], new_client(**here))
    assert type(error) is BadRequestError and error.hint == "This port speaks TLS: write https://."


def test_tls_on_a_clear_port_gets_a_page(emulator):
    hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + b"\n" * 100
    assert talk(emulator, hello).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    here = dict(emulator.config, base_url=emulator.base_url.replace("http:", "https:"), access_token="t")
    assert type(outcome(CALLS["models"], new_client(**here))) is TLSError and emulator.requests == []


@pytest.mark.parametrize("sent", [
    b"", b"\x16\x03\x01\x00\x05hello", pytest.param(b"\x16", marks=LONG),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", marks=LONG)])
def test_a_handshake_that_breaks_off_harms_nobody(secure, sent, capfd):
    with socket.create_connection((secure.host, secure.port), 5) as sock:
        sock.sendall(sent)
        assert CALLS["models"](new_client(**secure.config))  # others do not wait for it
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    assert CALLS["models"](new_client(**secure.config)) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [None, "close-delimited"])
def test_an_answer_over_tls_ends_with_a_notice(fault):
    """Without it a client that minds truncation takes the end of the connection for a cut."""
    with Emulator(tls=True, fault=fault) as emu:
        assert secure_get(emu, trusting(emu), "localhost").startswith(b"HTTP/1.1 401")


def test_throw_away_certificates_are_private_and_thrown_away():
    emu = Emulator(tls=True)
    assert emu.ca_bundle_file is emu.client_cert_file is emu.client_key_file is None
    with emu:
        paths = [pathlib.Path(path) for path in (emu.ca_bundle_file, emu.client_cert_file, emu.client_key_file)]
        folder = paths[0].parent
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            keys = [path for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
            assert len(keys) == 2 and {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert not folder.exists()


def test_a_restart_over_tls_has_the_same_addresses():
    emu = Emulator(tls=True, client_cert="required")
    addresses = []
    for _ in range(2):
        with emu:
            addresses.append((emu.base_url, emu.auth_url))
            assert CALLS["chat"](new_client(**emu.config))
    assert addresses[0] == addresses[1]


def test_a_missing_certificate_leaves_nothing_open(tmp_path):
    for settings in ({"cert_file": str(tmp_path / "none.pem")}, {"tls": True, "names": ()}):
        emu = Emulator(**settings)
        before = open_files()
        with pytest.raises((OSError, ValueError)):
            emu.start()
        assert open_files() == before and emu.url == ""
        emu.stop()


def test_without_trustme_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)  # as if it were not installed
    with nothing_left():
        emu = Emulator(tls=True)
        for _ in range(2):
            with pytest.raises(ImportError) as caught:
                emu.start()
            sentence = "Emulator(tls=True) makes its certificates with trustme: pip install trustme"
            assert str(caught.value) == sentence and emu.url == ""
        emu.stop()
    with Emulator() as emu:
        assert CALLS["models"](client_of(emu))
