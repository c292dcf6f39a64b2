"""Let ``import gigachat`` mean this library, for packages that were written for the official SDK.

Its modules ``client``, ``context``, ``exceptions``, ``models`` (and what is below it), ``settings`` and ``_types`` have
our names and those of them that integrations read. ``Settings`` needs pydantic-settings.
"""

from __future__ import annotations

import importlib.abc
import sys
from functools import partial
from importlib.util import find_spec, spec_from_loader
from types import ModuleType
from typing import Any

from . import files
from .config import DEFAULTS, PREFIX

OURS = "gigachat_lite."
MODULES = ("", "_types", "client", "context", "exceptions", "models", "settings")


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of ``gigachat``, and fills each with the names of ours."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Find a module of ``gigachat``; others are left to the next finder."""
        package, _, name = fullname.partition(".")
        if package != "gigachat" or not (name in MODULES or (name[:7] == "models." and find_spec(OURS + name))):
            return None
        return spec_from_loader(fullname, self, is_package=name in ("", "models"))

    def exec_module(self, module: ModuleType) -> None:
        """Give a module the names of ours."""
        name, names = module.__name__.partition(".")[2], vars(module)
        if name == "_types":
            names.update(FileContent=files.Content, FileTypes=files.FileForm)
        elif name == "settings":
            names.update((key.upper(), DEFAULTS[key]) for key in ("base_url", "auth_url", "scope"))
            names.update(ENV_PREFIX=PREFIX, __getattr__=_make_settings)
        else:
            ours = importlib.import_module((OURS + name).rstrip("."))
            names["__getattr__"] = partial(getattr, ours)
        if name == "models":
            ours.Obj.model_fields = _ModelFields()
            _drop_unknown(ours.Messages, ours.FunctionCall)


class _ModelFields:
    """The declared fields of a model class, by name."""

    def __get__(self, instance: Any, kind: type) -> dict[str, Any]:
        hints = [vars(base).get("__annotations__", {}) for base in reversed(kind.__mro__)]
        return {name: hint for each in hints for name, hint in each.items() if name[0] != "_" != name[-1]}


def _drop_unknown(messages: Any, function_call: Any) -> None:
    """Leave out what is no field of a message or its call, as pydantic does: frameworks pass OpenAI's through these."""
    init, known = messages.__init__, function_call.model_fields

    def __init__(self: Any, *args: Any, **fields: Any) -> None:
        init(self, *args, **fields)
        for name in set(self).difference(messages.model_fields):
            del self[name]
        call = self.get("function_call")
        if isinstance(call, dict):
            self["function_call"] = function_call({name: call[name] for name in call if name in known})

    messages.__init__ = __init__


def _make_settings(name: str) -> Any:
    if name != "Settings":
        raise AttributeError(f"module 'gigachat.settings' has no attribute {name!r}")
    from pydantic import create_model
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class Base(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX)

    # What was not given stays None, which is no setting; GigaChat() checks the others, and reads strings.
    fields: Any = {key: (Any, value if isinstance(value, str) else None) for key, value in DEFAULTS.items()}
    vars(sys.modules["gigachat.settings"])[name] = made = create_model(name, __base__=Base, **fields)
    return made


def install() -> None:
    """Make ``import gigachat`` mean this library from now on, in this process; call it before any such import."""
    official = sys.modules.get("gigachat")
    if official is not None and not isinstance(official.__loader__, AliasFinder):
        raise ImportError(f"{official} was imported before: call gigachat_lite.alias.install() first")
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())
