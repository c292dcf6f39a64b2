"""Make the certificates of the tests, once per session: authorities, servers named by their fault, clients."""
from __future__ import annotations

import datetime
import ssl
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # cryptography warns about Python 3.7 when it is imported
    import trustme
    from cryptography.hazmat.primitives import serialization

PASSWORD = "pa55-of-the-key"  # of Certs.client_locked_key
GIGACHAT_NAMES = ("gigachat.devices.sberbank.ru", "ngw.devices.sberbank.ru", "api.giga.chat")
OTHER_NAMES = ("example.org", "notgiga.chat", "giga.chat.example.org")  # no business of the package's root


class Certs:
    """Hold the certificates; whatever is a path is a `pathlib.Path` to a file in PEM, unless it says otherwise.

    Authorities: `ca_pem` (`ca_der` is the same in DER), `other_pem` (a foreign one), `bundle_pem` (both in one file),
    `intermediate_pem` (issued by the CA, without it: a partial chain); `ca` and `other_ca` are trustme's objects.
    Servers, for `context()`: "server" (localhost, 127.0.0.1), "names" (GIGACHAT_NAMES and OTHER_NAMES), "wrong_host",
    "expired", "foreign" (by the foreign authority), "chained" (leaf and intermediate), "broken_chain" (leaf only).
    Clients: `client_pem` and `client_key`, `client_combined` (key and certificate), `client_locked_key` (by PASSWORD),
    `foreign_client_pem` and `foreign_client_key` (by the foreign authority).
    """

    def __init__(self, folder):
        self._folder, self._contexts = folder, {}
        self.ca, self.other_ca = trustme.CA(organization_name="tests"), trustme.CA(organization_name="others")
        intermediate = self.ca.create_child_ca()
        self.ca_pem = self._write("ca.pem", self.ca.cert_pem.bytes())
        self.ca_der = self._write("ca.crt", ssl.PEM_cert_to_DER_cert(self.ca.cert_pem.bytes().decode("ascii")))
        self.other_pem = self._write("other.pem", self.other_ca.cert_pem.bytes())
        self.bundle_pem = self._write("bundle.pem", self.other_ca.cert_pem.bytes() + self.ca.cert_pem.bytes())
        self.intermediate_pem = self._write("intermediate.pem", intermediate.cert_pem.bytes())
        here = ("localhost", "127.0.0.1")
        self._servers = {
            "server": self.ca.issue_cert(*here),
            "names": self.ca.issue_cert(*(GIGACHAT_NAMES + OTHER_NAMES)),
            "wrong_host": self.ca.issue_cert("wrong.example.net"),
            "expired": self.ca.issue_cert(*here, not_after=datetime.datetime(2001, 1, 1)),
            "foreign": self.other_ca.issue_cert(*(here + GIGACHAT_NAMES)),
            "chained": intermediate.issue_cert(*here),
        }
        self._write_clients()

    def _write_clients(self):
        client, foreign = self.ca.issue_cert("client@example.org"), self.other_ca.issue_cert("foreign@example.org")
        self.client_pem = self._write("client.pem", client.cert_chain_pems[0].bytes())
        self.client_key = self._write("client.key", client.private_key_pem.bytes())
        self.client_combined = self._write("combined.pem", client.private_key_and_cert_chain_pem.bytes())
        self.client_locked_key = self._write("locked.key", _lock(client.private_key_pem.bytes()))
        self.foreign_client_pem = self._write("foreign.pem", foreign.cert_chain_pems[0].bytes())
        self.foreign_client_key = self._write("foreign.key", foreign.private_key_pem.bytes())

    def context(self, name="server", client="none"):
        """Make a server-side SSLContext; `client` is "none", "optional" or "required": a certificate signed by `ca`.

        Contexts are kept and shared, so do not change one.
        """
        if (name, client) not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(str(self.server_pem(name)))
            context.verify_mode = getattr(ssl, "CERT_" + client.upper())
            if client != "none":  # not before: OpenSSL completes the chain that it sends from what it trusts
                self.ca.configure_trust(context)
            self._contexts[name, client] = context
        return self._contexts[name, client]

    def server_pem(self, name="server"):
        """Write a server's key and certificates into one file, and return its path."""
        leaf = self._servers["chained" if name == "broken_chain" else name]
        chain = leaf.cert_chain_pems[:1] if name == "broken_chain" else leaf.cert_chain_pems
        return self._write(f"server-{name}.pem", leaf.private_key_pem.bytes() + b"".join(pem.bytes() for pem in chain))

    def _write(self, name, data):
        path = self._folder / name
        path.write_bytes(data)
        return path


def _lock(pem):
    key = serialization.load_pem_private_key(pem, None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(PASSWORD.encode()))
