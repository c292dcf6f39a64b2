"""Files: the body of an upload, read from disk as it is sent, and what is written to disk whole or not at all.

A file of this machine that cannot be opened or written raises an OSError, as ``open()`` does.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import tempfile
import uuid
from typing import IO, Any, Callable, Iterator, Optional, Tuple, Union, cast

from .exceptions import GigaChatException, ResponseError, printable

Content = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]
FileForm = Union[Content, Tuple[Optional[str], Content], Tuple[Optional[str], Content, Optional[str]]]

PIECE = 16384  # bytes sent at a time: one TLS record, so that the deadline is looked at between any two
HEAD = 4096  # bytes from which a type is told
IN_MEMORY = 1 << 20  # bytes of a pipe that are kept there; a longer one goes to a file without a name

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
# What a form has in place of these letters in a name: browsers have the same (WHATWG HTML, multipart/form-data).
_ESCAPES = {ord('"'): "%22", ord("\\"): "\\\\", **{code: f"%{code:02X}" for code in (*range(32), 127)}}


def find_type(name: str, head: bytes = b"") -> tuple[str, str]:
    """Tell a file's type by the extension of its name, else by its first bytes, and the extension that goes with it.

    >>> find_type("Отчёт.PDF"), find_type("notes.md", b"# Notes"), find_type("", b"\\0")
    (('application/pdf', 'pdf'), ('text/plain', 'txt'), ('application/octet-stream', 'bin'))
    """
    extension = os.path.splitext(name)[1][1:].lower()
    if extension not in TYPES:
        found = _MAGIC.match(head)
        extension = found.lastgroup or "" if found else "bin"
    return TYPES.get(extension, "application/octet-stream"), extension


def open_given(given: FileForm) -> tuple[IO[bytes], bool, str | None, str | None]:
    """Open what a caller gave; tell whether it is ours to close, its name and its type where they are known.

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
        return io.BytesIO(content), True, name, mime
    if isinstance(content, (str, os.PathLike)):
        return open_path(content), True, name or os.path.basename(os.fsdecode(content)), mime
    if not hasattr(content, "read") or isinstance(content, io.TextIOBase):
        raise TypeError(f"a path, bytes or a file opened with 'rb' is needed, not {type(content).__name__}")
    path = getattr(content, "name", None)  # a number for a file that was opened by its descriptor
    return content, False, name or (os.path.basename(path) if isinstance(path, str) else None), mime


def open_path(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file to read it; where there is none, say that a string is taken for a path."""
    hint = " (a string is a path: content is given as bytes)" if isinstance(path, str) else ""
    try:
        return open(path, "rb")
    except OSError as exc:  # whose own text would show the whole of it
        raise OSError(exc.errno, (exc.strerror or "") + hint, printable(str(path))[:200]) from None


def measure(file: IO[bytes]) -> tuple[int | None, bytes]:
    """Tell how long a file is, and its first bytes; the length of one that cannot be rewound is None."""
    size: int | None = None
    with contextlib.suppress(AttributeError, OSError, ValueError):
        file.seek(0, os.SEEK_END)
        end = file.tell()
        file.seek(0)
        size = end
    head = file.read(HEAD)
    if not isinstance(head, bytes):
        raise TypeError(f"a file that reads bytes is needed, not {type(head).__name__}: open it with 'rb'")
    return (size if size is not None and size >= len(head) else None), head  # a device says 0, and goes on


class Upload:
    """The body of an upload: a form of a purpose and a file, of a length that is known before anything is sent.

    Each iteration gives it anew, the file from its beginning whatever its position was, and exactly as long as was
    promised. One that cannot be rewound, as a pipe, is copied first for its length, and is given once. A file that is
    larger than the service takes raises ValueError here; for types that it does not document it may be of any size.
    """

    def __init__(self, given: FileForm, purpose: str = "general") -> None:
        if not isinstance(purpose, str):
            raise TypeError(f"purpose: a string is needed, not {type(purpose).__name__}")
        self._file, ours, name, mime = open_given(given)
        self._own = contextlib.ExitStack()
        if ours:
            self._own.enter_context(self._file)
        self._begun = False
        try:
            size, head = measure(self._file)
            found, extension = find_type(name or "", head)
            name, self.mime = name or "upload." + extension, found if mime is None else mime
            self.name = printable(name)
            if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;[ -~]*)?", self.mime, re.ASCII):
                raise ValueError(f"{self.mime!r} is no type of a file, as text/plain is one")
            self._once = size is None
            self.size = self._copy(head) if size is None else self._fitting(size)
        except BaseException:
            self.close()
            raise
        self._frame(purpose, name)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._top) + self.size + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        self._begun = True
        yield self._top
        left = self.size
        self._read(self._file.seek, 0)
        while left:
            piece = self._read(self._file.read, min(PIECE, left))
            if not piece or len(piece) > left:
                raise GigaChatException(f"{self.name} has another length than before: it was changed while it was sent")
            left -= len(piece)
            yield piece
        yield self._end

    def headers(self) -> dict[str, str]:
        """Name the form's type, which is the body's own and nobody's to change."""
        return {"Content-Type": "multipart/form-data; boundary=" + self._boundary}

    def rewind(self, error: GigaChatException) -> bool:
        """Go back to the beginning, for another try; where that cannot be, the error says so."""
        try:
            self._file.seek(0)
            if not (self._once and self._begun):
                return True
        except (OSError, ValueError):  # closed in the meantime, say
            pass
        if isinstance(error, ResponseError):
            error.hint = f"The file cannot be rewound, so it was not sent again. {error.hint}"
        return False

    def close(self) -> None:
        """Close what was opened here, not what the caller has opened."""
        self._own.close()

    def _frame(self, purpose: str, name: str) -> None:
        self._boundary = uuid.uuid4().hex
        line, what = "--" + self._boundary, "\r\nContent-Disposition: form-data; name="
        top = f'{line}{what}"purpose"\r\n\r\n{purpose}\r\n{line}{what}"file"; filename="{name.translate(_ESCAPES)}"'
        self._top = f"{top}\r\nContent-Type: {self.mime}\r\n\r\n".encode("utf-8", "replace")
        self._end = f"\r\n{line}--\r\n".encode("ascii")

    def _fitting(self, size: int) -> int:
        kind = self.mime.partition("/")[0].lower()
        kind = "text" if kind == "application" and self.mime in TYPES.values() else kind
        limit = LIMITS.get(kind, size)
        if size > limit:
            raise ValueError(f"{self.name} is too large: {kind} files may have {limit >> 20} MB")
        return size

    def _copy(self, piece: bytes) -> int:
        source, size = self._file, 0
        spool = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 -- closed with the rest
        self._file = cast("IO[bytes]", self._own.enter_context(spool))
        while piece:
            size = self._fitting(size + len(piece))
            self._file.write(piece)
            piece = source.read(PIECE)
        return size

    def _read(self, read: Callable[[int], Any], number: int) -> Any:
        try:
            return read(number)
        except Exception as exc:  # below urllib3, which takes an OSError for a fault of the network
            raise GigaChatException(f"{self.name} could not be read while it was sent: {exc}") from exc


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
