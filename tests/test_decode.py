"""Hold the parsers to their specification, without a socket.

Lines end at LF, CR and CRLF and nowhere else, events follow the WHATWG rules, and neither depends on where the bytes
were cut, nor takes more time or memory than they deserve.
"""
from __future__ import annotations

import collections
import itertools
import sys

import pytest

from gigachat_lite import StreamError, sse
from gigachat_lite.json_text import decode_json
from gigachat_lite.sse import EVENT_LIMIT, iter_lines, iter_sse
from servers import STREAM_BODY, STREAM_TEXTS

MARK = b"\xef\xbb\xbf"
NO_ENDS = "\u2028|\u2029|\x85|\x0b|\x0c|\x1c|\x1d|\x1e|\x00".encode()  # where text would be split, and bytes are not
# Every kind of line end, a mark, letters of two and three bytes, comments, names and an event in several lines.
MIXED = MARK + (
    b"data: \xd0\x96\r\ndata:2\r\r\nevent: a\n: c\n\rdata\n\nid: 7\rretry: 1\ndata:  \xe2\x80\xa8\xc2\x85\n"
    b"\nevent:b\r\ndata: x:y\r\n\r\ndata: [DONE]\r\ndata: late\n\n"
)
MIXED_LINES = [MARK + b"data: \xd0\x96", b"data:2", b"", b"event: a", b": c", b"", b"data", b"", b"id: 7", b"retry: 1"]
MIXED_LINES += [b"data:  \xe2\x80\xa8\xc2\x85", b"", b"event:b", b"data: x:y", b"", b"data: [DONE]", b"data: late", b""]
MIXED_EVENTS = [("message", "Ж\n2"), ("message", ""), ("message", " \u2028\x85"), ("b", "x:y"), ("message", "[DONE]")]


class Source:
    """Give out chunks and count how many were taken."""

    def __init__(self, chunks):
        self._chunks, self.taken = iter(chunks), 0

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self._chunks)
        self.taken += 1
        return chunk


def events_of(*chunks, **limit):
    return list(iter_sse(iter_lines(chunks), **limit))


def one_event(data):
    return [("message", data)]


@pytest.mark.parametrize(
    "data, lines",
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\rb\r", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"\n\n", [b"", b""]),
        (b"\r\r", [b"", b""]),
        (b"\r\n\r\n", [b"", b""]),
        (b"\n\r", [b"", b""]),
        (b"\r\r\n\n", [b"", b"", b""]),
        (b"a\n\r\nb\r\n\rc", [b"a", b"", b"b", b"", b"c"]),
        (NO_ENDS, [NO_ENDS]),
        (b"\x85\n\xa8", [b"\x85", b"\xa8"]),
        (MARK + b"a\n" + MARK, [MARK + b"a", MARK]),
        (MIXED, MIXED_LINES),
    ],
)
def test_lines_end_at_lf_cr_and_crlf_and_nowhere_else(data, lines):
    assert list(iter_lines([data])) == lines
    assert list(iter_lines(data[i : i + 1] for i in range(len(data)))) == lines
    assert list(iter_lines(data[i // 2 : (i + 1) // 2] for i in range(2 * len(data)))) == lines  # half of them empty


def test_lines_and_events_do_not_depend_on_where_two_cuts_fall():
    assert events_of(MIXED) == MIXED_EVENTS
    for first, second in itertools.combinations_with_replacement(range(len(MIXED) + 1), 2):
        pieces = MIXED[:first], MIXED[first:second], MIXED[second:]
        assert list(iter_lines(pieces)) == MIXED_LINES, (first, second)
        assert events_of(*pieces) == MIXED_EVENTS, (first, second)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_and_an_event_are_given_the_moment_their_end_arrives(end):
    source = Source([b"dat", b"a: 1" + end[:1], end[1:], b"", end[:1], end[1:], b"data: [DONE]" + end[:1], b"more"])
    lines = iter_lines(source)
    assert (next(lines), source.taken) == (b"data: 1", 2)
    assert (next(lines), source.taken) == (b"", 5)
    assert (next(lines), source.taken) == (b"data: [DONE]", 7)
    again = Source([b"data: 1" + end[:1], end[1:], end[:1], end[1:], b"data: [DONE]" + end[:1], b"more"])
    events = iter_sse(iter_lines(again))
    assert (next(events), again.taken) == (("message", "1"), 3)
    assert (next(events), again.taken) == (("message", "[DONE]"), 5)
    assert (list(events), again.taken) == ([], 5)


def test_an_open_file_is_read_as_well(tmp_path):
    (tmp_path / "stream").write_bytes(MIXED)
    (tmp_path / "recorded").write_bytes(STREAM_BODY)
    with open("stream", "rb") as file:
        assert list(iter_sse(iter_lines(file))) == MIXED_EVENTS
    with open("recorded", "rb", buffering=0) as file:
        *events, last = iter_sse(iter_lines(file))
    texts = tuple(decode_json(data)["choices"][0]["delta"]["content"] for name, data in events)
    assert texts == STREAM_TEXTS and last == ("message", "[DONE]")


@pytest.mark.parametrize(
    "stream, events",
    [
        (b"", []),
        (b"data: 1\n\n", one_event("1")),
        (b"data:1\n\n", one_event("1")),
        (b"data:  1 \n\n", one_event(" 1 ")),
        (b"data:\t1\n\n", one_event("\t1")),
        (b"data: 1\ndata: 2\n\n", one_event("1\n2")),
        (b"data: 1\n: remark\nid: 5\nretry: 9\nwhat: so\ndata: 2\n\n", one_event("1\n2")),
        (b"\n\n\ndata: 1\n\n\n\n", one_event("1")),
        (b": remark\n\n:\n\ndata: 1\n\n", one_event("1")),
        (b"event: a\n\ndata: 1\n\n", one_event("1")),
        (b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\n", [("b", "1"), ("message", "2")]),
        (b"data: 1\nevent:a\n\n", [("a", "1")]),
        (b"event:\ndata: 1\n\n", one_event("1")),
        (b"event\ndata: 1\n\n", one_event("1")),
        ("event: имя\ndata: ё\n\n".encode(), [("имя", "ё")]),
        (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")]),
        (b"data: 1\n\ndata: 2\n", one_event("1")),
        (b"data: 1\n\ndata: 2", one_event("1")),
        (b"Data: 1\n data: 1\ndata : 1\ndatum: 1\n\n", []),
        (MARK + b"data: 1\n\n" + MARK + b"data: 2\n\n", one_event("1")),
        (MARK + MARK + b"data: 1\n\n", []),
        (MARK + b"\ndata: 1\n\n", one_event("1")),
        (b"data: " + MARK + b"1\n\n", one_event("\ufeff1")),
        (b"data: a\x0b\x0c\x00b\n\n", one_event("a\x0b\x0c\x00b")),
    ],
)
def test_events_follow_the_specification(stream, events):
    assert events_of(stream) == events
    assert events_of(*(stream[i : i + 1] for i in range(len(stream)))) == events
    assert events_of(stream.replace(b"\n", b"\r\n")) == events_of(stream.replace(b"\n", b"\r")) == events


def test_a_mark_cut_in_three_is_left_out():
    for pieces in [(b"\xef", b"\xbb", b"\xbf"), (b"\xef\xbb", b"\xbf"), (b"", MARK), (b"\xef", b"", b"\xbb\xbf")]:
        assert events_of(*pieces, b"data: 1\n\n") == one_event("1")


@pytest.mark.parametrize(
    "stream, data",
    [
        (b"data: [DONE]\n\n", ["[DONE]"]),
        (b"data: [DONE]\n", ["[DONE]"]),
        (b"data: [DONE]\r", ["[DONE]"]),
        (b"data: [DONE]", ["[DONE]"]),
        (b"data:[DONE] ", ["[DONE]"]),
        (b"data: 1\n\ndata: [DONE]\ndata: 2\n\n", ["1", "[DONE]"]),
        (b"data: [DONE", []),
        (b"data: [DONE]]\n\n", ["[DONE]]"]),
        (b'data: "[DONE]"\n\n', ['"[DONE]"']),
        (b": [DONE]\n\nDONE\n\n", []),
        (b"[DONE]\n\n", []),
    ],
)
def test_done_ends_the_events_at_its_line_end_or_at_the_end_of_the_bytes(stream, data):
    assert [value for name, value in events_of(stream)] == data


def test_nothing_is_read_after_done():
    lines = iter([b"data: [DONE]", b"data: 1", b""])
    assert list(iter_sse(lines)) == one_event("[DONE]") and list(lines) == [b"data: 1", b""]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\ufeff", "\x7f", "\u200b", "\U0001f600"])
def test_letters_that_look_like_line_ends_or_like_nothing_stay_inside_json(letter):
    stream = ('data: {"a":"x%sy"}\n\n' % letter).encode()
    for at in range(len(stream)):
        ((_, data),) = events_of(stream[:at], stream[at:])
        assert decode_json(data) == {"a": f"x{letter}y"}


def test_bytes_that_are_no_utf_8_are_an_error_and_not_a_replacement():
    for wrong in (b"data: \xff\n\n", b"data: \xd0\ndata: \x96\n\n", b"event: \xff\n\n"):
        events = iter_sse(iter_lines([b"data: 1\n\n", wrong]))
        assert next(events) == ("message", "1")
        with pytest.raises((UnicodeDecodeError, StreamError)):
            next(events)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b""])
@pytest.mark.parametrize("size", [1, 3, 8, 99])
def test_a_line_of_the_limit_passes_and_a_longer_one_is_an_error(end, size):
    def cut(line):
        return [line[i : i + size] for i in range(0, len(line), size)]

    assert list(iter_lines([b"a\n"] + cut(b"x" * 8 + end), limit=8)) == [b"a", b"x" * 8]
    lines = iter_lines([b"a\n"] + cut(b"x" * 9 + end), limit=8)
    assert next(lines) == b"a"
    with pytest.raises(StreamError, match="8"):
        next(lines)


@pytest.mark.parametrize("value", [b"xxxx", b""])
def test_an_event_beyond_the_limit_is_an_error_however_it_is_made_up(value):
    lines = Source(itertools.repeat(b"data: " + value))
    with pytest.raises(StreamError, match="80"):
        list(itertools.islice(iter_sse(itertools.islice(lines, 200), limit=80), 1))
    assert lines.taken <= 82
    assert events_of(b"data: %s\n\n" % (b"x" * 40) * 9, limit=80) == one_event("x" * 40) * 9
    assert events_of(b": %s\n" % (b"x" * 60) * 9 + b"data: 1\n\n", limit=80) == one_event("1")


def test_the_limit_is_8_mib_and_no_more_than_that_is_gathered():
    assert EVENT_LIMIT == 8 << 20
    data = b"x" * (EVENT_LIMIT - 6)
    assert events_of(b"data: " + data, b"\n\n") == one_event(data.decode())
    endless = Source(itertools.repeat(b"x" * 65536, 300))  # which would not end well without the limit
    with pytest.raises(StreamError, match=str(EVENT_LIMIT)):
        next(iter_lines(endless))
    assert endless.taken == 129
    lines = Source(itertools.repeat(b"data: " + b"x" * 65536, 300))
    with pytest.raises(StreamError, match=str(EVENT_LIMIT)):
        next(iter_sse(lines))
    assert lines.taken <= 129


class Piece(bytes):
    """Bytes that count what is joined to them with +, as `buffer += piece` does."""

    added = 0

    def __radd__(self, other):
        Piece.added += 1
        return bytes(other) + bytes(self)


def calls_in_sse(work):
    """Count the calls of C functions, by name, that the parsers make while they work."""
    calls = collections.Counter()

    def note(frame, event, arg):
        if event == "c_call" and frame.f_code.co_filename == sse.__file__:
            calls[arg.__name__] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_a_long_line_in_small_pieces_is_joined_once():
    pieces = [Piece(b"x" * 7)] * 2000 + [Piece(b"x\nab\ncd")]
    lines = []
    calls = calls_in_sse(lambda: lines.extend(iter_lines(pieces)))
    assert [len(line) for line in lines] == [14001, 2, 2] and not Piece.added
    for name in ("append", "len", "extend"):
        calls.pop(name, None)
    assert sum(calls.values()) < 10, calls


def test_an_event_of_many_lines_is_joined_and_decoded_once():
    lines, events = [b"data: x"] * 2000 + [b""], []
    calls = calls_in_sse(lambda: events.extend(iter_sse(lines)))
    assert events == one_event("\n".join("x" * 2000)) and (calls["join"], calls["decode"]) == (1, 1)


def test_done_inside_an_event_is_text_like_any_other():
    lines = [b"data: 1", b"data: [DONE]", b"", b"data: 2", b"", b"data: [DONE]"]
    assert list(iter_sse(lines)) == [("message", "1\n[DONE]"), ("message", "2"), ("message", "[DONE]")]
