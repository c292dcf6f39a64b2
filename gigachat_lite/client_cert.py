"""The client certificate of mTLS: loaded into an SSL context, with what is wrong with it in one sentence."""

from __future__ import annotations

import ssl
from typing import Any, Mapping

from .exceptions import ConfigurationError


def load_client_cert(context: ssl.SSLContext, config: Mapping[str, Any]) -> None:
    """Load the client certificate; an empty password keeps OpenSSL from asking for one on the terminal."""
    cert, key, password = config["cert_file"], config["key_file"], config["key_file_password"]
    try:
        context.load_cert_chain(cert, key, password=password or (lambda: ""))
    except ssl.SSLError as exc:
        where = "cert_file {}{}".format(cert, " with key_file " + key if key else "")
        if exc.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            what = "the key does not belong to the certificate"
        elif _is_encrypted(key or cert):
            what = "key_file_password is wrong" if password else "the key is encrypted: give key_file_password"
        else:
            what = "a certificate and its key are needed, both in PEM"
        raise ConfigurationError(f"{where}: {what}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"key_file_password: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"cert_file, key_file: cannot be read: {exc.strerror or exc}") from exc


def _is_encrypted(path: str) -> bool:
    with open(path, "rb") as file:
        return b"ENCRYPTED" in file.read()
