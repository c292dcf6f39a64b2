"""Hold the client to its promises about TLS, against real servers, directly and through a CONNECT proxy.

Whose certificates are accepted and whose are refused, and what the refusal says; client certificates; a ready
`ssl_context`; verification switched off; redirects; the package's own root and the hosts that it is for.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import itertools
import json
import logging
import os
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import gigachat_lite
from certs import GIGACHAT_NAMES, OTHER_NAMES, PASSWORD
from clients import crossed
from gigachat_lite import ConfigurationError, GigaChat, ResponseError, TLSError, TransportError, chat_url_cvar
from gigachat_lite.russian_root_ca import PEM
from servers import CHAT_BODY, STREAM_BODY, STREAM_TEXT, reply, sse

PACKAGE = pathlib.Path(gigachat_lite.__file__).parent
MODELS = reply(body={"data": [], "object": "list"})
CHAT = reply(body=CHAT_BODY)
KEY = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAxOjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMg=="
LOOK_ALIKES = OTHER_NAMES + ("giga.chat.evil.test", "evil-giga.chat", "sberbank.ru.evil.test", "notsberbank.ru")
MORE_GIGACHAT_NAMES = ("giga.chat", "a.b.sberdevices.ru", "gigachat.sbrf.ru")


# Ways to the servers, clients, and certificates that trustme does not make


BOTH = pytest.mark.parametrize("road", ["direct", "proxy"], indirect=True)


@pytest.fixture(params=["direct", pytest.param("proxy", marks=pytest.mark.long)])
def road(request, proxy):
    """Settings that lead to the server directly, or through a proxy that must have been used in the end."""
    if request.param == "direct":
        yield {}
        return
    running = proxy()
    yield {"proxy": running.url}
    assert running.targets


@pytest.fixture
def client():
    """Make clients that read nothing of the machine, and see at the end that none of them ever paused to retry."""
    made, pauses = [], []

    def make(kind=GigaChat, **settings):
        options = {"env_file": False, "access_token": "a-token", "timeout": 5}
        made.append(kind(**dict(options, **settings)))
        made[-1].transport.sleep = pauses.append
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert not any(pauses), "a TLS failure was retried"  # no pause at all is for a connection that was found closed


@pytest.fixture(scope="module")
def unimportant_root(folders):
    path = next(folders)
    write(path, pem_of(make_cert("A system's root")[0]))
    return path


@pytest.fixture(autouse=True)
def small_store(unimportant_root, monkeypatch):
    """Let one root of no importance be the system's store: quickly loaded, and the same on every machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(unimportant_root))
    monkeypatch.setenv("SSL_CERT_DIR", str(unimportant_root.parent / "none"))


@pytest.fixture
def warned(caplog):
    """List the warnings of the package's log so far."""
    caplog.set_level(logging.WARNING, "gigachat_lite")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "gigachat_lite"]


def make_cert(name, hosts=(), issuer=None, days=(-1, 30)):
    """Make (certificate, key) as plain authorities do: no key identifiers, no key usage; a root without `issuer`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(*datetime.date.today().timetuple()[:3])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days[0])).not_valid_after(
        now + datetime.timedelta(days[1])
    )
    if hosts:
        names = [x509.DNSName(host) for host in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    else:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def addresses(main, auth=None):
    """Make the settings that lead to one Api, or to one for the calls and another for OAuth."""
    return {"base_url": main.at("localhost") + "/api/v1", "auth_url": (auth or main).at("localhost") + "/api/v2/oauth"}


def pem_of(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def key_pem(key, password=None, form=serialization.PrivateFormat.PKCS8):
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, lock)


def write(path, data):
    path.write_bytes(data)
    return path


def context_of(tmp_path, cert, key):
    """Make a server's context of a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(write(tmp_path / "of-a-server.pem", key_pem(key) + pem_of(cert))))
    return context


def context_for(certs, *names):
    """Make a server's context for any names, issued by the tests' own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certs.ca.issue_cert(*names).configure_cert(context)
    return context


def folder_of(folder, path):
    """Put an authority into a folder in OpenSSL's form: the file is named by a hash of the subject, in lower case."""
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    parts = [x509.NameAttribute(part.oid, " ".join(part.value.lower().split())) for part in cert.subject]
    encoded = x509.Name(parts).public_bytes()
    assert len(encoded) < 130  # so the sequence's header is two bytes
    folder.mkdir()
    name = hashlib.sha1(encoded[2:]).digest()[3::-1].hex() + ".0"  # noqa: S324 -- so OpenSSL names the files of a folder
    write(folder / name, path.read_bytes())
    return folder


# Own authorities


def own_authority(kind, certs, tmp_path):
    """Make a pair: what the bundle is, and the context of a server that it should be enough for."""
    simple = {
        "a root in PEM": (certs.ca_pem, "server"),
        "a root in DER": (certs.ca_der, "server"),
        "several roots in one file": (certs.bundle_pem, "server"),
        "a root over an intermediate": (certs.ca_pem, "chained"),
        "an intermediate alone": (certs.intermediate_pem, "chained"),
        "an intermediate that the server leaves out": (certs.intermediate_pem, "broken_chain"),
    }
    if kind in simple:
        return simple[kind][0], certs.context(simple[kind][1])
    if kind == "a folder":
        return folder_of(tmp_path / "roots", certs.ca_pem), certs.context()
    if kind == "a root with remarks in Russian":
        remark = "Корневой сертификат банка\n".encode("cp1251")
        return write(tmp_path / "корень.pem", remark + certs.ca_pem.read_bytes()), certs.context()
    root = make_cert("An old root") if kind == "a root without key identifiers" else None
    leaf = make_cert("localhost", ["localhost"], root)
    return write(tmp_path / "own.pem", pem_of((root or leaf)[0])), context_of(tmp_path, *leaf)


@crossed(
    "road, kind",
    ["direct", "proxy"],
    [
        "a root in PEM",
        "a root in DER",
        "several roots in one file",
        "a folder",
        "a root with remarks in Russian",
        "a root over an intermediate",
        "an intermediate alone",
        "an intermediate that the server leaves out",
        "a root without key identifiers",
        "the server's own self-signed certificate",
    ],
    often=lambda road, kind: road == "direct" or kind in ("a root in PEM", "an intermediate alone"),
    indirect=["road"],
)
def test_an_authority_of_ones_own_is_accepted(client, server, certs, road, tmp_path, kind):
    bundle, context = own_authority(kind, certs, tmp_path)
    running = server([MODELS, sse(STREAM_BODY)], context=context)
    giga = client(base_url=running.at("localhost"), ca_bundle_file=bundle, **road)
    assert giga.get_models().data == []
    assert "".join(chunk.choices[0].delta.content for chunk in giga.stream("?")) == STREAM_TEXT
    assert running.connections == 1 and running.requests[0].sni == "localhost"


@pytest.mark.parametrize("layer", ["environment", ".env"])
def test_a_bundle_is_read_from_every_layer(client, server, certs, tmp_path, layer):
    running = server(MODELS, context=certs.context())
    name, value = "GIGACHAT_CA_BUNDLE_FILE", str(certs.ca_der)
    file = write(tmp_path / "settings", f"{name}={value}\n".encode())
    given = {"environ": {name: value}} if layer == "environment" else {"env_file": file}
    client(base_url=running.at("localhost"), **given).get_models()


def test_a_server_limited_to_tls_1_2_is_accepted(client, server, certs, road):
    context = context_for(certs, "localhost")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    running = server(MODELS, context=context)
    client(base_url=running.at("localhost"), ca_bundle_file=certs.ca_pem, **road).get_models()


def test_no_client_speaks_less_than_tls_1_2(client, certs):
    for settings in ({}, {"ca_bundle_file": certs.ca_pem}, {"verify_ssl_certs": False}):
        for host in client(**settings).transport.tls.values():
            assert host.context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("name, accepted", [("server", True), ("foreign", False), ("wrong_host", False)])
@pytest.mark.parametrize("trust", ["ca_bundle_file", "ssl_context"])
def test_an_address_is_matched_against_the_certificate(client, server, certs, road, name, accepted, trust):
    running = server(MODELS, context=certs.context(name))
    trust = {trust: certs.ca_pem if trust == "ca_bundle_file" else trusting(certs.ca_pem)}
    giga = client(base_url=running.at("127.0.0.1"), **trust, **road)
    if accepted:
        giga.get_models()
    else:
        with pytest.raises(TLSError, match=r"127\.0\.0\.1.*" + ("base_url" if name == "wrong_host" else "root")):
            giga.get_models()
    assert (running.connections, len(running.requests)) == (1, accepted)


# The default trust and the environment


@pytest.mark.parametrize(
    "variables, settings, accepted",
    [
        ({"REQUESTS_CA_BUNDLE": "ca_pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "ca_der"}, {}, True),
        ({"CURL_CA_BUNDLE": "ca_pem"}, {}, True),
        ({"SSL_CERT_FILE": "ca_pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "ca_pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "other_pem", "SSL_CERT_FILE": "ca_pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "other_pem", "CURL_CA_BUNDLE": "ca_pem"}, {}, False),
        ({"REQUESTS_CA_BUNDLE": "ca_pem"}, {"trust_env": False}, False),
        ({"CURL_CA_BUNDLE": "ca_pem"}, {"trust_env": False}, False),
        ({"REQUESTS_CA_BUNDLE": "ca_pem"}, {"ca_bundle_file": "other_pem"}, False),
        ({"CURL_CA_BUNDLE": "ca_pem"}, {"ca_bundle_file": "other_pem"}, False),
        ({"SSL_CERT_FILE": "ca_pem"}, {"ca_bundle_file": "other_pem"}, False),
        ({"REQUESTS_CA_BUNDLE": "missing"}, {"ca_bundle_file": "ca_pem"}, True),
        ({"REQUESTS_CA_BUNDLE": "missing"}, {"verify_ssl_certs": False}, True),
        ({"REQUESTS_CA_BUNDLE": "missing"}, {"trust_env": False, "ca_bundle_file": "ca_pem"}, True),
    ],
)
@pytest.mark.parametrize("given", [False, True], ids=["process", "mapping"])
def test_the_environments_bundles_count_by_default_alone(
    client, server, certs, road, monkeypatch, variables, settings, accepted, given
):
    variables = {name: value and str(getattr(certs, value, value)) for name, value in variables.items()}
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        elsewhere = certs.other_pem if accepted else certs.ca_pem  # would turn the outcome round
        monkeypatch.setenv(name, str(elsewhere) if given else variables.get(name, ""))
    if given:
        settings = dict(settings, environ=variables)
    if "ca_bundle_file" in settings:
        settings = dict(settings, ca_bundle_file=getattr(certs, settings["ca_bundle_file"]))
    running = server(MODELS, context=certs.context())
    giga = client(base_url=running.at("localhost"), **settings, **road)
    if accepted:
        giga.get_models()
    else:
        with pytest.raises(TLSError):
            giga.get_models()
    assert (running.connections, len(running.requests)) == (1, accepted)


def test_a_folder_in_the_environment_is_read(client, server, certs, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder_of(tmp_path / "roots", certs.ca_pem)))
    running = server(MODELS, context=certs.context())
    client(base_url=running.at("localhost")).get_models()


CERTIFI_SCRIPT = """
import json, sys
from gigachat_lite import GigaChat, TLSError
for settings in json.loads(sys.argv[1]):
    with GigaChat(env_file=False, access_token="t", **settings) as giga:
        try:
            giga.get_models()
            print("accepted")
        except TLSError:
            print("refused")
"""


def run_python(script, *args, path=(), **options):
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, list(path) + [PACKAGE.parent])))
    command = [sys.executable, "-W", "error", "-c", script] + [str(arg) for arg in args]
    return subprocess.run(command, env=environ, stderr=subprocess.PIPE, timeout=15, **options)


def test_certifi_counts_by_default_and_not_beside_a_bundle(server, proxy, certs, tmp_path):
    (tmp_path / "certifi").mkdir()
    source = f"def where():\n    return {str(certs.ca_pem)!r}\ncontents = open(where()).read\n"
    write(tmp_path / "certifi" / "__init__.py", source.encode())
    running = server(MODELS, context=certs.context())
    rows = [{}, {"trust_env": False}, {"ca_bundle_file": str(certs.other_pem)}]
    rows = [
        dict(row, base_url=running.at("localhost"), **road) for row in rows for road in ({}, {"proxy": proxy().url})
    ]
    done = run_python(CERTIFI_SCRIPT, json.dumps(rows), path=[tmp_path], stdout=-1)
    assert done.stdout.split() == [b"accepted"] * 4 + [b"refused"] * 2, done.stderr.decode()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nxx\n"])
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_unusable_file_named_by_the_environment_is_an_error_that_says_so(
    client, server, certs, monkeypatch, tmp_path, name, content
):
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(name, str(path))
    running = server(MODELS, context=certs.context())
    with pytest.raises(ConfigurationError) as caught:
        client(base_url=running.at("localhost"))
    text = str(caught.value)
    assert name in text and str(path) in text and "\n" not in text and running.connections == 0


# Refusals, and what they say


def said(caught):
    """Take a refusal apart: (the whole line, the roots in use, what to do); it is a line for people."""
    text = str(caught.value)
    assert not re.search(r"\n|\.\.|pool|ssl\.c", text, re.IGNORECASE)
    return (text,) + re.search(r"\(roots: (.*?)(?:\)|…); (.*)", text).groups()


ASK = {
    "get_models": lambda giga: giga.get_models(),
    "chat": lambda giga: giga.chat("?"),
    "stream": lambda giga: giga.stream("?"),
    "get_token": lambda giga: giga.get_token(),
}


@BOTH
@pytest.mark.parametrize(
    "name, remedy, ask",
    [
        ("wrong_host", "base_url", "get_models"),
        ("expired", "clock", "get_models"),
        ("broken_chain", "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)", "get_models"),
        ("foreign", "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)", "get_models"),
        ("foreign", "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)", "chat"),
        ("foreign", "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)", "stream"),
        ("foreign", "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)", "get_token"),
    ],
)
def test_a_certificate_that_does_not_verify_is_refused_in_one_line(client, api, certs, road, name, remedy, ask):
    running = api(MODELS, context=certs.context(name))
    way = {"access_token": None, "credentials": KEY} if ask == "get_token" else {}
    giga = client(ca_bundle_file=certs.ca_pem, **addresses(running), **way, **road)
    with pytest.raises(TLSError) as caught:
        ASK[ask](giga)
    text, roots, advice = said(caught)
    assert re.match(r"localhost:\d+( through the proxy .*)?: TLS failed: ", text) and remedy in advice
    assert roots.startswith("ca_bundle_") and len(text) <= 300
    assert running.connections == 1 and not running.requests


@pytest.mark.parametrize(
    "variables, roots",
    [({}, ", certifi"), ({"REQUESTS_CA_BUNDLE": "other_pem"}, "REQUESTS_CA_BUNDLE")],
)
def test_a_refusal_names_the_roots_of_the_default_trust(client, server, certs, road, monkeypatch, variables, roots):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(getattr(certs, value)))
    running = server(MODELS, context=certs.context())
    with pytest.raises(TLSError) as caught:
        client(base_url=running.at("localhost"), **road).get_models()
    assert roots in said(caught)[1] and ("certifi" in said(caught)[1]) == (not variables)
    assert running.connections == 1 and not running.requests


def test_a_certificate_of_tomorrow_is_refused(client, server, road, tmp_path):
    root = make_cert("A root")
    context = context_of(tmp_path, *make_cert("localhost", ["localhost"], root, days=(2, 3)))
    running = server(MODELS, context=context)
    bundle = write(tmp_path / "root.pem", pem_of(root[0]))
    giga = client(base_url=running.at("localhost"), ca_bundle_file=bundle, **road)
    with pytest.raises(TLSError, match=r"not yet valid.*clock"):
        giga.get_models()


@pytest.mark.parametrize("name", ["foreign", "wrong_host"])
@pytest.mark.parametrize("host, model", [("geofence.bank.test", "m"), ("localhost", "geoffrey")])
def test_a_refusal_is_known_as_one_whatever_the_names(client, server, certs, road, resolve, name, host, model):
    resolve(host)
    running = server(MODELS, context=certs.context(name))
    giga = client(base_url=running.at(host), ca_bundle_file=certs.ca_pem, **road)
    with pytest.raises(TLSError):
        giga.get_model(model)
    assert running.connections == 1


@BOTH
def test_a_refused_client_goes_on_where_it_is_trusted(client, server, certs, road):
    foreign, own = server(MODELS, context=certs.context("foreign")), server(MODELS, context=certs.context())
    way = {"access_token": None, "credentials": KEY, "auth_url": foreign.at("localhost") + "/oauth"}
    giga = client(base_url=own.at("localhost"), ca_bundle_file=certs.ca_pem, **way, **road)
    with pytest.raises(TLSError):
        giga.get_models()
    assert giga.get_models(headers={"Authorization": "Bearer one"}).data == [] and own.connections == 1


@contextlib.contextmanager
def listening(handle):
    """Run a bare server: `handle(sock, seen)` serves each connection; yields (address, seen), the list of findings."""
    seen = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            handle(self.request, seen)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://localhost:{running.server_address[1]}", seen
        finally:
            running.shutdown()
            thread.join()


def answer_in_plain_http(sock, seen):
    seen.append(sock.recv(65536))
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_a_server_without_tls_at_an_https_address_is_a_clear_error(client, road):
    with listening(answer_in_plain_http) as (address, seen), pytest.raises(TLSError) as caught:
        client(base_url=address, **road).chat("secret")
    text, _, advice = said(caught)
    assert "localhost" in text and "there is no TLS" in advice and "port" in advice and "proxy" in advice
    assert len(seen) == 1 and b"secret" not in seen[0] and b"a-token" not in seen[0]


def test_a_server_with_tls_at_an_http_address_is_a_clear_error(client, server, certs, road):
    running = server(MODELS, context=certs.context())
    giga = client(base_url=running.at("localhost").replace("https", "http"), max_retries=0, **road)
    with pytest.raises(TransportError) as caught:
        giga.get_models()
    assert "\n" not in str(caught.value) and str(running.port) in str(caught.value) and not running.requests


# Client certificates


def client_files(kind, certs, tmp_path):
    """Make the settings of one way to give a client certificate."""
    if kind == "one file":
        return {"cert_file": certs.client_combined}
    if kind == "two files":
        return {"cert_file": certs.client_pem, "key_file": certs.client_key}
    if kind == "an encrypted key":
        return {"cert_file": certs.client_pem, "key_file": certs.client_locked_key, "key_file_password": PASSWORD}
    password = "пароль" if kind == "a password in Russian" else PASSWORD
    form = serialization.PrivateFormat
    form = form.TraditionalOpenSSL if kind == "a key encrypted in the old form" else form.PKCS8
    key = serialization.load_pem_private_key(certs.client_key.read_bytes(), None)
    path = write(tmp_path / "own.pem", key_pem(key, password.encode(), form) + certs.client_pem.read_bytes())
    return {"cert_file": path, "key_file_password": password}


@pytest.mark.parametrize(
    "kind",
    [
        "one file",
        "two files",
        "an encrypted key",
        "one file with an encrypted key",
        "a key encrypted in the old form",
        "a password in Russian",
    ],
)
def test_a_client_certificate_reaches_the_server_that_wants_it(client, server, certs, road, tmp_path, kind):
    running = server(MODELS, context=certs.context(client="required"))
    files = client_files(kind, certs, tmp_path)
    client(base_url=running.at("localhost"), ca_bundle_file=certs.ca_pem, **files, **road).get_models()
    assert is_client(running.requests[0])


def is_client(request):
    return bool(request.peer_cert) and request.peer_cert["subjectAltName"] == (("email", "client@example.org"),)


def refusing_clients(certs, version):
    """Make a handler that refuses clients, and waits for them to leave: who closes at once resets the connection."""
    context = context_for(certs, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = getattr(ssl.TLSVersion, version)
    certs.ca.configure_trust(context)

    def handle(sock, seen):
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
                seen.append("accepted")
            except ssl.SSLError:
                seen.append("refused")
                while socket.socket.recv(tls, 65536):
                    pass

    return handle


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("given", ["missing", "foreign"])
def test_a_missing_or_foreign_client_certificate_is_told(client, certs, road, version, given):
    files = {"cert_file": certs.foreign_client_pem, "key_file": certs.foreign_client_key} if given == "foreign" else {}
    with listening(refusing_clients(certs, version)) as (address, seen), pytest.raises(TLSError) as caught:
        client(base_url=address, ca_bundle_file=certs.ca_pem, **files, **road).get_models()
    text, roots, advice = said(caught)
    assert "localhost" in text and roots.endswith(certs.ca_pem.name)
    assert ("sent and refused" if files else "cert_file") in advice
    assert seen == ["refused"]


@pytest.mark.parametrize("auth_client_cert", [True, False])
@pytest.mark.parametrize("source", ["argument", "environment"])
def test_the_certificate_reaches_both_hosts_unless_told_otherwise(client, api, certs, road, auth_client_cert, source):
    context = certs.context(client="optional")
    main, auth = api(CHAT, context=context), api(CHAT, context=context)
    way = {"access_token": None, "credentials": KEY, **addresses(main, auth)}
    files = {"cert_file": certs.client_pem, "key_file": certs.client_key, "auth_client_cert": auth_client_cert}
    if source == "environment":
        files = {"environ": {"GIGACHAT_" + key.upper(): str(value) for key, value in files.items()}}
    client(ca_bundle_file=certs.ca_pem, **way, **files, **road).chat("?")
    assert [is_client(request) for request in main.requests] == [True]
    assert [is_client(request) for request in auth.requests] == [auth_client_cert]


def test_user_and_password_beside_a_certificate_are_used(client, api, certs, road):
    running = api(CHAT, context=certs.context(client="required"))
    way = {"access_token": None, "user": "u", "password": "p", "cert_file": certs.client_combined}
    client(ca_bundle_file=certs.ca_pem, **addresses(running), **way, **road).chat("?")
    assert [request.path for request in running.requests] == ["/api/v1/token", "/api/v1/chat/completions"]
    assert running.calls[0].headers["Authorization"] == "Bearer token-1" and all(map(is_client, running.requests))


@pytest.mark.parametrize("how", ["cert_file", "ssl_context"])
def test_a_certificate_alone_means_no_oauth_and_no_authorization(client, api, certs, road, how):
    running = api([CHAT, sse(STREAM_BODY), MODELS], context=certs.context(client="required"))
    context = ssl.create_default_context(cafile=str(certs.ca_pem))
    context.load_cert_chain(str(certs.client_combined))
    own = {"cert_file": certs.client_combined, "ca_bundle_file": certs.ca_pem}
    own = {"ssl_context": context} if how == "ssl_context" else own
    giga = client(access_token=None, **addresses(running), **own, **road)
    assert giga.get_token() is None
    giga.chat("?"), list(giga.stream("?")), giga.get_models()
    assert running.oauth_calls == 0 and len(running.calls) == 3 and all(map(is_client, running.calls))
    assert not any("Authorization" in request.headers for request in running.requests)


# Settings that cannot work are refused before any network


def broken_settings(kind, certs, tmp_path):
    garbage, gone = write(tmp_path / "garbage", b"\x30\x82garbage"), tmp_path / "gone.pem"
    other_kind = rsa.generate_private_key(65537, 2048) if kind == "a key of another kind" else None
    locked = {"cert_file": certs.client_pem, "key_file": certs.client_locked_key}
    return {
        "no such bundle": {"ca_bundle_file": gone},
        "a bundle of garbage": {"ca_bundle_file": garbage},
        "a bundle of text": {"ca_bundle_file": write(tmp_path / "text", "да".encode())},
        "an empty bundle": {"ca_bundle_file": write(tmp_path / "empty", b"")},
        "a bundle of keys alone": {"ca_bundle_file": certs.client_key},
        "a folder without hashes": {"ca_bundle_file": certs.ca_pem.parent},
        "no such certificate": {"cert_file": gone},
        "a certificate of garbage": {"cert_file": garbage},
        "a certificate that is a folder": {"cert_file": tmp_path},
        "a certificate without its key": {"cert_file": certs.client_pem},
        "a key without a certificate": {"key_file": certs.client_key},
        "a password without a certificate": {"key_file_password": PASSWORD},
        "no such key": {"cert_file": certs.client_pem, "key_file": gone},
        "a key of garbage": {"cert_file": certs.client_pem, "key_file": garbage},
        "another's key": {"cert_file": certs.client_pem, "key_file": certs.foreign_client_key},
        "another's encrypted key": dict(locked, cert_file=certs.foreign_client_pem, key_file_password=PASSWORD),
        "a key of another kind": {
            "cert_file": certs.client_pem,
            "key_file": write(tmp_path / "rsa.key", key_pem(other_kind)) if other_kind else None,
        },
        "no password": locked,
        "a wrong password": dict(locked, key_file_password="a-wrong-one"),
        "an endless password": dict(locked, key_file_password="x" * 2000),
    }[kind]


@pytest.mark.parametrize(
    "kind, naming, saying",
    [
        ("no such bundle", "ca_bundle_file", "gone.pem"),
        ("a bundle of garbage", "ca_bundle_file", "no certificate in PEM or DER"),
        ("a bundle of text", "ca_bundle_file", "no certificate in PEM or DER"),
        ("an empty bundle", "ca_bundle_file", "empty"),
        ("a bundle of keys alone", "ca_bundle_file", "no certificate in PEM or DER"),
        ("a folder without hashes", "ca_bundle_file", ""),
        ("no such certificate", "cert_file", "gone.pem"),
        ("a certificate of garbage", "cert_file", "PEM"),
        ("a certificate that is a folder", "cert_file", ""),
        ("a certificate without its key", "cert_file", "key"),
        ("a key without a certificate", "key_file", "needs cert_file"),
        ("a password without a certificate", "key_file_password", "needs cert_file"),
        ("no such key", "key_file", "gone.pem"),
        ("a key of garbage", "key_file", "PEM"),
        ("another's key", "key_file", "does not belong"),
        ("another's encrypted key", "key_file", "does not belong"),
        ("a key of another kind", "key_file", "does not belong"),
        ("no password", "key_file", "key_file_password"),
        ("a wrong password", "key_file", "key_file_password is wrong"),
        ("an endless password", "key_file", "password"),
    ],
)
def test_files_that_cannot_work_are_refused_before_any_network(client, server, certs, tmp_path, kind, naming, saying):
    running = server(MODELS, context=certs.context())
    settings = broken_settings(kind, certs, tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        client(base_url=running.at("localhost"), **dict({"ca_bundle_file": certs.ca_pem}, **settings))
    text = str(caught.value)
    assert naming in text and saying in text and "\n" not in text
    assert PASSWORD not in text and "a-wrong-one" not in text and running.connections == 0


PROMPT_SCRIPT = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # stdin becomes the terminal that OpenSSL would ask on
from gigachat_lite import ConfigurationError, GigaChat
password = sys.argv[3] if len(sys.argv) > 3 else None
try:
    GigaChat(env_file=False, environ={}, cert_file=sys.argv[1], key_file=sys.argv[2], key_file_password=password)
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="terminals of Unix")
@pytest.mark.parametrize("password", [[], pytest.param(["a-wrong-one"], marks=pytest.mark.long)])
def test_a_password_is_never_asked_for_on_the_terminal(certs, password):
    ours, theirs = os.openpty()
    os.write(ours, PASSWORD.encode() + b"\n")  # what a person would type
    try:
        done = run_python(
            PROMPT_SCRIPT,
            certs.client_pem,
            certs.client_locked_key,
            *password,
            stdin=theirs,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        os.set_blocking(ours, False)
        shown = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == PASSWORD.encode() + b"\r\n" and done.stderr == b""  # the terminal's echo and nothing else
    assert b"key_file_password" in done.stdout and b"a-wrong-one" not in done.stdout


# A ready context


def trusting(path, **changes):
    context = ssl.create_default_context(cafile=str(path))
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "name, changes, accepted",
    [
        ("server", {}, True),
        ("foreign", {}, False),
        ("expired", {}, False),
        ("wrong_host", {}, False),
        ("wrong_host", {"check_hostname": False}, True),
        ("foreign", {"check_hostname": False}, False),
        ("foreign", {"check_hostname": False, "verify_mode": ssl.CERT_NONE}, True),
    ],
)
def test_a_ready_context_decides_alone(client, server, certs, road, recwarn, name, changes, accepted):
    running = server(MODELS, context=certs.context(name))
    giga = client(base_url=running.at("localhost"), ssl_context=trusting(certs.ca_pem, **changes), **road)
    if accepted:
        giga.get_models()
    else:
        with pytest.raises(TLSError, match=r"localhost.*the given ssl_context"):
            giga.get_models()
    assert running.connections == 1 and not recwarn.list


def test_a_ready_context_is_left_as_it_was(client, server, certs, road):
    def state(context):
        return len(context.get_ca_certs()), context.verify_mode, context.check_hostname, context.minimum_version

    foreign, own = server(MODELS, context=certs.context("foreign")), server(MODELS, context=certs.context())
    context = trusting(certs.ca_pem)
    before = state(context)
    client(base_url=own.at("localhost"), ssl_context=context, verify_ssl_certs=False, **road).get_models()
    with pytest.raises(TLSError):
        client(
            base_url=foreign.at("localhost"), ssl_context=context, ca_bundle_file=certs.other_pem, **road
        ).get_models()
    assert state(context) == before


def test_a_ready_context_serves_both_hosts(client, api, certs, road):
    context = trusting(certs.ca_pem)
    context.load_cert_chain(str(certs.client_combined))
    main, auth = (api(CHAT, context=certs.context(client="required")) for _ in range(2))
    way = {"access_token": None, "credentials": KEY, **addresses(main, auth)}
    client(ssl_context=context, **way, **road).chat("?")
    assert is_client(main.requests[0]) and is_client(auth.requests[0])


@pytest.mark.parametrize("layer", ["argument", "environment", ".env"])
@pytest.mark.parametrize("bundle", ["other_pem", "missing"])
def test_nothing_beside_a_ready_context_is_applied_and_one_warning_names_it(
    client, server, certs, warned, monkeypatch, tmp_path, layer, bundle
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing")
    files = {"ca_bundle_file": getattr(certs, bundle, bundle), "cert_file": certs.foreign_client_pem}
    files.update(key_file=certs.foreign_client_key, key_file_password="p", verify_ssl_certs=False)
    variables = {"GIGACHAT_" + key.upper(): str(value) for key, value in files.items()}
    if layer == ".env":
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        given = {"env_file": write(tmp_path / "settings", lines.encode())}
    else:
        given = files if layer == "argument" else {"environ": variables}
    running = server(MODELS, context=certs.context(client="optional"))
    giga = client(base_url=running.at("localhost"), ssl_context=trusting(certs.ca_pem), **given)
    giga.get_models(), giga.get_models()
    assert running.requests[0].peer_cert is None
    assert len(warned()) == 1 and "ssl_context" in warned()[0]
    assert all(key in warned()[0].lower() for key in files)


@pytest.mark.parametrize("setting", ["ca_bundle_file", "cert_file"])
def test_the_warning_names_only_what_was_given(client, certs, warned, setting):
    client(ssl_context=trusting(certs.ca_pem), **{setting: certs.client_combined})
    assert [re.findall(r"\w+_file\b|verify_\w+|key_\w+", line) for line in warned()] == [[setting]]


def test_a_ready_context_alone_is_not_warned_about(client, certs, warned):
    client(ssl_context=trusting(certs.ca_pem))
    assert not warned()


def test_a_refusal_by_a_ready_context_does_not_send_to_a_setting_that_is_not_applied(client, server, certs, road):
    running = server(MODELS, context=certs.context("foreign"))
    with pytest.raises(TLSError) as caught:
        client(base_url=running.at("localhost"), ssl_context=trusting(certs.ca_pem), **road).get_models()
    _, _, advice = said(caught)
    assert "ssl_context" in advice and "ca_bundle_file" not in advice


# Verification switched off


@pytest.mark.parametrize("name", ["server", "foreign", "expired", "wrong_host"])
def test_verification_off_accepts_anything_and_warns_once_in_the_log_alone(
    client, api, certs, road, warned, recwarn, name
):
    running = api(MODELS, context=certs.context(name))
    way = {"access_token": None, "credentials": KEY, **addresses(running)}
    giga = client(verify_ssl_certs=False, **way, **road)
    for _ in range(3):
        giga.get_models()
    running.hang_up()
    giga.get_models()
    assert len(running.calls) == 4 and running.connections == 2
    assert len(warned()) == 1 and "verify_ssl_certs" in warned()[0]
    assert not recwarn.list


def test_verification_off_still_shows_the_client_certificate(client, server, certs, road):
    running = server(MODELS, context=certs.context("foreign", client="required"))
    client(
        base_url=running.at("localhost"), verify_ssl_certs=False, cert_file=certs.client_combined, **road
    ).get_models()
    assert is_client(running.requests[0])


OFF, BUNDLE, ON = {"verify_ssl_certs": False}, {"ca_bundle_file": "other_pem"}, {"verify_ssl_certs": True}


@pytest.mark.parametrize(
    "argument, environment, env_file, verified",
    [
        (dict(OFF, **BUNDLE), {}, {}, False),
        ({}, dict(OFF, **BUNDLE), {}, False),
        ({}, {}, dict(OFF, **BUNDLE), False),
        (OFF, BUNDLE, {}, False),
        (OFF, {}, BUNDLE, False),
        ({}, OFF, BUNDLE, False),
        (OFF, ON, BUNDLE, False),
        (BUNDLE, OFF, {}, True),
        (BUNDLE, {}, OFF, True),
        ({}, BUNDLE, OFF, True),
        (BUNDLE, OFF, OFF, True),
        (ON, OFF, {}, True),
        ({}, ON, OFF, True),
    ],
)
def test_verification_off_yields_to_a_bundle_of_a_stronger_layer_alone(
    client, server, certs, warned, tmp_path, argument, environment, env_file, verified
):
    def with_path(settings):
        found = {key: getattr(certs, value) for key, value in settings.items() if key == "ca_bundle_file"}
        return dict(settings, **found)

    def variables(settings):
        return {"GIGACHAT_" + key.upper(): str(value) for key, value in with_path(settings).items()}

    lines = "".join(f"{name}={value}\n" for name, value in variables(env_file).items())
    file = write(tmp_path / "settings", lines.encode())
    running = server(MODELS, context=certs.context())
    given = dict(with_path(argument), environ=variables(environment), env_file=file)
    giga = client(base_url=running.at("localhost"), **given)
    if verified:
        with pytest.raises(TLSError):
            giga.get_models()
    else:
        giga.get_models()
    assert len(running.requests) == (not verified) and len(warned()) == (not verified)


# Nothing is sent elsewhere


@pytest.mark.parametrize(
    "ask, status",
    [(ask, 302) for ask in ASK] + [("get_models", status) for status in (301, 303, 307, 308)],
)
def test_a_redirect_to_another_host_sends_nothing_there(client, server, certs, road, ask, status):
    elsewhere = server(MODELS, context=certs.context())
    answer = reply(status, headers={"Location": elsewhere.at("localhost") + "/api/v1/models"})
    running = server(answer, context=certs.context())
    way = {"access_token": None, "credentials": KEY} if ask == "get_token" else {}
    giga = client(ca_bundle_file=certs.ca_pem, **addresses(running), **way, **road)
    with pytest.raises(ResponseError, match="edirect") as caught:
        ASK[ask](giga)
    assert caught.value.status_code == status
    assert (len(running.requests), elsewhere.connections) == (1, 0)


def test_a_redirect_to_the_same_host_is_not_followed(client, server, certs, road):
    running = server(reply(302, headers={"Location": "/other"}), context=certs.context())
    with pytest.raises(ResponseError):
        client(base_url=running.at("localhost"), ca_bundle_file=certs.ca_pem, **road).get_models()
    assert [request.path for request in running.requests] == ["/models"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "https://gigachat.devices.sberbank.ru.evil.test/",
        "https://gigachat.devices.sberbank.ru@evil.test/",
        "https://gigachat.devices.sberbank.ru:8443/",
        "https://ngw.devices.sberbank.ru/",
        "https://ngw.devices.sberbank.ru:94430/",
        "https://ngw.devices.sberbank.ru:9443.evil.test/",
        "https://ngw.devices.sberbank.ru:9443@evil.test/",
        "http://gigachat.devices.sberbank.ru/",
        "http://127.0.0.1/",
    ],
)
def test_nothing_is_sent_to_any_other_host(client, resolve, url):
    resolve()
    token = chat_url_cvar.set(url)
    try:
        with pytest.raises(ConfigurationError, match="is the host of neither base_url nor auth_url"):
            client().chat("?")
    finally:
        chat_url_cvar.reset(token)
    assert not resolve.asked


@pytest.mark.parametrize("url", ["https://HOST:443/api/v1", "https://HOST/api/v1/", "HTTPS://HOST:443", "HOST/api/v1"])
def test_an_address_with_the_default_port_or_in_capitals_is_met_by_its_adapter(client, server, proxy, certs, url):
    running = server(MODELS, context=certs.context("names"))
    settings = {"proxy": proxy({"example.org": running.port}).url, "ca_bundle_file": certs.ca_pem}
    client(base_url=url.replace("HOST", "Example.ORG"), **settings).get_models()
    assert running.requests[0].sni == "example.org"


def test_an_auth_address_without_a_path_is_met_by_its_adapter(client, api, certs, road):
    running = api(MODELS, oauth=reply(), context=certs.context())
    way = {"access_token": None, "credentials": KEY, "auth_url": running.at("localhost")}
    giga = client(base_url=running.at("localhost"), ca_bundle_file=certs.ca_pem, **way, **road)
    with pytest.raises(ResponseError):  # it is no address of a token
        giga.get_token()
    assert [request.path for request in running.requests] == ["/api/v2/oauth"]


# The package's own root


def test_the_package_carries_the_root_that_it_says():
    assert re.findall("-----BEGIN (.*)-----", PEM) == ["CERTIFICATE"]
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(PEM)).hexdigest()
    assert digest == "d26d2d0231b7c39f92cc738512ba54103519e4405d68b5bd703e9788ca8ecf31"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=PEM)
    (root,) = context.get_ca_certs()
    assert dict(part[0] for part in root["subject"])["commonName"] == "Russian Trusted Root CA"
    assert (root["notBefore"], root["notAfter"]) == ("Mar  1 21:04:15 2022 GMT", "Feb 27 21:04:15 2032 GMT")
    assert ssl.cert_time_to_seconds(root["notAfter"]) > 1956500000


@pytest.fixture(scope="module")
def vendored(folders, certs):
    """Copy the package's folder, under another name and with the tests' authority in place of the Russian root."""
    folder = next(folders)
    shutil.copytree(str(PACKAGE), str(folder / "vendored_lite"), ignore=shutil.ignore_patterns("__pycache__", ".*"))
    write(folder / "vendored_lite" / "russian_root_ca.py", f"PEM = {certs.ca_pem.read_text()!r}\n".encode())
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("vendored_lite")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def anywhere(certs):
    """A server's context for GigaChat names and for names that look like them."""
    return context_for(certs, *(GIGACHAT_NAMES + MORE_GIGACHAT_NAMES + LOOK_ALIKES))


@crossed("road, host", ["direct", "proxy"], GIGACHAT_NAMES + MORE_GIGACHAT_NAMES, indirect=["road"],
         often=lambda road, host: road == "direct" or host == GIGACHAT_NAMES[0])
def test_the_packages_root_is_trusted_for_a_gigachat_name(client, server, road, resolve, vendored, anywhere, host):
    resolve(host)
    running = server(MODELS, context=anywhere)
    client(vendored.GigaChat, base_url=running.at(host) + "/v1", **road).get_models()
    assert running.connections == 1 and running.requests[0].sni == host


@pytest.mark.parametrize("host", LOOK_ALIKES)
def test_the_packages_root_is_trusted_for_no_other_name(client, server, road, resolve, vendored, anywhere, host):
    resolve(host)
    running = server(MODELS, context=anywhere)
    with pytest.raises(vendored.TLSError) as caught:
        client(vendored.GigaChat, base_url=running.at(host) + "/v1", **road).get_models()
    assert host in str(caught.value) and "Russian" not in str(caught.value)
    assert running.connections == 1 and not running.requests


def test_a_gigachat_name_in_capitals_is_one(client, server, resolve, vendored, anywhere):
    resolve("api.giga.chat")
    client(vendored.GigaChat, base_url=server(MODELS, context=anywhere).at("API.Giga.Chat")).get_models()


def test_the_packages_root_goes_to_the_gigachat_host_of_a_pair_alone(client, api, road, resolve, vendored, anywhere):
    resolve("api.giga.chat", "example.org")
    running = api(MODELS, context=anywhere)
    way = {"access_token": None, "credentials": KEY, "auth_url": running.at("example.org") + "/oauth"}
    giga = client(vendored.GigaChat, base_url=running.at("api.giga.chat") + "/v1", **way, **road)
    with pytest.raises(vendored.TLSError, match=r"example\.org"):
        giga.get_models()
    assert not running.requests
    giga.get_models(headers={"Authorization": "Bearer one"})


@pytest.mark.parametrize("settings", [{"ca_bundle_file": "other_pem"}, {"ssl_context": "other_pem"}])
def test_the_packages_root_does_not_stand_beside_an_explicit_setting(
    client, server, certs, road, resolve, vendored, anywhere, settings
):
    resolve("api.giga.chat")
    running = server(MODELS, context=anywhere)
    settings = {key: getattr(certs, value) for key, value in settings.items()}
    if "ssl_context" in settings:
        settings = {"ssl_context": trusting(settings["ssl_context"])}
    with pytest.raises(vendored.TLSError):
        client(vendored.GigaChat, base_url=running.at("api.giga.chat"), **settings, **road).get_models()
    assert running.connections == 1


@pytest.mark.parametrize("name", ["wrong_host", "expired"])
def test_the_systems_roots_are_not_added_for_a_fault_that_they_cannot_cure(
    client, server, certs, road, resolve, vendored, name
):
    resolve("api.giga.chat")
    running = server(MODELS, context=certs.context(name))
    with pytest.raises(vendored.TLSError) as caught:
        client(vendored.GigaChat, base_url=running.at("api.giga.chat"), **road).get_models()
    assert running.connections == 1 and said(caught)[1] == "the Russian Trusted Root CA of this package"


# The system's roots, added when the package's root is not enough


@pytest.fixture
def unknown_issuer(server, certs, resolve, monkeypatch):
    """Serve a GigaChat name with a certificate that only the environment's bundle knows; returns (server, address)."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certs.ca_pem))
    resolve("api.giga.chat")

    def start(script):
        running = server(script, context=certs.context("names"))
        return running, running.at("api.giga.chat") + "/v1"

    return start


@pytest.mark.parametrize("max_retries", [0, 2])
def test_the_systems_roots_are_added_after_a_failed_chain_and_that_is_no_retry(
    client, unknown_issuer, road, max_retries
):
    running, url = unknown_issuer([CHAT, sse(STREAM_BODY), MODELS])
    giga = client(base_url=url, model="m", max_retries=max_retries, **road)
    giga.chat("?"), list(giga.stream("?")), giga.get_models()
    assert (running.connections, len(running.requests)) == (2, 3)  # one more than without, and only once


def test_the_systems_roots_are_added_for_each_host_of_a_pair(client, api, certs, road, resolve, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certs.ca_pem))
    resolve("api.giga.chat", "ngw.devices.sberbank.ru")
    main, auth = (api(MODELS, context=certs.context("names")) for _ in range(2))
    way = {"access_token": None, "credentials": KEY, "auth_url": auth.at("ngw.devices.sberbank.ru") + "/oauth"}
    client(base_url=main.at("api.giga.chat"), max_retries=0, **way, **road).get_models()
    assert (main.connections, auth.connections, auth.oauth_calls, len(main.calls)) == (2, 2, 1, 1)


def test_the_packages_root_stays_trusted_beside_the_systems_roots(
    client, api, certs, road, resolve, vendored, monkeypatch, anywhere
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certs.other_pem))
    resolve("api.giga.chat")
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certs.other_ca.issue_cert("api.giga.chat").configure_cert(foreign)
    contexts = [foreign, anywhere]
    chooser = context_for(certs, "api.giga.chat")
    running = api(reply(body={"data": []}, headers={"Connection": "close"}).close(), context=chooser)
    chooser.sni_callback = lambda sock, name, context: setattr(sock, "context", contexts[running.connections > 2])
    giga = client(vendored.GigaChat, base_url=running.at("api.giga.chat"), **road)
    giga.get_models(), giga.get_models()
    assert (running.connections, len(running.requests)) == (3, 2)


def test_a_server_that_even_the_systems_roots_do_not_know_is_refused(client, server, certs, road, resolve):
    resolve("api.giga.chat")
    running = server(MODELS, context=certs.context("names"))
    giga = client(base_url=running.at("api.giga.chat"), **road)
    for connections in (2, 3):  # the roots are added once; a second call fails at once
        with pytest.raises(TLSError) as caught:
            giga.get_models()
        assert running.connections == connections
    text = str(caught.value)
    assert re.fullmatch("the Russian Trusted Root CA .*, SSL_CERT_FILE .*", said(caught)[1])
    assert "api.giga.chat" in text and "GIGACHAT_CA_BUNDLE_FILE" in text and not running.requests


def test_the_systems_roots_do_not_forgive_a_wrong_name(client, server, certs, road, resolve, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certs.ca_pem))
    resolve("api.giga.chat")
    running = server(MODELS, context=certs.context("wrong_host"))
    with pytest.raises(TLSError, match="base_url"):
        client(base_url=running.at("api.giga.chat"), **road).get_models()
    assert running.connections <= 2 and not running.requests


def test_a_bundle_that_is_missing_when_the_systems_roots_are_needed_is_an_error_that_says_so(
    client, server, certs, road, resolve, monkeypatch, tmp_path
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    resolve("api.giga.chat")
    running = server(MODELS, context=certs.context("names"))
    giga = client(base_url=running.at("api.giga.chat"), **road)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"REQUESTS_CA_BUNDLE.*gone\.pem"):
            giga.get_models()
    shutil.copyfile(str(certs.other_pem), str(tmp_path / "gone.pem"))
    with pytest.raises(TLSError) as caught:
        giga.get_models()
    assert said(caught)[1].count("SSL_CERT_FILE") == 1


def test_a_missing_bundle_does_not_matter_where_the_packages_root_is_enough(
    client, server, road, resolve, vendored, anywhere, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "gone.pem")
    resolve("api.giga.chat")
    running = server(MODELS, context=anywhere)
    client(vendored.GigaChat, base_url=running.at("api.giga.chat"), **road).get_models()


def test_twenty_threads_meet_the_failed_chain_and_each_body_arrives_once(client, unknown_issuer, road):
    running, url = unknown_issuer(CHAT)
    giga = client(base_url=url, model="m", max_retries=0, max_connections=20, **road)
    together, greetings, failures = threading.Barrier(20), itertools.count(), []

    def greet(sock, name, context):
        if next(greetings) < 20:  # all fail at about the same time
            together.wait(10)

    running._context.sni_callback = greet

    def ask(number):
        try:
            giga.chat(f"question {number}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    questions = [request.json["messages"][0]["content"] for request in running.requests]
    assert not failures and sorted(questions) == sorted(f"question {number}" for number in range(20))
    (roots,) = [host.roots for host in giga.transport.tls.values() if host.host == "api.giga.chat"]
    assert len(roots) == len(set(roots)) == 3 and running.connections <= 40
