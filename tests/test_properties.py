"""Hold what takes bytes and words from outside to rules that must hold for all of them, with hypothesis.

Some thousand inputs are tried in every run, the same ones each time. ``pytest -m long tests/test_properties.py`` tries
a million (PROPERTY_INPUTS says another number) of a new seed, and prints how many they were. What was found wrong once
has a test of its own, at the end.
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
import re
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
    TransportError,
)
from gigachat_lite.auth import new_token
from gigachat_lite.body import Response
from gigachat_lite.config import DEFAULTS, SECRETS, load_config
from gigachat_lite.dates import parse_date, parse_retry_after
from gigachat_lite.json_text import decode_json
from gigachat_lite.models import Answer, Chat, Messages, Obj
from gigachat_lite.sse import iter_lines, iter_sse
from gigachat_lite.token_file import parse
from gigachat_lite.transport import MAX_PAUSE, MAX_RETRY_AFTER, retry_delay
from servers import CHAT_BODY, STREAM_BODY, raw, reply, sse, until
from streaming import new_client

hypothesis = pytest.importorskip("hypothesis")
# conftest.py freezes what is there, so that hypothesis does not see its own reference to it.
pytestmark = pytest.mark.filterwarnings("ignore:It looks like `register_random` was passed an object")
ALL = int(os.environ.get("PROPERTY_INPUTS", "1000000"))  # inputs of the long form, all rules together
BATCH = 5000  # inputs of one seed: hypothesis remembers all of them
PART = 25_000  # inputs of one test, each of which has a time limit


def tried(often, share):
    """Try a rule on so many inputs in every run, and on its share (in hundredths) of all in the long form, in parts."""
    rows, share = [pytest.param((often, False), id="often")], max(ALL * share // 100, 1)
    for begin in range(0, share, PART):
        part = min(PART, share - begin), True
        rows.append(pytest.param(part, marks=pytest.mark.long, id=f"from {begin}"))
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
    count, long = request.param

    def batch(rule, size, most):
        tries = []

        def once(data):
            rule(Choices(data))
            tries.append(None)

        once.__name__ = once.__qualname__ = rule.__name__  # what is drawn depends on the name
        settings = hypothesis.settings(
            max_examples=most, derandomize=not long, database=None, deadline=None,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a loaded machine is no fault of the rule
        )
        test = settings(hypothesis.given(hypothesis.strategies.binary(min_size=size, max_size=size))(once))
        (hypothesis.seed(int.from_bytes(os.urandom(8), "big"))(test) if long else test)()
        return len(tries)

    def run(rule, size):
        left = count
        while left > 0:
            tries = batch(rule, size, min(left, BATCH))
            left -= tries
            assert tries
        if long:
            tally[rule.__name__] = tally.get(rule.__name__, 0) + count - left

    return run


@contextlib.contextmanager
def logged():
    """Gather what is logged, and keep it from pytest, which would keep all of it."""
    stream, loggers = io.StringIO(), [logging.getLogger(name) for name in ("gigachat_lite", "dotenv", "urllib3")]
    handler, before = logging.StreamHandler(stream), [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        for logger, (propagate, level) in zip(loggers, before):
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)


def emptied(stream):
    """Return what a stream of text held."""
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text


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
KEYS = ["choices", "message", "content", "id", "usage", "data", "new", "items", "Ж", "x_headers", "index", "delta", ""]
KEYS += ["role", "messages", "object", "object_", "a b", "__len__", "embedding", "arguments", "function_call"]
SCALARS = [None, "", "text", 0, 1, -5, 2.5, True, False, "Ж\u2028\U0001f600", 10**30, "stop", [], {}, "\ud800"]


# Server-sent events: an independent parser that is slow and plain, after the WHATWG's rules

PIECES = (
    b"\n|\r|\r\n|\n\n|\xef\xbb\xbf|data:|data: |data|event: a|event:|id: 1|:|: | |[DONE]|data: [DONE]\n|\xe2\x80\xa8"
    b"|\xc2\x85|\xd0|\x96|\xf0\x9f|\x0b|\x0c|\x1c|\x00|\xff|x|retry:5|\xd0\xb4\xd0\xb0|data: 1\n\n|\xed\xa0\x80"
).split(b"|")
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
TYPES = dict.fromkeys(DEFAULTS, str)
TYPES.update(dict.fromkeys(["verify_ssl_certs", "auth_client_cert", "trust_env", "allow_http"], bool))
TYPES.update(dict.fromkeys(["deadline", "pool_timeout", "retry_backoff_factor", "token_expiry_buffer_ms"], float))
TYPES.update(timeout=tuple, max_connections=int, max_retries=int, flags=list, profanity_check=bool)
TYPES.update(retry_on_status_codes=tuple, token_cache=(bool, str), environ=dict, proxy_source=str)
MAY_BE_NONE = {key for key, value in DEFAULTS.items() if value is None} - {"max_connections"}
MAY_BE_NONE |= {"pool_timeout", "proxy_source"}
KEY_NAMES = [*SECRETS, "auth_key", "token"]
NAMES = [*DEFAULTS, "auth_key", "api_key", "token", "verbose", "credentails", "basurl", "verify", "", "Ж"]
VALUES = "| |1|0|true|off|nan|inf|1e999|-1|5|5,7|[5, 7]|[|[null]|https://api.giga.chat|http://127.0.0.1:99999|[::1|a:b"
VALUES += "|a@b:1|giga.chat.|HTTPS://A:443/|//|socks5://x:1|ftp://x|http://[::1]:80/x?y|http://ж.рф|http://\u2100/|.|YTpi|\x00|\ud800"
VALUES += "|M|Basic M|M M|ЖM|eyJM|'M'|:M|http://u:M@h|00000000-0000-0000-0000-000000000000:M|~nobody/x|\u0661|a.b.M"
VALUES += "|M\x00|M\ud800"
VALUES = [*VALUES.replace("M", MARKER).split("|"), "9" * 400, "[" * 3000, MARKER * 90]
GIVEN = [*VALUES, None, True, False, 0, 1, -1, 2.5, math.nan, math.inf, 10**400, b"x", [], [1, None], (1, 2), (None, 3)]
GIVEN += [{}, {"a": 1}, object(), [429, 503], 10**9, ("inf", "0.5"), ["429", 10**400], [[]], [math.nan], range(3)]
WORDS = b"\n|\r\n|'|\"|#|export |=|${HOME}| |\\|\\n|\xef\xbb\xbf|\xff\xfe|\xfe\xff|\xc6|\x98|\x00".split(b"|")
WORDS += [b"\\x", b"\\u12", b"\\N{"] + [b"GIGACHAT_%s=" % name.upper().encode() for name in NAMES]
WORDS += [value.encode("utf-8", "replace") + b"\n" for value in VALUES if len(value) < 500]


def settings_of(choices, names, values):
    return {choices.of(names): choices.of(values) for _ in range(choices.number() % 3)}


def variables_of(choices, names):
    return {"GIGACHAT_" + name.upper(): value for name, value in settings_of(choices, names, VALUES).items()}


def env_file_of(choices, secret):
    if secret:
        lines = "".join(f"{name}={value}\n" for name, value in variables_of(choices, KEY_NAMES).items())
        return lines.encode(choices.of(["utf-8", "utf-16"]), "replace")
    return b"".join(choices.some(WORDS, 12)) if choices.number() % 4 else choices.bytes(30)


def told_by(error):
    """Join all that an error and what it carries say."""
    told = ""
    while error is not None:
        told += f"{error} {error.args!r} "
        error = error.__cause__ or error.__context__
    return told


@tried(300, 9)
def test_settings_from_anywhere_are_a_config_or_an_error_without_secrets(hold, tmp_path):
    path, machine = str(tmp_path / "settings"), dict(os.environ)

    def settings(choices):
        secret = choices.number() % 2
        names = KEY_NAMES if secret else NAMES
        environ, given = variables_of(choices, names), settings_of(choices, names, GIVEN)
        with open(path, "wb") as file:
            file.write(env_file_of(choices, secret))
        environ.update([(choices.word(), choices.word()), ("GIGACHAT_" + choices.word(), choices.word())])
        before, told = dict(environ), ""
        try:
            config = load_config(path, environ, **given)
        except ConfigurationError as error:
            told = told_by(error)
            assert str(error).isprintable()
        except TypeError as error:
            told = told_by(error)
            assert "no such setting" in told and set(given) - set(DEFAULTS) - {"verbose"}
        else:
            assert list(config) == [*DEFAULTS, "environ", "proxy_source"]
            assert config["max_connections"] >= 1 and config["max_retries"] >= 0
            for key, value in config.items():
                assert isinstance(value, TYPES[key]) or (value is None and key in MAY_BE_NONE), key
        assert MARKER not in emptied(log) + told or not secret
        assert environ == before and dict(os.environ) == machine

    with logged() as log:
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
    elif what == 1 and isinstance(ours, Obj) and not key.endswith("_") and key != "x_headers":
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
        getattr(ours, key, None)  # which wraps it
        change(choices, ours[key], plain[key])
    elif what == 9:
        ours.clear()
        plain.clear()


def read_all(obj):
    """Read every field as an attribute, at every depth, twice: the second time it is the very same."""
    for key in list(obj):
        if not hasattr(type(obj), key) or key in obj.model_fields.keys() - {"x_headers"} - set(vars(dict)):
            value = getattr(obj, key)
            assert value == obj[key] and (value is obj[key] or not isinstance(value, (dict, list)))
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
            assert ours == plain and (ours != plain) is False and len(ours) == len(plain) and list(ours) == list(plain)
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
            if key not in plain and not hasattr(kind, key) and key.rstrip("_") not in {*plain, *kind.model_fields}:
                with pytest.raises(AttributeError):
                    getattr(ours, key)

    hold(objects, 60)


# Dates, and how long to wait

LONG_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAYS = [day[:3] for day in LONG_DAYS]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DATE_PARTS = "|, | |-|:|+|0|1|31|99|1994|08:49:37|GMT|+9999|-2359|EST|Sunday|0000|00000000000|24:00:00|23:59:60|1e5|inf"
DATE_PARTS += "|-5|5.5"
DATE_PARTS += "|\u0665|\x00|06 Nov |Sun, 06 Nov 1994 08:49:37 GMT|10000|(|)|\"|\\|T|Z|.|/|PM|Ж|" + "9" * 400
DATE_PARTS = [*DAYS, *MONTHS, *DATE_PARTS.split("|")]


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


MONTH = 30 * 24 * 3600


@tried(300, 15)
def test_dates_and_waits_are_read_as_written_or_not_at_all(hold):
    def dates(choices):
        seconds, now = choices.whole(4 * 10**9), choices.whole(2 * 10**9)
        for form in written(seconds):
            assert parse_date(form, math.nan) == seconds, form
            assert parse_retry_after(form, now) == min(max(seconds - now, 0.0), MONTH)
        assert parse_retry_after(f" {seconds} ", now) == parse_retry_after(f"{seconds}.0", now) == min(seconds, MONTH)
        for odd in (choices.word(), "".join(choices.some(DATE_PARTS, 7))):
            date, wish = parse_date(odd, now), parse_retry_after(odd, now)
            assert math.isfinite(date) and (wish is None or 0 <= wish <= MONTH), odd

    hold(dates, 28)


KINDS = {  # the table of what may be sent again, written anew
    "read": {"no connection", "dns", "connect timeout", "stale", "lost", "read timeout", 429, 500, 502, 503, 504},
    "paid": {"no connection", "dns", "connect timeout", "stale", 429, 500, 503},
    "write": {"no connection", "dns", "connect timeout", 429, 503},
}
FAULTS = [*KINDS["read"], 400, 401, 404, 501, 505, "tls", "broken", "deadline", "proxy", "not sent"]
CODES = [None, None, (), (429,), (500, 418), (400, 401, 504)]


@tried(200, 12)
def test_pauses_keep_their_bounds(hold):
    def pauses(choices):
        kind, fault, codes = choices.of(list(KINDS)), choices.of(FAULTS), choices.of(CODES)
        tries, most, chance = choices.number() % 12 + 1, choices.number() % 12, choices.number() / 255
        wishes = [None, None, 0.0, 5.0, MAX_RETRY_AFTER, MAX_RETRY_AFTER + 0.1, math.inf, choices.whole(100) / 7]
        wish = choices.of(wishes)
        factor = choices.of([0.0, 0.5, 1, 1e9, math.inf])
        config = {"max_retries": most, "retry_backoff_factor": factor, "retry_on_status_codes": codes}
        again = fault in KINDS[kind]
        if codes is not None and kind != "write" and isinstance(fault, int):
            again = fault in codes
        pause = retry_delay(kind, fault, tries, config, wish, lambda: chance)
        if not again or tries > most or (wish is not None and wish > MAX_RETRY_AFTER):
            assert pause is None
        elif wish is not None:
            assert pause == wish
        else:
            full = 0.0 if fault == "stale" else min(factor * 2.0 ** (tries - 1), MAX_PAUSE)
            assert full / 2 <= pause <= full

    hold(pauses, 12)


# Bodies and tokens

JSON_PIECES = b'{|}|[|]|:|,|"|"a"|1|-|e9|.5|NaN|Infinity|null| |\n|\t|\\u|d800|\\|\xd0\x96|\xff|\xef\xbb\xbf|\x00|\x0c'
JSON_PIECES = [*JSON_PIECES.split(b"|"), b'{"a":1}', b"true", b"[" * 2000, b"9" * 5000]


def slow_json(text):
    def refuse(constant):
        raise ValueError

    return json.loads(text, parse_constant=refuse)


def without_halves(value):
    if isinstance(value, dict):
        return {without_halves(key): without_halves(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_halves(item) for item in value]
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value


@tried(300, 10)
def test_a_body_is_json_or_an_error_that_says_so(hold):
    response = requests.Response()
    response.status_code, response.request = 200, requests.Request("GET", "http://127.0.0.1/").prepare()

    def bodies(choices):
        data = b"".join(choices.some(JSON_PIECES, 12)) if choices.number() % 4 else choices.bytes(20)
        if choices.number() % 4 == 3:
            data = bent(choices, json.dumps(choices.json()).encode())
        try:
            expected = without_halves(slow_json(data.decode()))
        except (ValueError, RecursionError):
            with pytest.raises(ResponseError) as caught:
                Response("http://127.0.0.1/", 200, {}, data).json()
            assert "\n" not in str(caught.value) and caught.value.content == data
        else:
            value = Response("http://127.0.0.1/", 200, {}, data).json()
            assert value == expected == decode_json(data.decode()) and repr(value) == repr(expected)

    hold(bodies, 32)


TOKENS = ["t", "", "a b", "Ж", "\n", "t" * 2000, None, 5, [], {}, "a\x7f", "\x21\x7e", True]
ENDS = [None, 0, 1, -1, 1.5, 1700001800, 1700001800000, 1700000001, 10**400, -(10**400), math.inf, math.nan, True, "5"]
ENDS += [[], 10**12, 1e308, 5e-324, 1700086400, 1700086401, False]
DATES = [None, "", "soon", "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT", "9" * 300]


@tried(200, 4)
def test_a_token_lives_as_long_as_it_can_or_is_none(hold):
    def tokens(choices):
        clock, buffer = choices.whole(10**9) / 7, choices.of([60.0, 0.0, 1e6, choices.whole(10**5) / 7])
        fields = {choices.of(["access_token", "tok"]): choices.of(TOKENS)}
        fields[choices.of(["expires_at", "exp"])] = choices.of(ENDS)
        value = fields.get("access_token") or fields.get("tok")
        try:
            token = new_token(fields, choices.of(DATES), 1.7e9, clock, buffer)
        except ValueError:
            assert not isinstance(value, str) or not value or not all("!" <= letter <= "~" for letter in value)
            return
        assert token.value == value and math.isfinite(token.expires_at) and "***" in repr(token)
        assert 0 <= token.deadline - clock <= 86400 + 1e-3
        assert clock <= token.renew_at <= token.deadline
        assert token.deadline - token.renew_at <= max(min(buffer, 21600.0), 0) + 1e-3

    hold(tokens, 16)


@tried(200, 3)
def test_a_token_that_was_kept_is_good_now_or_none(hold):
    def kept(choices):
        clock, fields = choices.whole(10**9) / 7, {"access_token": choices.of(TOKENS)}
        fields.update(expires_at=choices.of(ENDS), expires_here=choices.of([1700001800.5, choices.of(ENDS)]))
        data = json.dumps(fields).encode()
        token = parse(bent(choices, data) if choices.number() % 4 == 0 else data, 1.7e9, clock, 60.0)
        if token is not None:
            assert all("!" <= letter <= "~" for letter in token.value) and math.isfinite(token.expires_at)
            assert clock <= token.renew_at <= token.deadline <= clock + 86400 + 1e-3

    hold(kept, 16)


# Whole answers, on real sockets

V2_BODY = (
    b'event: response.message.delta\ndata: {"messages":[{"role":"assistant","content":[{"text":"1, 2"}]}]}\n\n'
    b'event: response.message.done\ndata: {"finish_reason":"stop","usage":{"total_tokens":27}}\n\n'
)
VECTORS = {"object": "list", "data": [{"embedding": [0.5, -1.0], "index": 0}], "model": "Embeddings"}
HTTP_PIECES = (
    b"\r\n|\n|\r|\r\n\r\n|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|\x00|\xff|Content-Encoding: gzip\r\n| |:"
    b'|-1|{|"|}|HTTP/1.1 200 OK\r\n|HTTP/1.1 100 Continue\r\n\r\n|data: |\xd0|0\r\n\r\n|A: b\r\n|\xe2\x80\xa8|null'
    b"|Date: x\r\n|Content-Type: text/html\r\n|Retry-After: 1e9\r\n|Location: http://127.0.0.1:1/\r\n|99999999999999999999"
).split(b"|") + [b"9" * 5000, b"[" * 3000]
ODD_ANSWERS = [reply(200), reply(204), reply(302, headers={"Location": "/elsewhere"}), reply(500, b"<h1>Error</h1>")]
ODD_ANSWERS += [reply(400, {"code": 7, "message": "scope from db"}), reply(401, {"message": "Unauthorized"})]
ODD_ANSWERS += [reply(404, {"message": "No such model"}), reply(429, {"message": "Too many"}, {"Retry-After": "5"})]


def fresh_token(giga):
    giga.transport.tokens.drop(giga.token or "")
    giga.transport.tokens._failure = None  # which is remembered for a second
    return giga.get_token()


def read_through(giga, open_stream):
    with open_stream(giga) as stream:
        for chunk in stream:
            assert isinstance(chunk, dict) and isinstance(stream.text, str) and repr(chunk) and (stream.usage, 1)
    return stream.completion


CALLS = {  # the call, its answer, and what is right
    "chat": (lambda giga: giga.chat("x"), CHAT_BODY, json.loads(CHAT_BODY.decode())),
    "stream": (lambda giga: read_through(giga, lambda giga: giga.stream("x")), STREAM_BODY, None),
    "v2 stream": (lambda giga: read_through(giga, lambda giga: giga.chat.stream("x")), V2_BODY, None),
    "embeddings": (lambda giga: giga.embeddings(["x"]), json.dumps(VECTORS).encode(), VECTORS),
    "download": (lambda giga: giga.download_file("f-1", "file"), b"content" * 20, 140),
    "token": (fresh_token, b'{"access_token":"token-5","expires_at":1700000000000}', None),
}


def good_answer(name, framing="length"):
    kind = "text/event-stream" if "stream" in name else "application/json"
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
    assert 200 <= response.status < 300
    return response.read()


def check(name, value, wire, file):
    """Compare with what http.client reads of the same bytes; and read what programs read of any answer."""
    if name in ("chat", "embeddings"):
        assert value == json.loads(body_of(wire).decode())
    elif name == "download":
        assert file.read_bytes() == body_of(wire) and value == len(body_of(wire))
    elif name == "token":
        assert value["access_token"] in body_of(wire).decode()
    if name in ("chat", "stream"):
        assert isinstance(value.text, str) and isinstance(value.images, list) and value.blocked in (True, False)
        assert repr(value) and isinstance(value.function_call, (dict, type(None))) and (value.finish_reason, 1)


def sockets():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@tried(60, 2)
def test_a_whole_answer_of_any_bytes_is_right_or_an_error_of_ours(hold, api, tmp_path):
    now, file = [None], tmp_path / "file"
    running = api(lambda request, connection: now[0], oauth=lambda request, connection: now[0])
    before = sockets()
    with_key = new_client(running, access_token=None, credentials="YTpi", auth_url=running.auth_url)
    clients = {"token": with_key, **{name: new_client(running) for name in CALLS if name != "token"}}

    def answers(choices):
        name = choices.of(list(CALLS))
        (call, _, right), wire, start = CALLS[name], answer_of(choices, name), time.monotonic()
        now[0] = raw(wire)
        file.write_bytes(b"before")
        try:
            value = call(clients[name])
        except GigaChatException as error:
            assert str(error) and "\n" not in str(error) and "YTpi" not in told_by(error) + emptied(log)
            assert file.read_bytes() == b"before"
        else:
            check(name, value, wire, file)
        assert os.listdir(str(tmp_path)) == ["file"] and time.monotonic() - start < 4
        now[0] = good_answer(name)
        value = call(clients[name])
        assert value == right if right is not None else value is not None
        running.requests.clear()
        emptied(log)

    with logged() as log:
        hold(answers, 64)
    for giga in clients.values():
        giga.close()
    until(lambda: running.open == 0 and sockets() == before)


# Found by these rules, and mended


@pytest.mark.parametrize("key", ["deadline", "max_retries", "retry_on_status_codes", "retry_backoff_factor"])
def test_a_number_that_no_float_can_hold_is_refused_by_name(key):
    with pytest.raises(ConfigurationError, match=f"argument {key}: "):
        load_config(False, {}, **{key: 10**400})


@pytest.mark.parametrize("key", ["flags", "retry_on_status_codes", "timeout"])
def test_a_list_too_deep_to_read_is_refused_by_name(key):
    with pytest.raises(ConfigurationError, match=f"variable GIGACHAT_{key.upper()}: a list such as"):
        load_config(False, {"GIGACHAT_" + key.upper(): "[" * 100_000})


def test_an_error_that_names_a_path_is_one_line():
    with pytest.raises(ConfigurationError) as caught:
        load_config(False, {}, cert_file="a\nb\x1b[31m")
    assert str(caught.value) == "argument cert_file: there is no file a b [31m"


@pytest.mark.parametrize("length", ["5", "5\r\nContent-Length: 5", "5, 5"])
def test_a_body_cut_short_is_an_error_however_its_length_is_written(server, tmp_path, length):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n".encode()
    running = server([raw(head + b"12345"), raw(head + b"1234")])
    with new_client(running) as giga:
        assert giga.download_file("f-1", "file") == 5
        with pytest.raises(TransportError, match="broke off"):
            giga.download_file("f-1", "file")
