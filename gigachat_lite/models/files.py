"""Files kept by the service."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from .base import Answer

if TYPE_CHECKING:
    import os


class UploadedFile(Answer):
    """A file: ``created_at`` is Unix time in seconds, ``access_policy`` private or public."""

    __slots__ = ()
    id: str
    id_: str
    object: str
    object_: str
    bytes: int
    bytes_: int
    created_at: int
    filename: str
    purpose: str
    access_policy: str | None
    modalities: list[str] | None


class UploadedFiles(Answer):
    """All files of the account."""

    __slots__ = ()
    data: list[UploadedFile]


class DeletedFile(Answer):
    """That a file was deleted."""

    __slots__ = ()
    id: str
    id_: str
    object: str | None
    deleted: bool
    access_policy: str | None


class Image(Answer):
    """A file's bytes in base64, as ``content``; its repr shows their number alone."""

    __slots__ = ()
    content: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(str(self.content))} characters of base64)"

    __str__ = __repr__

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bytes to disk: all of them, or what was there stays."""
        from ..files import replacing

        data = base64.b64decode(self.content, validate=True)
        with replacing(path) as file:
            file.write(data)
