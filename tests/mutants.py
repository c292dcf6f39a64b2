"""Name the places where the package is broken on purpose, and the tests that have to notice.

Each row: the file, what stands there once, what it becomes, and the test files that are run against it.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One way to break the package."""

    name: str
    file: str
    old: str
    new: str
    tests: str  # files of tests/, without test_ and .py


MUTANTS = [
    # Tokens
    Mutant(
        "a token is used in its last moment and beyond",
        "auth.py",
        "if token is None or now >= token.deadline:",
        "if token is None or now > token.deadline:",
        "tokens",
    ),
    Mutant(
        "those who waited do not look again before they fetch",
        "auth.py",
        "if token is not None and now < token.deadline:",
        "if False:",
        "tokens",
    ),
    Mutant(
        "a late 401 throws away a fresh token",
        "auth.py",
        "self._token is not None and self._token.value == value:",
        "self._token is not None:",
        "tokens",
    ),
    Mutant("any lifetime is believed", "auth.py", "if not 0 < lifetime <= 86400:", "if False:", "tokens"),
    Mutant("milliseconds pass for seconds", "auth.py", ">= 10**12 else", ">= 10**15 else", "tokens"),
    Mutant(
        "a failed fetch is repeated by each thread that waits",
        "auth.py",
        "if self._failure is not None and now < self._failure[0]:",
        "if False:",
        "tokens",
    ),
    Mutant(
        "all tries of an OAuth call have one RqUID",
        "auth.py",
        'lambda: {"RqUID": str(uuid.uuid4())}',
        'lambda same={"RqUID": str(uuid.uuid4())}: same',
        "tokens",
    ),
    Mutant(
        "a token's life is measured by the clock of this machine",
        "auth.py",
        "lifetime = seconds - parse_date(date, wall)",
        "lifetime = seconds - wall",
        "tokens",
    ),
    Mutant(
        "the token that was refused is read from the file again",
        "auth.py",
        "self._token, self._refused = None, True",
        "self._token = None",
        "token_file",
    ),
    Mutant(
        "a failed early renewal fails the call",
        "auth.py",
        "        except GigaChatException as exc:\n            logger",
        "        except OSError as exc:\n            logger",
        "tokens",
    ),
    Mutant(
        "two threads renew at once",
        "auth.py",
        "and self._fetching.acquire(False):",
        "and (self._fetching.acquire(False) or True):",
        "tokens",
    ),
    Mutant(
        "a token file that others can read is trusted", "token_file.py", "S_ISREG, 0o077)", "S_ISREG, 0)", "token_file"
    ),
    Mutant("a token file may be a link", "token_file.py", 'getattr(os, "O_NOFOLLOW", 0)', "0", "token_file"),
    Mutant("an old token in a file is used", "token_file.py", " and 0 < left <= 86400", "", "token_file"),
    Mutant(
        "others may look into the folder of tokens",
        "token_file.py",
        "self._folder, 0o700",
        "self._folder, 0o755",
        "token_file",
    ),
    Mutant(
        "another user's token file is trusted",
        "token_file.py",
        "if status.st_uid != os.geteuid():",
        "if False:",
        "token_file",
    ),
    # What is sent again
    Mutant(
        "one retry too few",
        "faults.py",
        'if tries > config["max_retries"]',
        'if tries >= config["max_retries"]',
        "faults",
    ),
    Mutant(
        "a retry too many",
        "faults.py",
        'if tries > config["max_retries"]',
        'if tries > config["max_retries"] + 1',
        "faults",
    ),
    Mutant(
        "a wish of a day is waited for",
        "faults.py",
        "return wish if wish <= LONGEST_WISH else None",
        "return wish",
        "faults",
    ),
    Mutant(
        "retry_on_status_codes repeats what makes things",
        "faults.py",
        'is not None and kind != "create":',
        "is not None:",
        "retries",
    ),
    Mutant(
        "a paid request is sent again after a fresh connection was lost",
        "faults.py",
        'return "lost" if note.fresh or note.sock is None else "stale"',
        'return "stale"',
        "faults",
    ),
    Mutant(
        "a broken answer passes for a lost connection", "faults.py", "    if note.heard:", "    if False:", "faults"
    ),
    Mutant("a TLS failure is tried again", "faults.py", 'return "tls"', 'return "refused"', "tls errors"),
    Mutant("a deadline passes for a timeout", "faults.py", 'return "deadline"', 'return "read timeout"', "errors"),
    Mutant("a 401 is final at once", "client.py", "if reply.fault == 401 and token", "if False and token", "faults"),
    Mutant(
        "a body that was read is sent again",
        "client.py",
        "if delay is None or not call.rewind(reply.error):",
        "if delay is None:",
        "files",
    ),
    Mutant(
        "a pause outlasts the deadline",
        "client.py",
        "and time.monotonic() + delay >= call.until:",
        "and False:",
        "faults",
    ),
    Mutant(
        "an error in a 200 passes for an answer", "client.py", "hidden = hidden_status(data)", "hidden = 0", "faults"
    ),
    Mutant("an answer of status 101 is read", "client.py", "    if status < 200:", "    if False:", "faults"),
    # Places
    Mutant(
        "a place is not given back",
        "client.py",
        "            if slot:\n                slot.give_back()\n",
        "            pass\n",
        "retries streams",
    ),
    Mutant(
        "a stream holds no place",
        "client.py",
        "reply, slot = reply._replace(slot=slot), None",
        "reply = reply._replace(slot=slot)",
        "retries streams",
    ),
    Mutant(
        "a place is given back twice",
        "client.py",
        "number, home = self._once.pop()",
        "number, home = self._once[0]",
        "retries streams stream_ends",
    ),
    Mutant(
        "a thread waits for its own streams",
        "client.py",
        "if list(self._owners.values()).count(_me.token) == self.size:",
        "if False:",
        "retries streams",
    ),
    Mutant(
        "nothing limits generating calls",
        "client.py",
        'if call.kind == "generate" or call.generates else None',
        "if call.generates else None",
        "retries streams",
    ),
    Mutant(
        "a forgotten stream keeps its place",
        "decode.py",
        "            self._body.abandon()\n            if self._reply.slot:\n",
        "            if False:\n",
        "streams stream_ends",
    ),
    Mutant(
        "a forked child uses the sockets of its parent",
        "client.py",
        "client._start(client._tokens.peek(), trusts)",
        "pass",
        "retries tokens",
    ),
    # Bodies and streams
    Mutant(
        "a short body passes for a whole one",
        "decode.py",
        'raise http.client.IncompleteRead(b"", self.left)',
        "pass",
        "faults",
    ),
    Mutant(
        "half a gzip passes for a whole one", "decode.py", "if not unzip.eof and limit is None:", "if False:", "faults"
    ),
    Mutant(
        "half a stream passes for a whole one",
        "decode.py",
        "        raise self._early_end()\n",
        "        raise StopIteration\n",
        "faults",
    ),
    Mutant(
        "[DONE] inside an event ends the stream",
        "decode.py",
        'if not data and value.strip() == b"[DONE]":',
        'if value.strip() == b"[DONE]":',
        "decode",
    ),
    Mutant("an event has no limit", "decode.py", "if size > limit + 1:", "if False:", "decode"),
    Mutant("a line has no limit", "decode.py", "        if size > limit:\n", "        if False:\n", "decode"),
    Mutant(
        "what had come is lost with the error",
        "decode.py",
        "        error.partial = self.text\n        self._error",
        "        self._error",
        "faults",
    ),
    Mutant(
        "an error inside a stream is passed over",
        "decode.py",
        'if name == "error" or (known and not choices and is_error(value)):',
        "if False:",
        "faults stream_contents",
    ),
    Mutant(
        "NaN passes for JSON", "decode.py", 'raise ValueError(f"{constant} is not JSON")', "return 0", "errors chat"
    ),
    Mutant(
        "an answer that echoes the token shows it",
        "decode.py",
        'return data.replace(token, b"***") if len(token) >= 8 else data',
        "return data",
        "errors tokens",
    ),
    Mutant(
        "an error's body is read to its end", "client.py", "None if good and not raw else ERROR_LIMIT", "None", "errors"
    ),
    Mutant(
        "a compressed stream is read as text",
        "client.py",
        'if response.headers.get("Content-Encoding", "identity").lower() != "identity":',
        "if False:",
        "streams stream_contents",
    ),
    Mutant(
        "a stream may come compressed", "client.py", 'headers["Accept-Encoding"] = "identity"', "pass", "streams files"
    ),
    Mutant(
        "the deadline ends with the headers",
        "adapters.py",
        "self._sock.settimeout(self.note.patience(self.limit))",
        "pass",
        "faults",
    ),
    Mutant(
        "nothing limits the sending of a body",
        "adapters.py",
        "self.sock.settimeout(note.patience(note.read))",
        "pass",
        "retries files",
    ),
    Mutant(
        "an interim answer passes for the answer",
        "adapters.py",
        "if not 100 < status < 200 or status == 101:",
        "if True:",
        "faults",
    ),
    Mutant("headers that break off pass for an answer", "adapters.py", "if self._paced.ended:", "if False:", "faults"),
    # TLS and hosts
    Mutant("the national root is trusted everywhere", "trust.py", "elif is_gigachat(host):", "elif True:", "tls"),
    Mutant(
        "any host's certificate will do",
        "trust.py",
        "context.verify_flags |= PARTIAL_CHAIN",
        "context.check_hostname = False",
        "tls",
    ),
    Mutant("an intermediate alone is no root", "trust.py", "context.verify_flags |= PARTIAL_CHAIN", "pass", "tls"),
    Mutant("old TLS is spoken", "trust.py", "ssl.TLSVersion.TLSv1_2", "ssl.TLSVersion.MINIMUM_SUPPORTED", "tls"),
    Mutant(
        "the system's roots stand beside a bundle",
        "trust.py",
        'self.roots.append("ca_bundle_file " + config["ca_bundle_file"])',
        "self._load_wide()",
        "tls",
    ),
    Mutant(
        "trust_env=False leaves the environment's roots in",
        "trust.py",
        "if self._trust_env else ():",
        "if True else ():",
        "tls",
    ),
    Mutant(
        "the context stops at a proxy",
        "adapters.py",
        "kwargs.update(self._tls(), socket_options",
        "kwargs.update(socket_options",
        "tls",
    ),
    Mutant("cookies are stored", "client.py", "    def extract_cookies(", "    def extract_no_cookies(", "chat"),
    Mutant(
        "any host may be asked",
        "client.py",
        "        if origin_of(url) not in self.routes:\n",
        "        if False:\n",
        "retries endpoints errors",
    ),
    Mutant(
        "a header of the caller is overwritten by the token",
        "client.py",
        'own_token = "Authorization" not in call.headers',
        "own_token = True",
        "tokens",
    ),
    # Settings
    Mutant(
        "the weakest layer wins",
        "config.py",
        "for rank in reversed(range(len(layers))):",
        "for rank in range(len(layers)):",
        "config",
    ),
    Mutant("dollars in .env are expanded", "config.py", "interpolate=False", "interpolate=True", "config"),
    Mutant(
        "an empty variable counts",
        "config.py",
        'or key == "verbose" or not value or not value.strip():',
        'or key == "verbose":',
        "config",
    ),
    Mutant(
        "a misspelt setting is passed over",
        "config.py",
        '            raise TypeError(f"no such',
        '            str(f"no such',
        "config",
    ),
    Mutant(
        "the key may travel in clear text",
        "config.py",
        'if scheme == "http" and not config["allow_http"] and not is_loopback(host):',
        "if False:",
        "config",
    ),
    Mutant(
        "127.evil.example passes for this machine",
        "config.py",
        're.fullmatch(r"127(\\.\\d{1,3}){3}", host)',
        're.match(r"127\\.", host)',
        "config",
    ),
    Mutant(
        "a password may stand in an address",
        "config.py",
        "if parts.username is not None or parts.password is not None:",
        "if False:",
        "config",
    ),
    Mutant("a stranger's .env is read", "config.py", "if open_to_all and not", "if False and not", "config"),
    Mutant(
        "the way of a weaker layer stays",
        "config.py",
        "                        other.values.pop(key, None)\n",
        "                        pass\n",
        "config",
    ),
    # Secrets
    Mutant(
        "a printed config shows its secrets",
        "config.py",
        '{key: "***" if key in SECRETS and value else value for key, value in config.items()}',
        "dict(config)",
        "config",
    ),
    Mutant(
        "a secret shows in a repr", "config.py", "return \"'***'\"", "return super().__repr__()", "config tokens errors"
    ),
    Mutant(
        "a cause keeps the request and its token",
        "faults.py",
        'for name in ("request", "response", "url"):',
        "for name in ():",
        "errors tokens",
    ),
    Mutant("an error's headers hold cookies", "faults.py", ' if name.lower() != "set-cookie"', "", "errors defects"),
    Mutant("query strings are logged", "client.py", "path = urlsplit(url).path", "path = url", "resources"),
]
