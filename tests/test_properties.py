"""Hold what takes bytes and words from outside to rules that must hold for all of them, with hypothesis.

A few thousand inputs are drawn in every run, the same ones each time. ``pytest -m long tests/test_properties.py`` draws
a million (PROPERTY_INPUTS says another number) of a new seed, and prints how many it has tried. What was found wrong
once has a test of its own, below the rules.
"""

from __future__ import annotations

import calendar
import contextlib
import copy
import http.client
import io
import json
import logging
import math
import os
import pickle
import time

import pytest
import requests

from gigachat_lite import (
    ChatCompletion,
    ConfigurationError,
    Embeddings,
    GigaChatException,
    ResponseError,
    StreamError,
)
from gigachat_lite.auth import new_token
from gigachat_lite.config import DEFAULTS, SECRETS, load_config
from gigachat_lite.decode import Reply, decode_json, iter_lines, iter_sse, read_json
from gigachat_lite.faults import LONGEST_PAUSE, LONGEST_WISH, parse_date, parse_retry_after, retry_delay
from gigachat_lite.models import Answer, Chat, Messages, Obj
from servers import CHAT_BODY, STREAM_BODY, raw, reply, sse, until
from streaming import new_client

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

ALL = int(os.environ.get("PROPERTY_INPUTS", "1000000"))  # inputs of the long form, all rules together
BATCH = 5000  # inputs of one seed: hypothesis remembers all of them
PART = 25_000  # inputs of one test, each of which has a time limit
# conftest.py freezes what is there, so hypothesis does not find its own reference and fears for it.
pytestmark = pytest.mark.filterwarnings("ignore:It looks like `register_random` was passed an object")


def tried(often, share):
    """Try a rule on so many inputs in every run, and on its share (in hundredths) of all in the long form, in parts."""
    rows = [pytest.param((often, False), id="often")]
    for begin in range(0, max(ALL * share // 100, 1), PART):
        count = min(PART, max(ALL * share // 100, 1) - begin)
        rows.append(pytest.param((count, True), marks=pytest.mark.long, id=f"from {begin}"))
    return pytest.mark.parametrize("hold", rows, indirect=True)


@pytest.fixture(scope="module")
def tally(request, folders):
    """Count what the long form has tried, and say it at the end."""
    hypothesis.configuration.set_hypothesis_home_dir(str(next(folders)))  # else it writes beside the tests
    counts, start = {}, time.monotonic()
    yield counts
    if counts:
        each = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{sum(counts.values()):,} inputs tried in {time.monotonic() - start:.0f} s: {each}")


@pytest.fixture
def hold(request, tally):
    """Hold a rule, a function that raises where it is broken, to the choices that so many drawn bytes make."""

    def run(rule, size):
        name, (left, long) = rule.__name__, request.param
        while left > 0:
            seen = []

            def counted(data):
                rule(Choices(data))
                seen.append(None)  # noqa: B023 -- it is called in this round alone

            counted.__name__ = counted.__qualname__ = name  # hypothesis draws the same for the same name and source
            settings = hypothesis.settings(
                max_examples=min(left, BATCH),
                derandomize=not long,
                database=None,
                deadline=None,
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
                suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a loaded machine is no fault of the rule
            )
            test = settings(hypothesis.given(st.binary(min_size=size, max_size=size))(counted))
            (hypothesis.seed(int.from_bytes(os.urandom(8), "big"))(test) if long else test)()
            assert seen
            left -= len(seen)
            if long:
                tally[name] = tally.get(name, 0) + len(seen)

    return run


def outcome(work):
    """List what an iterator gave, and the class of the error that ended it."""
    got = []
    try:
        for item in work:
            got.append(item)
    except Exception as error:
        return got, type(error)
    return got, None


class Choices:
    """Draw values from a string of bytes, far cheaper than a strategy for each; past its end all is the simplest."""

    def __init__(self, data):
        self._data = iter(data)

    def number(self):
        return next(self._data, 0)

    def whole(self, most):
        return (((self.number() << 8 | self.number()) << 8 | self.number()) << 8 | self.number()) % (most + 1)

    def of(self, options):
        return options[self.number() % len(options)]

    def some(self, options, most):
        return [self.of(options) for _ in range(self.number() % (most + 1))]

    def bytes(self, most):
        return bytes(self.some(range(256), most))

    def word(self, most=12):
        return "".join(self.some(LETTERS, most))

    def json(self, depth=0):
        kind = self.number() % (9 if depth < 4 else 6)
        if kind < 6:
            return copy.copy(self.of(SCALARS))
        return [self.json(depth + 1) for _ in range(self.number() % 4)] if kind == 6 else self.object(depth + 1)

    def object(self, depth=0):
        return {self.of(KEYS): self.json(depth) for _ in range(self.number() % 5)}


LETTERS = [chr(code) for code in range(128)] + [chr(128 + step * 9990) for step in range(100)]
LETTERS += "\x85\xa0\u0130\u0131\u0661\u0662\u2028\u212a\u2100\ud800\udfff\ufb01\ufeff\uff11Ж\U0001f600\U0010ffff"
KEYS = ["choices", "message", "content", "id", "usage", "data", "new", "items", "Ж", "x_headers", "index", "delta"]
KEYS += ["role", "messages", "object", "object_", "", "a b", "__len__", "embedding", "arguments", "function_call"]
SCALARS = [None, "", "text", 0, 1, -5, 2.5, True, False, "Ж\u2028\U0001f600", 10**30, "stop", [], {}, "\ud800"]


# Server-sent events: an independent parser that is slow and plain, after the WHATWG's rules

PIECES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xef\xbb\xbf",
    b"data:",
    b"data: ",
    b"data",
    b"event: a",
    b"event:",
    b"id: 1",
]
PIECES += [b":", b": ", b" ", b"[DONE]", b"data: [DONE]\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\xd0", b"\x96", b"\xf0\x9f"]
PIECES += [
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x00",
    b"\xff",
    b"x",
    b"retry:5",
    b"\xd0\xb4\xd0\xb0",
    b"data: 1\n\n",
    b"\xed\xa0\x80",
]
STREAMS = {"bytes": lambda choices: choices.bytes(40), "pieces": lambda choices: b"".join(choices.some(PIECES, 24))}
LIMITS = [8 << 20, 0, 1, 2, 5, 9]


def slow_lines(data, limit):
    line, i = b"", 0
    while i < len(data):
        byte = data[i : i + 1]
        i += 1
        if byte in (b"\r", b"\n"):
            yield line
            line = b""
            if byte == b"\r" and data[i : i + 1] == b"\n":
                i += 1
        else:
            line += byte
            if len(line) > limit:
                raise StreamError
    if line:
        yield line


def slow_events(data, limit):
    """Follow the rules letter by letter; ours beside them: [DONE] ends, and bytes that are no UTF-8 are an error."""
    kind, buffer = "", []
    for number, line in enumerate(slow_lines(data, 8 << 20)):
        if number == 0 and line[:3] == b"\xef\xbb\xbf":
            line = line[3:]
        if line == b"":
            if buffer:
                yield kind or "message", b"\n".join(buffer).decode()
            kind, buffer = "", []
            continue
        colon = line.find(b":")
        field, value = (line, b"") if colon < 0 else (line[:colon], line[colon + 1 :])
        if value[:1] == b" ":
            value = value[1:]
        if field == b"event":
            kind = value.decode()
        elif field == b"data" and not buffer and value.strip() == b"[DONE]":
            yield kind or "message", "[DONE]"
            return
        elif field == b"data":
            buffer.append(value)
            if len(b"\n".join(buffer)) > limit:
                raise StreamError


def chunks_of(data, cuts):
    """Cut at these places, two of which may be one: an empty chunk."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)])]


@tried(300, 15)
@pytest.mark.parametrize("stream", STREAMS)
def test_lines_and_events_are_those_of_the_rules_wherever_the_bytes_are_cut(hold, stream):
    def stream_parser(choices):
        data, limit, cuts = STREAMS[stream](choices), choices.of(LIMITS), choices.bytes(5)
        lines, events = outcome(slow_lines(data, limit)), outcome(slow_events(data, limit))
        for chunks in ([data], chunks_of(data, cuts), [data[i : i + 1] for i in range(len(data))]):
            assert outcome(iter_lines(chunks, limit)) == lines
            assert outcome(iter_sse(iter_lines(chunks), limit)) == events

    hold(stream_parser, 40)


# Settings

MARKER = "s3cr3tM4rk3r"
BOOL, TEXT, NUMBER = bool, (str, type(None)), (float, type(None))
TYPES = dict.fromkeys(DEFAULTS, TEXT)
TYPES.update(dict.fromkeys(["verify_ssl_certs", "auth_client_cert", "trust_env", "allow_http"], BOOL))
TYPES.update(dict.fromkeys(["deadline", "pool_timeout", "retry_backoff_factor", "token_expiry_buffer_ms"], NUMBER))
TYPES.update(scope=str, base_url=str, auth_url=str, timeout=tuple, max_connections=int, max_retries=int)
TYPES.update(profanity_check=(bool, type(None)), ssl_context=type(None), flags=(list, type(None)))
TYPES.update(retry_on_status_codes=(tuple, type(None)), token_cache=(bool, str, type(None)))
NAMES = [*DEFAULTS, "auth_key", "api_key", "token", "verbose", "credentails", "basurl", "verify", "", "Ж"]
VALUES = [
    "",
    " ",
    "1",
    "0",
    "true",
    "off",
    "nan",
    "inf",
    "1e999",
    "-1",
    "5",
    "5,7",
    "[5, 7]",
    "[",
    "[null]",
    "[" * 3000,
]
VALUES += [
    "https://api.giga.chat",
    "http://127.0.0.1:99999",
    "[::1",
    "http://[::1]:80/x?y",
    "http://ж.рф",
    "a:b",
    "a@b:1",
]
VALUES += [
    "giga.chat.",
    "HTTPS://A:443/",
    "//",
    "socks5://x:1",
    "ftp://x",
    "http://u:" + MARKER + "@h",
    ":" + MARKER,
    ".",
]
VALUES += [
    MARKER,
    f"Basic {MARKER}",
    f"{MARKER} {MARKER}",
    f"Ж{MARKER}",
    "eyJ" + MARKER,
    "YTpi",
    f"'{MARKER}'",
    "\x00",
    "\ud800",
]
VALUES += [
    "00000000-0000-0000-0000-000000000000:" + MARKER,
    "~nobody/x",
    "9" * 400,
    "\u0661",
    MARKER * 90,
    "http://\u2100/",
]
GIVEN = [*VALUES, None, True, False, 0, 1, -1, 2.5, math.nan, math.inf, 10**400, b"x", [], [1, None], (1, 2), (None, 3)]
GIVEN += [{}, {"a": 1}, object(), [429, 503], 10**9, ("inf", "0.5"), ["429", 10**400], [[]], [math.nan], range(3)]
WORDS = [b"GIGACHAT_%s=" % name.encode() for name in NAMES] + [
    b"\n",
    b"\r\n",
    b"'",
    b'"',
    b"#",
    b"export ",
    b"=",
    b"${HOME}",
]
WORDS += [
    b" ",
    b"\\",
    b"\\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xc6",
    b"\x98",
    b"\x00",
    b"\\x",
    b"\\u12",
    b"\\N{",
]
WORDS += [value.encode("utf-8", "replace") + b"\n" for value in VALUES if len(value) < 500]


def settings_of(choices, values, names):
    return {choices.of(names): choices.of(values) for _ in range(choices.number() % 4)}


def env_file_of(choices):
    return b"".join(choices.some(WORDS, 12)) if choices.number() % 4 else choices.bytes(30)


LOGGERS = ["gigachat_lite", "dotenv.main", "urllib3.connection", "urllib3.connectionpool"]


@contextlib.contextmanager
def logged():
    """Gather what is logged, and keep it from the screen."""
    stream = io.StringIO()
    handler, loggers = logging.StreamHandler(stream), [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        for logger, propagate, level in before:
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)


def told_by(error):
    """Join all that an error and what it carries say."""
    told = []
    while error is not None:
        told += [str(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return " ".join(told)


@tried(300, 12)
def test_settings_from_anywhere_are_a_config_or_an_error_without_secrets(hold, tmp_path):
    path, machine = str(tmp_path / "settings"), dict(os.environ)
    secret_names = [*SECRETS, "auth_key", "token"]

    def settings(choices):
        names = secret_names if choices.number() % 3 == 0 else NAMES
        environ = {"GIGACHAT_" + key.upper(): value for key, value in settings_of(choices, VALUES, names).items()}
        given, content = settings_of(choices, GIVEN, names), env_file_of(choices)
        environ.update([(choices.word(), choices.word()), ("GIGACHAT_" + choices.word(), choices.word())])
        before = dict(environ)
        with open(path, "wb") as file:
            file.write(content)
        told = ""
        with logged() as stream:
            try:
                config = load_config(path, environ, **given)
            except ConfigurationError as error:
                told = told_by(error)
            except TypeError as error:
                told = told_by(error)
                assert set(given) - set(DEFAULTS) - {"verbose"} and "no such setting" in told
            else:
                assert set(config) == set(DEFAULTS)
                wrong = {key: config[key] for key, kind in TYPES.items() if not isinstance(config[key], kind)}
                assert not wrong
                assert 1 <= config["max_connections"] <= 10**4 and config["max_retries"] >= 0
        if names is secret_names and MARKER.encode() not in content:
            assert MARKER not in told + stream.getvalue()
        assert environ == before and dict(os.environ) == machine

    hold(settings, 48)


# Objects


def levelled(value):
    """Tell the classes at every depth apart: what is left when all is plain."""
    if type(value) is dict:
        return {key: levelled(item) for key, item in value.items()}
    return [levelled(item) for item in value] if type(value) is list else (type(value), repr(value))


def change(choices, ours, plain):
    """Do the same to both, and compare what came of it."""
    key, value, what = choices.of(KEYS), choices.json(2), choices.number() % 12
    if what == 0:
        ours[key], plain[key] = value, copy.deepcopy(value)
    elif what == 1 and isinstance(ours, Obj) and key.isidentifier() and not key.endswith("_") and key != "x_headers":
        setattr(ours, key, value)
        plain[key] = copy.deepcopy(value)
    elif what == 2:
        assert ours.pop(key, 7) == plain.pop(key, 7)
    elif what == 3:
        assert ours.setdefault(key, value) == plain.setdefault(key, copy.deepcopy(value))
    elif what == 4:
        ours.update({key: value})
        plain.update({key: copy.deepcopy(value)})
    elif what == 5 and plain:
        assert ours.popitem() == plain.popitem()
    elif what == 6 and key in plain:
        del ours[key], plain[key]
    elif what == 7 and isinstance(plain.get(key), list):
        ours[key].append(value)
        plain[key].append(copy.deepcopy(value))
    elif what == 8 and type(plain.get(key)) is dict:
        change(
            choices,
            getattr(ours, key) if key.isidentifier() and key.isalpha() and not hasattr(dict, key) else ours[key],
            plain[key],
        )
    elif what == 9:
        ours.clear()
        plain.clear()


def read_all(obj):
    """Read every field as an attribute, at every depth, twice: the second time it is the very same."""
    for key in list(obj):
        if not hasattr(type(obj), key) or key in obj._fields - {"x_headers"} - set(vars(dict)):
            assert getattr(obj, key) == getattr(obj, key) == obj[key]
            assert isinstance(obj[key], str) or getattr(obj, key) is getattr(obj, key) is obj[key]
        value = obj[key]
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Obj):
                read_all(item)


@tried(400, 15)
def test_an_object_behaves_as_its_plain_dict(hold):
    def objects(choices):
        kind = choices.of([Obj, Answer, ChatCompletion, Chat, Messages, Embeddings])
        plain = choices.object()
        ours = kind(copy.deepcopy(plain))
        for _ in range(choices.number() % 6):
            change(choices, ours, plain)
            if choices.number() % 2:
                read_all(ours)
            assert ours == plain and len(ours) == len(plain) and list(ours) == list(plain)
        assert json.dumps(ours) == json.dumps(plain) == json.dumps(ours.model_dump())
        assert levelled(ours.model_dump()) == levelled(plain) and dict(ours.items()) == plain
        assert not ours.get("absent") and "absent" not in ours and bool(ours) is bool(plain)
        for twin in (copy.copy(ours), ours.copy(), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), kind(ours)):
            assert type(twin) is kind and twin == plain and twin is not ours
        deep = copy.deepcopy(ours)
        for value in deep.values():
            if isinstance(value, (list, dict)):
                value.clear()
        assert ours == plain
        for key in KEYS:
            if key not in plain and not hasattr(kind, key) and key.rstrip("_") not in {*plain, *kind._fields}:
                with pytest.raises(AttributeError):
                    getattr(ours, key)

    hold(objects, 60)


# Dates, and how long to wait

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
LONG_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DATE_PARTS = [
    *DAYS,
    *MONTHS,
    ", ",
    " ",
    "-",
    ":",
    "+",
    "0",
    "1",
    "31",
    "99",
    "1994",
    "08:49:37",
    "GMT",
    "+9999",
    "-2359",
    "EST",
]
DATE_PARTS += [
    "Sunday",
    "0000",
    "00000000000",
    "24:00:00",
    "23:59:60",
    "1e5",
    "inf",
    "-5",
    "5.5",
    "9" * 400,
    "\u0665",
    "\x00",
]
DATE_PARTS += ["06 Nov ", "Sun, 06 Nov 1994 08:49:37 GMT", "10000", "(", ")", '"', "\\", "T", "Z", ".", "/", "PM", "Ж"]


def written(seconds):
    """Write Unix seconds in the three forms that HTTP has (RFC 9110, 5.6.7), without a library's calendar."""
    day, rest = divmod(seconds, 86400)
    weekday, year, month = (day + 3) % 7, 1970, 0
    while day >= 365 + calendar.isleap(year):
        day -= 365 + calendar.isleap(year)
        year += 1
    lengths = [31, 28 + calendar.isleap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    while day >= lengths[month]:
        day -= lengths[month]
        month += 1
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    yield f"{DAYS[weekday]}, {day + 1:02} {MONTHS[month]} {year:04} {clock} GMT"
    yield f"{DAYS[weekday]} {MONTHS[month]} {day + 1:2} {clock} {year:04}"
    if year < 2069:
        yield f"{LONG_DAYS[weekday]}, {day + 1:02}-{MONTHS[month]}-{year % 100:02} {clock} GMT"


@tried(300, 13)
def test_dates_and_waits_are_read_as_written_or_not_at_all(hold):
    def dates(choices):
        seconds, now = choices.whole(4 * 10**9), choices.whole(2 * 10**9)
        for form in written(seconds):
            assert parse_date(form, math.nan) == seconds, form
            assert parse_retry_after(form, now) == max(seconds - now, 0.0)
        assert parse_retry_after(f" {seconds} ", now) == parse_retry_after(f"{seconds}.0", now) == seconds
        for odd in (choices.word(), "".join(choices.some(DATE_PARTS, 7))):
            date, wish = parse_date(odd, now), parse_retry_after(odd, now)
            assert math.isfinite(date) and (wish is None or wish >= 0), odd

    hold(dates, 28)


KINDS = {  # the table of what may be sent again, written anew
    "safe": {"refused", "dns", "connect timeout", "stale", "lost", "read timeout", 429, 500, 502, 503, 504},
    "generate": {"refused", "dns", "connect timeout", "stale", 429, 500, 502, 503},
    "create": {"refused", "dns", "connect timeout", 429, 503},
}
FAULTS = [*KINDS["safe"], 400, 401, 404, 501, 505, "tls", "broken", "deadline", "proxy", "not sent"]
CODES = [None, None, (), (429,), (500, 418), (400, 401, 504)]


@tried(200, 10)
def test_pauses_keep_their_bounds(hold):
    def pauses(choices):
        kind, fault, codes = choices.of(list(KINDS)), choices.of(FAULTS), choices.of(CODES)
        tries, most, chance = choices.number() % 12 + 1, choices.number() % 12, choices.number() / 255
        wish = choices.of([None, None, 0.0, 5.0, LONGEST_WISH, LONGEST_WISH + 0.1, 1e9, choices.whole(100) / 7])
        factor = choices.of([0.0, 0.5, 1, 1e9, math.inf])
        config = {"max_retries": most, "retry_backoff_factor": factor, "retry_on_status_codes": codes}
        again = fault in KINDS[kind]
        if codes is not None and kind != "create" and isinstance(fault, int):
            again = fault in codes
        pause = retry_delay(kind, fault, tries, config, wish, lambda: chance)
        if not again or tries > most or (wish is not None and wish > LONGEST_WISH):
            assert pause is None
        elif wish is not None:
            assert pause == wish
        else:
            full = 0.0 if fault == "stale" else min(factor * 2.0 ** (tries - 1), LONGEST_PAUSE)
            assert full / 2 <= pause <= full

    hold(pauses, 12)


# Bodies and tokens

JSON_PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b'"a"',
    b"1",
    b"-",
    b"e9",
    b".5",
    b"NaN",
    b"Infinity",
    b"null",
    b" ",
]
JSON_PIECES += [
    b"\n",
    b"\t",
    b"\\u",
    b"d800",
    b"\\",
    b"\xd0\x96",
    b"\xff",
    b"true",
    b"\xef\xbb\xbf",
    b"[" * 2000,
    b"9" * 5000,
]
JSON_PIECES += [
    b'{"access_token":"t","expires_at":',
    b'{"tok":"t","exp":',
    b'"access_token":"',
    b'{"a":1}',
    b"\x00",
    b"\x0c",
]


def slow_json(text):
    def refuse(constant):
        raise ValueError

    return json.loads(text, parse_constant=refuse)


def response_with(headers):
    response = requests.Response()
    response.status_code, response.request = 200, requests.Request("GET", "http://127.0.0.1/").prepare()
    response.headers.update(headers)
    return response


@tried(300, 10)
def test_a_body_is_json_or_an_error_that_says_so(hold):
    response = response_with({})

    def bodies(choices):
        data = b"".join(choices.some(JSON_PIECES, 12)) if choices.number() % 4 else choices.bytes(20)
        if choices.number() % 4 == 3:
            data = bent(choices, json.dumps(choices.json()).encode())
        try:
            expected = slow_json(data.decode())
        except (ValueError, RecursionError):
            with pytest.raises(ResponseError) as caught:
                read_json(Reply("http://127.0.0.1/", None, response, data=data))
            assert "\n" not in str(caught.value) and caught.value.content == data
        else:
            value = read_json(Reply("http://127.0.0.1/", None, response, data=data))
            assert value == expected == decode_json(data.decode()) and repr(value) == repr(expected)

    hold(bodies, 32)


TOKENS = ["t", "", "a b", "Ж", "\n", "t" * 2000, None, 5, [], {}, "a\x7f", "\x21\x7e", True]
ENDS = [
    None,
    0,
    1,
    -1,
    1.5,
    1700001800,
    1700001800000,
    1700000001,
    10**400,
    -(10**400),
    math.inf,
    math.nan,
    True,
    "5",
    [],
    10**12,
]
ENDS += [1e308, 5e-324, 1700086400, 1700086401, False]
DATES = [None, "", "soon", "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT", "9" * 300]


@tried(200, 7)
def test_a_token_lives_as_long_as_it_can_or_is_none(hold):
    def tokens(choices):
        clock, buffer = choices.whole(10**9) / 7, choices.of([60.0, 0.0, 1e6, choices.whole(10**5) / 7])
        fields = {
            choices.of(["access_token", "tok"]): choices.of(TOKENS),
            choices.of(["expires_at", "exp"]): choices.of(ENDS),
        }
        value = fields.get("access_token") or fields.get("tok")
        try:
            token = new_token(fields, choices.of(DATES), 1.7e9, clock, buffer)
        except ValueError:
            assert not isinstance(value, str) or not value or not all("\x21" <= letter <= "\x7e" for letter in value)
            return
        assert token.value == value and math.isfinite(token.expires_at) and "***" in repr(token)
        assert 0 <= token.deadline - clock <= 86400 + 1e-3
        assert clock <= token.renew_at <= token.deadline
        assert token.deadline - token.renew_at <= max(min(buffer, 21600.0), 0) + 1e-3

    hold(tokens, 16)


# Whole answers, on real sockets

V2_BODY = (
    b'event: response.message.delta\ndata: {"messages":[{"role":"assistant","content":[{"text":"1, 2"}]}]}\n\n'
    b'event: response.message.done\ndata: {"finish_reason":"stop","usage":{"total_tokens":27}}\n\n'
)
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "embedding": [0.5, -1.0], "index": 0}],
    "model": "Embeddings",
}
HTTP_PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\x00",
    b"\xff",
]
HTTP_PIECES += [
    b"Content-Encoding: gzip\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b" ",
    b":",
    b"-1",
    b"{",
]
HTTP_PIECES += [
    b"9" * 20,
    b"9" * 5000,
    b'"',
    b"}",
    b"[" * 3000,
    b"data: ",
    b"\xd0",
    b"0\r\n\r\n",
    b"A: b\r\n",
    b"\xe2\x80\xa8",
    b"null",
]
HTTP_PIECES += [
    b"Content-Type: text/html\r\n",
    b"Retry-After: 1e9\r\n",
    b"Location: http://127.0.0.1:1/\r\n",
    b"Date: x\r\n",
]
ODD_ANSWERS = [
    reply(429, {"status": 429, "message": "Too many requests"}, {"Retry-After": "5"}),
    reply(204),
    reply(500, b"<h1>Error</h1>"),
    reply(404, {"status": 404, "message": "No such model"}),
    reply(302, headers={"Location": "/elsewhere"}),
    reply(200),
    reply(400, {"code": 7, "message": "scope from db"}),
    reply(401, {"status": 401, "message": "Unauthorized"}),
]


def fresh_token(giga):
    giga._tokens.drop(giga.token or "")
    giga._tokens._failure = None  # which is remembered for a second
    return giga.get_token()


def read_through(giga, open_stream):
    with open_stream(giga) as stream:
        for chunk in stream:
            assert isinstance(chunk.get("choices", []), (list, type(None))) or (chunk.get("event") and repr(chunk))
    return stream.completion


def check_answer(answer):
    """Read what programs read of any answer; an odd one has none of it."""
    assert isinstance(answer.text, str) and isinstance(answer.images, list) and answer.blocked in (True, False)
    assert repr(answer) and answer.finish_reason != "" and (answer.function_call is None or answer.function_call)


CALLS = {  # the call, its answer, and what is right
    "chat": (lambda giga: giga.chat("x"), CHAT_BODY, json.loads(CHAT_BODY.decode())),
    "stream": (lambda giga: read_through(giga, lambda giga: giga.stream("x")), STREAM_BODY, None),
    "v2 stream": (lambda giga: read_through(giga, lambda giga: giga.chat.stream("x")), V2_BODY, None),
    "embeddings": (lambda giga: giga.embeddings(["x"]), json.dumps(VECTORS).encode(), VECTORS),
    "download": (lambda giga: giga.download_file("f-1", "file"), b"content" * 20, 140),
    "token": (fresh_token, b'{"access_token":"token-5","expires_at":1700000000000}', None),
}


def good_answer(name, framing="length"):
    kind = (
        "text/event-stream"
        if "stream" in name
        else "application/octet-stream"
        if name == "download"
        else "application/json"
    )
    return reply(200, [CALLS[name][1]], {"Content-Type": kind}, framing)


def bent(choices, wire):
    """Cut, turn, take out of, put into or repeat some bytes of an answer."""
    for _ in range(choices.number() % 4):
        what, place = choices.number() % 6, (choices.number() * 256 + choices.number()) % (len(wire) + 1)
        size = choices.number() % 16 + 1
        if what == 0:
            wire = wire[:place]
        elif what == 1:
            wire = wire[:place] + bytes([choices.number()]) + wire[place + 1 :]
        elif what == 2:
            wire = wire[:place] + wire[place + size :]
        elif what == 3:
            wire = wire[:place] + wire[place : place + size] * 2 + wire[place + size :]
        else:
            lines = [at for at in range(len(wire)) if wire[at : at + 1] == b"\n"] if what == 5 else []
            place = lines[place % len(lines)] + 1 if lines else place
            wire = wire[:place] + choices.of(HTTP_PIECES) + wire[place:]
    return wire


def answer_of(choices, name):
    what = choices.number() % 8
    if what == 0:
        return choices.bytes(40)
    if what == 1:
        return b"HTTP/1.1 200 OK\r\n" + b"".join(choices.some(HTTP_PIECES, 7))
    if what == 2:
        return bent(choices, choices.of(ODD_ANSWERS).wire)
    if what == 3:
        text = json.dumps(choices.object())
        return (sse([text, "[DONE]"]) if "stream" in name else reply(body=text)).wire
    return bent(choices, good_answer(name, choices.of(["length", "chunked", "close"])).wire)


class Wire:
    """Be the socket that http.client wants, of these bytes."""

    def __init__(self, data):
        self._data = data

    def makefile(self, mode):
        return io.BytesIO(self._data)


def body_of(wire):
    response = http.client.HTTPResponse(Wire(wire), method="GET")
    response.begin()
    assert response.status == 200
    return response.read()


def sockets():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@tried(60, 3)
def test_a_whole_answer_of_any_bytes_is_right_or_an_error_of_ours(hold, api, tmp_path):
    now = [None]
    running = api(lambda request, connection: now[0], oauth=lambda request, connection: now[0])
    before = sockets()
    clients = [
        new_client(running),
        new_client(running, access_token=None, credentials="YTpi", auth_url=running.auth_url),
    ]

    def answers(choices):
        name = choices.of(list(CALLS))
        call, _, right = CALLS[name]
        giga = clients[name == "token"]
        wire = answer_of(choices, name)
        now[0] = raw(wire)
        (tmp_path / "file").write_bytes(b"before")
        start = time.monotonic()
        try:
            with logged() as stream:
                value = call(giga)
        except GigaChatException as error:
            assert str(error) and "\n" not in str(error) and "YTpi" not in told_by(error) + stream.getvalue()
            assert (tmp_path / "file").read_bytes() == b"before"
        else:
            if name in ("chat", "embeddings"):
                assert value == json.loads(body_of(wire).decode())
            elif name == "download":
                assert (tmp_path / "file").read_bytes() == body_of(wire) and value == len(body_of(wire))
            elif name == "token":
                assert value["access_token"] in body_of(wire).decode()
            if name in ("chat", "stream"):
                check_answer(value)
        assert os.listdir(str(tmp_path)) == ["file"] and time.monotonic() - start < 4
        now[0] = good_answer(name)
        with logged():
            value = call(giga)
        assert value == right if right is not None else value is not None
        running.requests.clear()

    hold(answers, 64)
    for giga in clients:
        giga.close()
    until(lambda: running.open == 0 and sockets() == before)
