"""What to do about failures: a table for each kind, from which docs/errors.md is made.

Each row is what happened and what to do, or the latter alone. diagnose.py picks the row.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

Advice = Tuple[str, str]  # what happened, and what to do
Table = Tuple[Tuple[str, Advice], ...]  # by a pattern: the first that matches

# By the words for failures in transport.RETRY_ON.

PROXY = ", or name a proxy (GIGACHAT_PROXY)"
FAILURES: Dict[str, Advice] = {
    "dns": ("the name cannot be resolved", "check base_url, auth_url and the network" + PROXY),
    "no connection": ("no connection", "check base_url, auth_url and the network" + PROXY),
    "connect timeout": ("no connection within the connect timeout", "check the network and its firewall" + PROXY),
    "read timeout": ("nothing came for {timeout} s", "allow more time (timeout, GIGACHAT_TIMEOUT)"),
    "body timeout": ("nothing came for {timeout} s", "allow more time (timeout, GIGACHAT_TIMEOUT)"),
    "deadline": ("the deadline of this call ran out", "raise it (deadline, GIGACHAT_DEADLINE)"),
    "proxy": ("the proxy refuses the connection", "check the proxy's address; its administrator may know more"),
    "broken": ("the answer broke off before its end", "ask again"),
    "stale": ("the connection was closed before the answer", "ask again"),
    "lost": ("the connection was closed before the answer", "ask again; {wanted}"),
    "protocol": ("the answer is not proper HTTP", "check the address, and any proxy or gateway on the way"),
    "file": ("a file cannot be read", "check that it is there and may be read"),
    "not sent": ("the request cannot be sent", "check base_url, auth_url, headers and proxy"),
}
AFTER_LOSS: Dict[Tuple[str, Optional[bool]], str] = {  # by the scheme, and whether there is a client certificate
    **dict.fromkeys([("http", False), ("http", True), ("http", None)], "if the port speaks TLS, write https://"),
    **dict.fromkeys([("proxy", False), ("proxy", True), ("proxy", None)], "check the proxy's port and scheme"),
    ("https", False): "the server may want a client certificate (cert_file, key_file)",
    ("https", True): "the server may refuse the client certificate",
    ("https", None): "the server may want another client certificate than the ssl_context has",
}
CUT_HANDSHAKE: Advice = (
    "the connection was closed during the TLS handshake",
    "check the port; a firewall, or a gateway on the way, may not let this host through",
)

# By the names of errno and of getaddrinfo, when there is no connection.

FREE_RESOURCES = "close clients and streams that are not needed, and use one client for all calls"
ERRNOS: Table = (
    ("ECONNREFUSED", ("nothing listens there", "check base_url (GIGACHAT_BASE_URL) or auth_url, and the port" + PROXY)),
    ("EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN", ("no route to it", "check the network and the VPN" + PROXY)),
    ("ETIMEDOUT", ("the host does not answer", "check the port and the firewall" + PROXY)),
    ("ECONNRESET|ECONNABORTED", ("the connection was reset", "check the port and the firewall" + PROXY)),
    ("EACCES|EPERM", ("this machine forbids the connection", "allow it in its firewall or sandbox")),
    ("EADDRNOTAVAIL|EADDRINUSE", ("no local port is free", FREE_RESOURCES)),
    ("EMFILE|ENFILE", ("too many files are open", FREE_RESOURCES + ", or raise ulimit -n")),
    ("ENOBUFS|ENOMEM|EAI_MEMORY", ("out of memory, or of socket buffers", FREE_RESOURCES)),
    ("EAFNOSUPPORT", ("this machine has no IPv6, or no IPv4", "name a host with IPv4, or with IPv6")),
    ("EINVAL", ("the address is invalid", "check the host and the port")),
    ("EAI_AGAIN|EAI_FAIL", ("no name server answers", "check the network and its name servers, or repeat later")),
    ("EAI_", FAILURES["dns"]),
    ("", FAILURES["no connection"]),
)

# By the exceptions of http.client and urllib3 and what they say.

PROTOCOL: Table = (
    (r"BadStatusLine.*\\x1[56]\\x03", ("this port speaks TLS", "write https:// in the address")),
    (r"more than \d+ headers", ("the answer has more than 100 headers", "find the proxy or gateway that adds them")),
    (r"LineTooLong.*header", ("a header of the answer is longer than 64 KB", "find the proxy or gateway that adds it")),
    (r"BadStatusLine|UnknownProtocol|LineTooLong.*status",
     ("the server speaks no HTTP", "check the host and the port")),
    (r"LineTooLong|InvalidChunk|IncompleteRead", ("the chunks of the answer are malformed", FAILURES["protocol"][1])),
    (r"InvalidHeader", ("the headers of the answer contradict each other", FAILURES["protocol"][1])),
    (r"DecodeError|ContentDecoding", ("the body is not compressed as its headers say", FAILURES["protocol"][1])),
    (r"", FAILURES["protocol"]),
)

# By the status of a proxy's refusal of CONNECT, and by the reply of a SOCKS proxy (RFC 1928, 6), as PySocks says it.

LOGIN = "write proxy={scheme}://user:password@host:port (GIGACHAT_PROXY)"
CORRECT_LOGIN = "correct them in the proxy's address, with @ and / written as %40 and %2F"
REACH = "check the host and the port; the proxy's administrator may know more"
NOT_A_PROXY = "check the proxy's address: is it a proxy?"
CHECK_PROXY = "check the proxy's address"
CHECK_SOCKS = "check the proxy's address and scheme; with socks5h:// the proxy resolves names"
NO_HTTP_PROXY: Advice = ("the proxy does not speak HTTP, or closed the connection", "check its port and its scheme")
CONNECT: Table = (
    ("^3", ("the proxy leads elsewhere", "if the network wants a login, log in with a browser")),
    ("400|404|405|501", ("the proxy does not support CONNECT", NOT_A_PROXY)),
    ("403", ("the proxy's rules forbid this host", "ask its administrator to allow it")),
    ("401|407", ("the proxy wants a user and a password", LOGIN)),
    ("429", ("the proxy limits connections", "repeat later, or make fewer at a time (max_connections)")),
    ("500", ("the proxy failed, or cannot resolve the host", REACH)),
    ("502|503", ("the proxy could not reach the host", REACH)),
    ("408|504", ("the proxy timed out", REACH)),
    ("511", ("the network wants a login first", "log in with a browser")),
    ("", FAILURES["proxy"]),
)
REFUSED_LOGIN: Advice = ("the proxy refuses the user or the password", CORRECT_LOGIN)
UNSUPPORTED_LOGIN: Advice = (
    "the proxy wants {schemes}",
    "only Basic is supported: run a local proxy that supports {schemes} (such as cntlm or px), and name that one",
)
SOCKS: Table = (
    ("^0x01", ("the proxy failed", "repeat later, or ask its administrator")),
    ("^0x02", ("the proxy's rules forbid this host", "ask its administrator to allow it")),
    ("^0x0[34]", ("the proxy has no way to the host", REACH)),
    ("^0x05", ("the host refuses the proxy's connection", REACH)),
    ("^0x06", ("the proxy timed out waiting for the host", REACH)),
    ("^0x07", ("the proxy does not support CONNECT", NOT_A_PROXY)),
    ("^0x08", ("the proxy does not take this kind of address",
               "use socks5h:// (the proxy resolves names) or socks5:// (this machine does)")),
    ("^0x5[bcd]", ("the proxy refuses the connection, or failed", "ask its administrator, or try socks5h://")),
    ("authentication failed", REFUSED_LOGIN),
    ("methods were rejected|No username", ("the proxy wants a user and a password, or refuses those given", LOGIN)),
    ("invalid data", ("the proxy does not speak SOCKS", "check its port and its scheme (http:// or socks5h://)")),
    ("closed unexpectedly", ("the proxy closed the connection", "check its port and its scheme")),
    ("", FAILURES["proxy"]),
)

# TLS: by OpenSSL's verify codes, and by what it says of a handshake.

UNKNOWN_ISSUER = (2, 18, 19, 20, 21)  # may be cured by adding a root
GIVE_ROOT = "give the missing root as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)"
GIVE_CONTEXT = "load the missing root into the ssl_context"
NO_CHAIN = (  # where a server has sent its own certificate alone, whose issuer may be either
    "the server does not send its intermediate certificate, or its root is unknown: give either as ca_bundle_file "
    "(GIGACHAT_CA_BUNDLE_FILE)"
)
OTHER_HOST = "the certificate is for another host: check base_url and auth_url"
WEAK_KEY = "the server's key or signature is too weak; an ssl_context with set_ciphers('DEFAULT@SECLEVEL=1') accepts it"
FAULTY = "the server's certificates are faulty: tell its administrator"
VERIFY: Tuple[Tuple[Tuple[int, ...], str], ...] = (
    (UNKNOWN_ISSUER, GIVE_ROOT),
    ((9, 10), "check the clock of this machine; if it is right, the server's certificate has to be renewed"),
    ((62, 63, 64), OTHER_HOST),
    ((66, 67, 68), WEAK_KEY),
    ((23,), "the certificate was revoked: do not connect, and tell the server's administrator"),
    ((3, 5, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54), "load a current revocation list into the ssl_context"),
    (tuple(range(80, 95)), "the ssl_context checks strictly: drop VERIFY_X509_STRICT, or renew the certificate"),
)
CLIENT_CERT: Dict[Optional[bool], str] = {  # whether there is one; None with an ssl_context of the caller's
    True: "the client certificate was sent and refused: check its issuer and its dates, or give another one",
    False: "the server may want a client certificate: give cert_file and key_file (and leave auth_client_cert on)",
    None: "the server wants a client certificate, or refuses the one of the ssl_context: check load_cert_chain()",
}
HANDSHAKE: Tuple[Tuple[str, str], ...] = (
    ("match|not valid for", OTHER_HOST),
    ("certificate required|(bad|unsupported) certificate|unknown ca|certificate (expired|revoked|unknown)", "{cert}"),
    ("access denied|decrypt error", "{cert}"),
    ("handshake failure|insufficient security", "{cert}; or the server's ciphers are too old for this machine"),
    ("protocol version|unsupported protocol|version too low|inappropriate fallback",
     "server and client have no version of TLS in common: give an ssl_context with other limits (minimum_version)"),
    ("unrecognized name", "the server does not know this host name: check base_url and auth_url"),
    ("wrong version|unknown protocol|http request|packet length", "there is no TLS: check the port and the proxy"),
    ("too small|too weak|legacy renegotiation", WEAK_KEY),
    ("bad record|decryption failed|record layer", "the TLS data was corrupted on the way: check proxy and network"),
    ("alert", "the server refused the handshake: check the address; its administrator may know more"),
    ("", "check base_url, auth_url and the proxy"),
)

# Answers: by the codes of OAuth (up to 99), and by the statuses of the service's JSON.

SCOPES = "GIGACHAT_API_PERS (persons), GIGACHAT_API_B2B (prepaid), GIGACHAT_API_CORP (pay as you go)"
CLASSIC = "//gigachat.devices.sberbank.ru"
NEWER = " Newer models are only on GIGACHAT_BASE_URL=https://api.giga.chat/v1."
ADDRESS = "check base_url (it ends in /api/v1, or /v1 on api.giga.chat), auth_url and the proxy."
NOT_THE_API = "This is not the GigaChat API: " + ADDRESS
HINTS: Dict[int, str] = {
    1: f"The scope is misspelt: it is one of {SCOPES}.",
    4: "credentials is the authorization key of your project, base64 of client_id:client_secret: copy it whole.",
    5: f"No scope was sent: give one of {SCOPES}.",
    6: "The authorization key is not known: copy it from https://developers.sber.ru/studio, or make a new one.",
    7: f"The key belongs to another scope: set GIGACHAT_SCOPE (scope=) to one of {SCOPES}.",
    400: "The message says what the service could not read.",
    401: "Check the key (GIGACHAT_CREDENTIALS), the token or the password that this client was given.",
    402: "The tokens of this model are used up: buy more, or name another model (GIGACHAT_MODEL).",
    403: "The account's scope or contract does not cover this call, or base_url is wrong: check both.",
    404: "Check base_url (GIGACHAT_BASE_URL) and the id.",
    405: "This address does not take this call: check base_url (GIGACHAT_BASE_URL).",
    407: "The proxy wants a user and a password, or refuses those given: write proxy=http://user:password@host:port.",
    408: "The request came too slowly: repeat it.",
    413: "The prompt is larger than the model's context: shorten it or its history.",
    422: "The message says what is wrong in the request.",
    504: "The answer took too long, and may have been paid for: ask with stream(), which gives it as it is written.",
    429: "A private person's key has one request at a time, a company's ten: see max_connections, or repeat later.",
}
REDIRECT = "Redirects are not followed, to protect the token: check base_url (GIGACHAT_BASE_URL)."
ELSEWHERE = (
    "Redirects are not followed, and this one leads to {host}: if the network wants a login there, log in with a "
    "browser; else check base_url and the proxy."
)
SAID_COMPRESSED = "the answer is compressed"
NO_FILE = "Check the file's id; a file that was deleted is gone."
LARGE_FILE = "Send a smaller file: an image may have 15 MB, audio 35 MB, a text 40 MB."
TOO_MANY_TOKENS = "Tokens are asked for too often: repeat later, and let one client serve all calls."
OTHER_4XX = "The message says what was refused."
OTHER_5XX = "The service failed: repeat later."
WAIT = "The server asks to wait {seconds} s. "
# By what the service or a gateway says, whatever the status.
BY_MESSAGE: Tuple[Tuple[str, str], ...] = (
    ("plain HTTP request|HTTP request to an HTTPS|plain HTTP to an SSL|requires TLS",
     "This port speaks TLS: write https://."),
    ("No required SSL certificate",
     "The server wants a client certificate: give cert_file and key_file, and leave auth_client_cert on."),
    ("SSL certificate error", "The client certificate was sent and refused: check its issuer and dates."),
    ("^Access to file", "A file is readable only with the X-Client-ID that it was made with (client_id_cvar)."),
    ("image processing", "Name a model that reads pictures, such as GigaChat-2-Pro or GigaChat-2-Max."),
    ("invalid JSON syntax", "Some value has the wrong type, such as a string instead of a number."),
    (SAID_COMPRESSED, "A proxy or gateway on the way compresses the answer: ask its administrator."),
    ("^No such model$", "Name another model: get_models() lists them."),
)
# By status, of a page that is not the service's JSON; a gateway, a proxy or a firewall has written it.
PAGES: Dict[int, str] = {
    400: "{gateway} could not read the request: check base_url, the proxy and headers=.",
    401: "{gateway} wants a login of its own: ask its administrator, or " + ADDRESS,
    403: "{gateway} forbids the request: ask its administrator, or " + ADDRESS,
    404: NOT_THE_API,
    405: NOT_THE_API,
    407: HINTS[407],
    408: "{gateway} timed out waiting for the request: check the network, and repeat.",
    413: "{gateway} rejects requests of this size: send less, or ask its administrator for a higher limit.",
    414: "{gateway} rejects addresses of this length: check base_url and the id.",
    429: "{gateway} limits requests: repeat later, or make fewer at a time (max_connections).",
    431: "{gateway} rejects headers of this size: make those of headers= and of the context shorter.",
    451: "{gateway} is not allowed to serve this (451, legal reasons): " + ADDRESS,
    495: "The client certificate was sent and refused: check its issuer and dates.",
    496: "The server wants a client certificate: give cert_file and key_file.",
    497: "This port speaks TLS: write https://.",
    502: "{gateway} got no answer from the service: repeat later.",
    503: "{gateway} says that the service is not available: repeat later.",
    504: "{gateway} timed out; the answer may have been paid for: use stream(), which keeps the connection busy.",
    511: "The network wants a login first: log in with a browser.",
}
OTHER_PAGE_4XX = "{gateway} refused the request: " + ADDRESS
OTHER_PAGE_5XX = "{gateway} failed: repeat later."

# Settings

NO_KEY = (
    "there is no key: put GIGACHAT_CREDENTIALS=… into the environment or into a file .env here, or give credentials=; "
    "a key is made at https://developers.sber.ru/studio. To try without one and without a network: "
    "python -m gigachat_lite.emulator -- python script.py"
)
