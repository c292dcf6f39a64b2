"""Certificates for the emulator: its own throw-away ones, or the caller's, and contexts that show them."""

from __future__ import annotations

import pathlib
import ssl
import warnings
from typing import Mapping, Sequence

NAMES = ("localhost", "127.0.0.1", "::1")
MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}  # of client_cert


def make_certificates(names: Sequence[str]) -> dict[str, bytes]:
    """Make an authority, a server's certificate for the names, and a client's; ImportError without trustme."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what trustme stands on complains of an old Python
            import trustme
    except ImportError as exc:
        raise ImportError("Emulator(tls=True) makes its certificates with trustme: pip install trustme") from exc
    ca = trustme.CA(organization_name="GigaChat emulator")
    server, client = ca.issue_cert(*names), ca.issue_cert("client@example.org")
    return {
        "server.pem": server.cert_chain_pems[0].bytes(), "server.key": server.private_key_pem.bytes(),
        "ca.pem": ca.cert_pem.bytes(),
        "client.pem": client.cert_chain_pems[0].bytes(), "client.key": client.private_key_pem.bytes()}


def write_files(folder: str, files: Mapping[str, bytes]) -> list[str]:
    """Write files that nobody else may read, and return their paths."""
    paths = [pathlib.Path(folder) / name for name in files]
    for path, data in zip(paths, files.values()):
        path.touch(mode=0o600)
        path.write_bytes(data)
    return list(map(str, paths))


def server_context(cert_file: str, key_file: str, ca_bundle_file: str, client_cert: str) -> ssl.SSLContext:
    """Make the context of a listener; `client_cert` is one of `MODES`, and signed by what the bundle holds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    context.verify_mode = MODES[client_cert]
    if client_cert != "none":
        context.load_verify_locations(ca_bundle_file)
    context.sni_callback = lambda sock, name, _: setattr(sock, "sni", name)
    return context
