"""Put real gateways and proxies between client and service, where they are installed, and read what errors say.

nginx, haproxy, squid and dante are Debian's packages nginx-light, haproxy, squid and dante-server.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess

import pytest

from clients import new_client
from gigachat_lite import GigaChatException, ResponseError, TransportError
from servers import CHAT_BODY, CHAT_TEXT, never, refused, reply, until

pytestmark = pytest.mark.long
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 1k; proxy_read_timeout 1s;
    location /api/ {{ proxy_pass {upstream}; }}
    location /forbidden/ {{ deny all; }}
    location /login/ {{ return 302 https://login.corp.example/; }}
  }}
  server {{
    listen 127.0.0.1:{tls_port} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    ssl_client_certificate {ca}; ssl_verify_client on;
    location / {{ proxy_pass {upstream}; }}
  }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 1s
frontend front
    bind 127.0.0.1:{port}
    http-request deny if {{ path_beg /forbidden }}
    default_backend back
backend back
    server one {upstream_address}
"""
SQUID = """
http_port 127.0.0.1:{port}
acl refused dstdomain forbidden.example
http_access deny refused
{login}
http_access allow all
cache deny all
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
access_log none
coredump_dir {folder}
shutdown_lifetime 0 seconds
"""
SQUID_LOGIN = """
auth_param basic program {helper} {folder}/passwords
acl known proxy_auth REQUIRED
http_access deny !known
"""
DANTE = """
logoutput: {folder}/dante.log
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 0.0.0.0/0 to: 127.0.0.2/32 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def run(tmp_path):
    """Run a program with a configuration, until the test ends; its port is waited for."""
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:  # which a program that gives up its rights has to pass
        with contextlib.suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o011)
    with contextlib.ExitStack() as stack:
        def start(name, config, command, **values):
            program = shutil.which(name, path=SBIN)
            if program is None:
                pytest.skip(f"{name} is not installed")
            values = {"folder": tmp_path, "port": free_port(), **values}
            (tmp_path / "config").write_text(config.format(**values))
            arguments = [part.format(**values) for part in command.split()]
            log = stack.enter_context(open(str(tmp_path / "output"), "wb"))
            process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=str(tmp_path))
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            until(lambda: process.poll() is not None or listens(values["port"]), 15)
            assert process.poll() is None, (tmp_path / "output").read_text()
            return values["port"]

        yield start


def as_user(line):
    return line if hasattr(os, "geteuid") and os.geteuid() == 0 else ""


def says(words, url, ask=lambda giga: giga.get_models(), **settings):
    """Ask, and hold the error to its words."""
    giga = new_client(base_url=url, access_token="t", timeout=(5, 5), max_retries=0, allow_http=True, **settings)
    with pytest.raises(GigaChatException, match=words) as caught:
        ask(giga)
    text = str(caught.value)
    assert len(text) <= 300 and text.isprintable() and caught.value.hint
    return caught.value


def nginx(run, upstream, certs, tmp_path):
    shutil.copy(str(certs.server_pem()), str(tmp_path / "server.pem"))
    tls_port = free_port()
    port = run("nginx", NGINX, "-c {folder}/config -e {folder}/error.log", user=as_user("user root;"), ca=certs.ca_pem,
               tls_port=tls_port, upstream=upstream)
    return port, tls_port


def test_nginx(run, server, certs, tmp_path):
    running = server(lambda request, connection: never()(request, connection) if "slow" in request.path
                     else reply(body=CHAT_BODY))
    port, tls_port = nginx(run, running.url, certs, tmp_path)
    plain, tls = f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}/v1"
    good = new_client(base_url=plain + "/api/v1", access_token="t")
    assert good.chat("?").choices[0].message.content == CHAT_TEXT
    says(r"403 Forbidden.*gateway \(nginx.*forbids", plain + "/forbidden/v1")
    says(r"404 Not Found.*not the GigaChat API", plain + "/elsewhere/v1")
    says("302.*leads to login.corp.example", plain + "/login/v1")
    says(r"413 Request Entity Too Large.*gateway \(nginx.*size", plain + "/api/v1", lambda giga: giga.chat("x" * 5000))
    says(r"504 Gateway Time-out.*gateway \(nginx.*stream\(\)", plain + "/api/slow")
    trust = {"ca_bundle_file": str(certs.ca_pem)}
    says("400.*HTTPS port.*speaks TLS: write https://", tls.replace("https", "http"))
    says("No required SSL certificate was sent.*give cert_file and key_file", tls, **trust)
    says("SSL certificate error.*was sent and refused", tls, cert_file=str(certs.foreign_client_pem),
         key_file=str(certs.foreign_client_key), **trust)
    good = new_client(base_url=tls, cert_file=str(certs.client_pem), key_file=str(certs.client_key), **trust)
    assert good.chat("?").choices[0].message.content == CHAT_TEXT


def test_nginx_before_a_dead_service(run, certs, tmp_path):
    with refused() as dead:
        port, _ = nginx(run, f"http://127.0.0.1:{dead}", certs, tmp_path)
        says(r"502 Bad Gateway.*gateway \(nginx.*no answer from the service", f"http://127.0.0.1:{port}/api/v1")


def test_haproxy(run, server):
    running = server(reply(body=CHAT_BODY))
    port = run("haproxy", HAPROXY, "-db -f {folder}/config", upstream_address=f"127.0.0.1:{running.port}")
    assert new_client(base_url=f"http://127.0.0.1:{port}/v1", access_token="t").chat("?")
    says("403 Forbidden.*A gateway forbids", f"http://127.0.0.1:{port}/forbidden")


@pytest.mark.parametrize("dead", ["refused", "silent"])
def test_haproxy_before_a_dead_service(run, server, dead):
    with refused() as closed:
        target = closed if dead == "refused" else server(never()).port
        port = run("haproxy", HAPROXY, "-db -f {folder}/config", upstream_address=f"127.0.0.1:{target}")
        words = "503 Service Unavailable.*not available" if dead == "refused" else r"504 Gateway Time-out.*stream\(\)"
        says(words, f"http://127.0.0.1:{port}/v1")


def test_squid(run, server, certs):
    running = server(reply(body=CHAT_BODY), context=certs.context())
    port = run("squid", SQUID, "-N -n tests{port} -f {folder}/config", login="")
    through = {"proxy": f"http://127.0.0.1:{port}", "ca_bundle_file": str(certs.ca_pem)}
    assert new_client(base_url=running.at("localhost") + "/v1", access_token="t", **through).chat("?")
    says("the proxy's rules forbid this host.*403.*ask its administrator", "https://forbidden.example/v1", **through)
    with refused() as dead:
        says("could not reach the host.*503", f"https://localhost:{dead}/v1", **through)
        error = says(r"503 ERROR: The requested URL could not be retrieved.*gateway \(squid", f"http://127.0.0.1:{dead}/v1",
                     **through)
    assert isinstance(error, ResponseError) and "Copyright" not in error.message and "{" not in error.message


def test_squid_wants_a_password(run, server, certs, tmp_path):
    helper = "/usr/lib/squid/basic_ncsa_auth"
    if not os.path.exists(helper):
        pytest.skip("squid's basic_ncsa_auth is not installed")
    (tmp_path / "passwords").write_text("us:$1$abcdefgh$irWbblnpmw.5z7wgBnprh0\n")  # "password" as crypt has it
    running = server(reply(body=CHAT_BODY), context=certs.context())
    port = run("squid", SQUID, "-N -n tests{port} -f {folder}/config",
               login=SQUID_LOGIN.format(helper=helper, folder=tmp_path))
    for user, words in (("", "wants a user and a password"), ("us:wrong@", "refuses the user or the password")):
        error = says(words, running.at("localhost") + "/v1", proxy=f"http://{user}127.0.0.1:{port}")
        assert isinstance(error, TransportError) and "wrong" not in str(error)


def test_dante(run, server):
    running = server(reply(body=CHAT_BODY))
    port = run("danted", DANTE, "-f {folder}/config -N 1", method="none")
    through = {"proxy": f"socks5h://127.0.0.1:{port}"}
    assert new_client(base_url=f"http://localhost:{running.port}/v1", access_token="t", **through).chat("?")
    says("rules forbid this host.*0x02.*ask its administrator", f"http://127.0.0.2:{running.port}/v1", **through)
    with refused() as dead:
        says("host refuses the proxy's connection.*0x05", f"http://127.0.0.1:{dead}/v1", **through)


def test_dante_wants_a_password(run, server):
    port = run("danted", DANTE, "-f {folder}/config -N 1", method="username")
    for user, words in (("", "wants a user and a password.*socks5h://user"), ("us:wrong@", "refuses the user")):
        error = says(words, "http://127.0.0.1:1/v1", proxy=f"socks5h://{user}127.0.0.1:{port}")
        assert "wrong" not in str(error)
