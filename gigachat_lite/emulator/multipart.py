"""Forms: multipart/form-data (RFC 7578)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from .web import Request, api_error

MAX_PARTS = 1000  # of a form, or lines in it that look like its boundary
MAX_HEAD = 64 << 10  # bytes of the headers of a part

_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_PERCENT = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # what browsers, and clients like them, escape in a name


class Part(NamedTuple):
    """Hold one part of a form; `filename` is empty and so is `content_type` where none was given."""

    name: str
    filename: str
    content_type: str
    content: bytes


def parse_form(request: Request) -> list[Part]:
    """Return the parts of a form; without its last boundary it was cut off, and is refused."""
    kind, parameters = _parse_header("content-type: " + request.headers.get("content-type", ""))
    chunks = None
    if kind == "multipart/form-data" and parameters.get("boundary"):
        chunks = _split(request.raw, parameters["boundary"].encode("latin-1", "replace"))
    parts = [_parse_part(bytes(chunk)) for chunk in chunks or []]
    if chunks is None or None in parts:  # the service's own words are not known
        raise api_error(400, "Your request contains invalid multipart syntax.")
    return [part for part in parts if part is not None]


def _split(raw: bytes, boundary: bytes) -> list[bytearray] | None:
    """Return what stands between the boundaries, None where the last one is missing.

    A line that only begins like a boundary belongs to the content.
    """
    mark, chunks = b"\r\n--" + boundary, [bytearray()]  # the first is what precedes the form
    for chunk in (b"\r\n" + raw).split(mark, MAX_PARTS)[1:]:
        if re.match(rb"--[ \t]*(\r\n|\Z)", chunk):
            return chunks[1:]
        if re.match(rb"[ \t]*\r\n", chunk):
            chunks.append(bytearray(chunk))
        else:
            chunks[-1] += mark + chunk
    return None


def _parse_part(chunk: bytes) -> Part | None:
    """Return a part of a form, None where it has no head or no name; its head is what precedes the first empty line."""
    head, end, content = chunk.partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "replace").split("\r\n")[1:]
    headers = {line.partition(":")[0].strip().lower(): line for line in lines}
    kind, parameters = _parse_header(headers.get("content-disposition", ""))
    if not end or len(head) > MAX_HEAD or kind != "form-data" or "name" not in parameters:
        return None
    content_type = _parse_header(headers.get("content-type", ""))[0]
    return Part(parameters["name"], parameters.get("filename", ""), content_type, content)


def _parse_header(line: str) -> tuple[str, dict[str, str]]:
    r"""Return the value of a header in lower case, and its parameters; `name*=` (RFC 5987) beats `name=`.

    >>> _parse_header("Content-Disposition: form-data; name=\"a\"; filename=b; filename*=utf-8''%D0%B9")
    ('form-data', {'name': 'a', 'filename': 'й'})
    """
    parameters: dict[str, str] = {}
    for name, quoted, bare in sorted(_PARAMETER.findall(line), key=lambda found: bool(found[0].endswith("*"))):
        value = re.sub(r"\\(.)", r"\1", quoted) or bare
        if name.endswith("*"):
            charset, _, text = value.partition("'")
            encoding = "latin-1" if charset.lower() == "iso-8859-1" else "utf-8"
            value = unquote(text.partition("'")[2], encoding, "replace")
        elif quoted:
            value = re.sub("%22|%0[AD]", lambda found: _PERCENT[found.group()], value)
        parameters[name.rstrip("*").lower()] = value
    return line.partition(":")[2].partition(";")[0].strip().lower(), parameters
