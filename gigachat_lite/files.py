"""Files: the form that an upload is, and what is written to disk whole or not at all.

A file of this machine that cannot be opened, read or written raises an OSError, as ``open()`` does.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import stat
import uuid
from typing import IO, Any, ContextManager, Iterator, Optional, Tuple, Union

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from .exceptions import printable

Content = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]
FileForm = Union[Content, Tuple[Optional[str], Content], Tuple[Optional[str], Content, Optional[str]]]

PIECE = 65536  # bytes read at a time; from the first of them the type is told
UNKNOWN = "application/octet-stream"

# The service's own names, some of them odd: whether it takes the usual ones for the same formats is not known.
TYPES = {
    "txt": "text/plain", "doc": "application/msword", "pdf": "application/pdf", "epub": "application/epub",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "ppt": "application/ppt",
    "pptx": "application/pptx", "xlsx": "application/vnd.ms-excel", "jpg": "image/jpeg", "jpeg": "image/jpeg",
    "png": "image/png", "tiff": "image/tiff", "tif": "image/tiff", "bmp": "image/bmp",
    "mp4": "audio/mp4", "mp3": "audio/mp3", "m4a": "audio/x-m4a", "wav": "audio/x-wav", "weba": "audio/webm",
    "ogg": "audio/x-ogg", "opus": "audio/opus",
}
LIMITS = {"image": 15 << 20, "audio": 35 << 20, "text": 40 << 20}  # bytes

_MAGIC = re.compile(
    rb"(?P<pdf>%PDF-)|(?P<jpg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<tiff>II\*\0|MM\0\*)|(?P<bmp>BM.{4}\0\0\0\0)"
    rb"|(?P<mp3>ID3)|(?P<wav>RIFF.{4}WAVE)|(?P<ogg>OggS)|(?P<m4a>.{4}ftypM4A)|(?P<mp4>.{4}ftyp)"
    rb"|(?P<txt>[^\0-\x08\x0e-\x1a\x1c-\x1f\x7f]*\Z)",
    re.DOTALL,
)
def find_type(name: str, head: bytes = b"") -> tuple[str, str]:
    """Tell a file's type by the extension of its name, else by its first bytes, and the extension that goes with it.

    >>> find_type("Отчёт.PDF"), find_type("notes.md", b"# Notes"), find_type("", b"\\0")
    (('application/pdf', 'pdf'), ('text/plain', 'txt'), ('application/octet-stream', 'bin'))
    """
    extension = os.path.splitext(name)[1][1:].lower()
    if extension not in TYPES:
        found = _MAGIC.match(head)
        extension = found.lastgroup or "" if found else "bin"
    return TYPES.get(extension, UNKNOWN), extension


def encode_upload(given: FileForm, purpose: str = "general") -> tuple[bytes, str]:
    """Read a file, and return the form of a purpose and that file, and the form's type with its boundary.

    The file is read from its beginning where it can be rewound. One that is larger than the service takes raises
    ValueError; of types that it does not document it may be of any size.
    """
    if not isinstance(purpose, str):
        raise TypeError(f"purpose: a string is needed, not {type(purpose).__name__}")
    source, name, mime, told = open_given(given)
    with source as file:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            file.seek(0)
        content, piece = io.BytesIO(), read_piece(file)
        found, extension = find_type(name or "", piece)
        if told in TYPES.values() or found == UNKNOWN:
            found = told or found
        name, mime = name or "upload." + extension, found if mime is None else mime
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;[ -~]*)?", mime, re.ASCII):
            raise ValueError(f"{mime!r} is no type of a file, as text/plain is one")
        while piece:
            content.write(piece)
            check_size(content.tell(), name, mime)
            piece = read_piece(file)
    part = (name.encode("utf-8", "replace").decode(), content.getvalue(), mime)
    fields = [RequestField.from_tuples("purpose", purpose), RequestField.from_tuples("file", part)]
    return encode_multipart_formdata(fields)


def open_given(given: FileForm) -> tuple[ContextManager[Any], str | None, str | None, str]:
    """Open what a caller gave; return it, its name and type where the caller tells them, and the type it has itself.

    A string is a path, never the content itself.
    """
    parts: tuple[Any, ...] = given if isinstance(given, tuple) else (None, given)
    if not 2 <= len(parts) <= 3:
        raise TypeError("a file is given as (name, data) or (name, data, type)")
    name, content, mime = (*parts, None)[:3]
    if not all(isinstance(text, (str, type(None))) for text in (name, mime)):
        raise TypeError("the name and the type of a file are strings")
    if isinstance(given, tuple) and isinstance(content, str):
        raise TypeError("data that is a string could mean two things: text.encode() is the text, Path(text) a file")
    if isinstance(content, (bytes, bytearray, memoryview)):
        return io.BytesIO(content), name, mime, ""
    if isinstance(content, (str, os.PathLike)):
        return open_path(content), name or os.path.basename(os.fsdecode(content)), mime, ""
    # What a framework calls an uploaded file may have a filename, a type, and the name of a form's field.
    own = getattr(content, "filename" if hasattr(content, "filename") else "name", None)  # may be a descriptor's number
    told = str(getattr(content, "content_type", None) or "").partition(";")[0].strip().lower()
    name = name or (os.path.basename(own) if isinstance(own, str) else None)
    return contextlib.nullcontext(readable(content)), name, mime, told


def readable(content: Any) -> Any:
    """Return the file in what a framework calls one, or a file itself; else say what to give in its place."""
    file, kind = content, type(content).__name__
    if hasattr(getattr(content, "file", None), "read"):  # Starlette, Django, aiohttp
        file = content.file
    if inspect.iscoroutinefunction(getattr(file, "read", None)):
        raise TypeError(f"{kind} is read by await: give (name, await file.read())")
    if not hasattr(file, "read") or isinstance(file, io.TextIOBase):
        hints = [f" (give its .{name})" for name in ("stream", "body", "data", "buffer") if hasattr(file, name)]
        raise TypeError(f"a path, bytes or a file opened with 'rb' is needed, not {kind}{''.join(hints[:1])}")
    return file


def open_path(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file to read it; where there is none, say that a string is taken for a path."""
    hint = " (a string is a path: content is given as bytes)" if isinstance(path, str) else ""
    try:
        return open(path, "rb")
    except OSError as exc:  # whose own text would show the whole of it
        raise OSError(exc.errno, (exc.strerror or "") + hint, printable(str(path))[:200]) from None


def read_piece(file: IO[bytes]) -> bytes:
    """Read some bytes."""
    piece = file.read(PIECE)
    if not isinstance(piece, bytes):
        raise TypeError(f"a file that reads bytes is needed, not {type(piece).__name__}: open it with 'rb'")
    return piece


def check_size(size: int, name: str, mime: str) -> None:
    """Raise ValueError for a file that is larger than the service takes."""
    kind = mime.partition("/")[0].lower()
    kind = "text" if kind == "application" and mime in TYPES.values() else kind
    limit = LIMITS.get(kind, size)
    if size > limit:
        raise ValueError(f"{printable(name)} is too large: {kind} files may have {limit >> 20} MB")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file to be written: whole it takes its place at the end, and otherwise nothing has changed.

    Until then it has another name beside it. What is there and no regular file, as a device, is written as it is.
    """
    target = os.path.realpath(os.fsdecode(path))
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    beside = os.path.join(os.path.dirname(target), f".gigachat-{uuid.uuid4().hex}.part")
    try:
        with open(beside, "xb") as file:
            if os.path.exists(target):
                os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
            yield file
        os.replace(beside, target)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if isinstance(exc, OSError) and exc.filename == beside:
            exc.filename = target
        raise
