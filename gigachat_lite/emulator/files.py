"""The files that somebody has uploaded, in forms: in memory, private to the `X-Client-ID` that they came with."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, NamedTuple
from urllib.parse import unquote

from .text import count_tokens
from .validation import invalid_params, quote
from .web import Request, api_error

# The types that are documented, odd ones too, for each kind: these alone, though other names for some are usual.
TYPES = {
    "text": (
        "text/plain", "application/msword", "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/pdf", "application/epub", "application/ppt", "application/pptx", "application/vnd.ms-excel"),
    "image": ("image/jpeg", "image/png", "image/tiff", "image/bmp"),
    "audio": tuple("audio/" + name for name in (
        "mp4", "mp3", "x-m4a", "x-wav", "wave", "wav", "x-pn-wav", "webm", "x-ogg", "opus")),
}
LIMITS = {"text": 40 << 20, "image": 15 << 20, "audio": 35 << 20}  # bytes
PURPOSES = ("general", "assistant")
MAX_CONTEXT = 128 << 10  # tokens of all texts
MAX_IMAGES, MAX_MEDIA = 10, 80 << 20  # in one request: their number, and bytes of images and audio together
IMAGE_TOKENS = 1000  # that an image or a recording counts for; how the service counts is not known
MAX_PARTS = 1000  # of a form, or lines in it that look like its boundary
MAX_HEAD = 64 << 10  # bytes of the headers of a part

_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_PERCENT = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # what browsers, and clients like them, escape in a name


class _File(NamedTuple):
    owner: str | None
    info: dict[str, Any]
    content: bytes
    content_type: str


class Files:
    """Keep uploaded files."""

    def __init__(self) -> None:
        """Begin empty."""
        self._files: dict[str, _File] = {}
        self._tokens: dict[str, int] = {}

    def add(self, request: Request) -> dict[str, Any]:
        """Store the file of a form and return its description.

        Statuses and words for what is wrong with an upload are not known, but for the one of too large a file.
        """
        parts = {part.name: part for part in reversed(parse_form(request))}
        if "file" not in parts:
            raise invalid_params("file is required")
        file, purpose = parts["file"], parts["purpose"].content.decode("utf-8", "replace") if "purpose" in parts else ""
        if not file.filename:
            raise invalid_params("file must have a name")
        if purpose and purpose not in PURPOSES:
            raise invalid_params(f"purpose must be one of {', '.join(PURPOSES)}")
        kind = find_kind(file.content_type)
        if kind is None:
            known = ", ".join(name for types in TYPES.values() for name in types)
            shown = f"Unsupported file type '{quote(file.content_type)}'"
            raise api_error(400, f"{shown}: the type of the part must be one of {known}")
        if len(file.content) > LIMITS[kind]:
            raise api_error(413)
        owner = request.client_id
        return self.store(owner, file.filename, file.content, file.content_type, purpose or PURPOSES[0])

    def store(self, owner: str | None, filename: str, content: bytes, mime: str, purpose: str) -> dict[str, Any]:
        """Store a file of anybody's, as those that the service makes itself; return its description."""
        kind = find_kind(mime)
        info: dict[str, Any] = {
            "id": str(uuid.uuid4()), "object": "file", "bytes": len(content), "created_at": int(time.time()),
            "filename": filename, "purpose": purpose, "access_policy": "private",
            "modalities": None if kind is None else [kind]}
        self._files[info["id"]] = _File(owner, info, content, mime)
        return info

    def look_up(self, file_id: object) -> dict[str, Any] | None:
        """Describe a file whoever asks, None where there is none."""
        file = self._files.get(file_id) if isinstance(file_id, str) else None
        return None if file is None else file.info

    def text(self, file_id: str) -> str:
        """Return the text of a file that is plain text, nothing of any other."""
        file = self._files.get(file_id)
        if file is None or file.content_type != "text/plain":
            return ""
        try:
            return file.content.decode("utf-8-sig")
        except ValueError:
            return file.content.decode("cp1251", "replace")

    def count_tokens(self, file_id: str) -> int:
        """Return how many tokens a file takes in a dialogue; a document that the emulator cannot read is guessed."""
        file = self._files.get(file_id)
        if file is None:
            return 0
        if file.info["modalities"] != ["text"]:
            return IMAGE_TOKENS
        if file_id not in self._tokens:
            text = self.text(file_id)
            long = len(text) > 8 * MAX_CONTEXT  # too long for every model, and to be counted in no time
            self._tokens[file_id] = len(text) // 7 if long else count_tokens(text) or min(len(file.content) >> 6, 9999)
        return self._tokens[file_id]

    def check_attached(self, messages: list[dict[str, Any]], client_id: str | None, model: str) -> None:
        """Refuse files that the messages of a dialogue may not have; of texts only the first of a message is read.

        The words for unknown files and for too many images are not known.
        """
        images = media = tokens = 0
        for index, message in enumerate(messages):
            ids = message.get("attachments") or []
            for place, file_id in enumerate(ids):
                if file_id not in self._files:
                    where = f"messages[{index}].attachments[{place}]"
                    raise invalid_params(f"{where} must be the id of an uploaded file, and {quote(file_id)} is not")
            files = [self.get(file_id, client_id) for file_id in ids]
            kinds = [(info["modalities"] or [""])[0] for info in files]
            if kinds.count("image") > 1:
                raise invalid_params(f"messages[{index}] must not have more than one image")
            images += kinds.count("image")
            media += sum(info["bytes"] for info, kind in zip(files, kinds) if kind != "text")
            tokens += self.count_tokens(ids[kinds.index("text")]) if "text" in kinds else 0
        if images and not re.search("Pro|Max|GigaChat-3", model):
            raise api_error(422, "Model does not support image processing")
        if images > MAX_IMAGES:
            raise invalid_params(f"messages must not have more than {MAX_IMAGES} images")
        if media >= MAX_MEDIA:
            raise api_error(413)
        if tokens > MAX_CONTEXT:
            raise api_error(422, "Unprocessable Entity")

    def list(self, client_id: str | None) -> dict[str, Any]:
        """Describe the files of one client."""
        return {"data": [file.info for file in self._files.values() if file.owner == client_id]}

    def get(self, file_id: str, client_id: str | None) -> dict[str, Any]:
        """Describe one file."""
        return self._find(file_id, client_id).info

    def content(self, file_id: str, client_id: str | None) -> tuple[bytes, str]:
        """Return the bytes of a file, and the type of the answer, which is that of the file for a JPEG alone."""
        file = self._find(file_id, client_id)
        return file.content, "image/jpeg" if file.content_type == "image/jpeg" else "application/octet-stream"

    def delete(self, file_id: str, client_id: str | None) -> dict[str, Any]:
        """Forget a file."""
        self._find(file_id, client_id)
        del self._files[file_id]
        self._tokens.pop(file_id, None)
        return {"id": file_id, "deleted": True, "access_policy": "private"}

    def _find(self, file_id: str, client_id: str | None) -> _File:
        """Return a file to who may have it; the service's own words for one that is not there are not known."""
        file = self._files.get(file_id)
        if file is None:
            raise api_error(404, "No such file")
        if file.owner != client_id:
            raise api_error(403, f"Access to file '{file_id}' is denied")
        return file


def find_kind(content_type: str) -> str | None:
    """Return the kind of file that a type stands for, None where the service does not take it.

    >>> find_kind("audio/mp3"), find_kind("application/pdf")
    ('audio', 'text')
    """
    return next((kind for kind, types in TYPES.items() if content_type in types), None)


# ---- Forms: multipart/form-data (RFC 7578)


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
