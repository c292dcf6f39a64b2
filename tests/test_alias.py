"""The alias: `import gigachat` is this library, and what was made for the official SDK runs on it."""
from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
INSTALL = "from gigachat_lite import alias\nalias.install()\nalias.install()\n"
STEPS = {"langchain_gigachat": 13, "gpt2giga": 13, "llama_index.llms.gigachat": 6, "pydantic_ai_gigachat": 7}


def child(*arguments, cwd=None, **environ):
    """Run a new interpreter, and return what it printed."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environ}
    done = subprocess.run([sys.executable, *arguments], env=environ, timeout=300, capture_output=True, cwd=cwd)
    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")
    return done.stdout.decode("utf-8").split()


def found(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


PROGRAMS = {
    "every module is ours": """
import gigachat.models as gm, gigachat.models.chat, gigachat.client, gigachat.exceptions, gigachat.context
import gigachat, gigachat_lite, importlib.util
from gigachat import *
from gigachat.models.chat_completions import ChatCompletionChunk, ChatMessage
assert gigachat.GigaChat is GigaChat is gigachat.client.GigaChat is gigachat_lite.GigaChat
assert gm.Chat is gigachat.models.chat.Chat is gigachat_lite.Chat and ChatMessage is gm.ChatMessage
assert gigachat.exceptions.ResponseError is gigachat_lite.ResponseError
assert gigachat.context.session_id_cvar is gigachat_lite.session_id_cvar
assert ChatCompletionChunk is gm.PrimaryChatCompletionChunk and gigachat.__version__
assert importlib.util.find_spec("gigachat").name == "gigachat"
""",
    "names that integrations read": """
import gigachat.models as gm
from gigachat._types import FileContent, FileTypes
from gigachat.settings import AUTH_URL, BASE_URL, SCOPE
assert BASE_URL.startswith("https://") and SCOPE == "GIGACHAT_API_PERS" and "oauth" in AUTH_URL
assert {"model_options", "messages", "tools"} <= set(gm.ChatCompletionRequest.model_fields)
assert list(gm.Usage.model_fields)[0] == "prompt_tokens"
""",
    "foreign fields of a message are left out": """
import gigachat.models as gm
call = {"name": "f", "arguments": {}, "type": "tool_call"}
for made in (gm.Messages(role="assistant", function_call=call, tool_call_id="1"),
             gm.Messages.model_validate({"role": "assistant", "content": "", "function_call": call, "refusal": None})):
    assert made == {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {}}}
assert call["type"] == "tool_call" and isinstance(made.function_call, gm.FunctionCall)
""",
    "other modules of the official SDK are none of ours": """
for name in ("gigachat.api", "gigachat.models.nothing", "gigachat.transport"):
    try:
        __import__(name)
    except ImportError as error:
        assert name in str(error)
    else:
        raise AssertionError(name)
try:
    import gigachat.settings
    gigachat.settings.NOTHING
except AttributeError:
    pass
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_import_gigachat_means_this_library(program):
    child("-W", "error", "-c", INSTALL + program)


def test_settings_are_read_from_the_environment():
    pytest.importorskip("pydantic_settings")
    said = child("-c", INSTALL + """
from gigachat import GigaChat
from gigachat.settings import Settings
class Own(Settings):
    pass
made = Own(model="M")
assert made.base_url.startswith("https://") and made.model_fields_set == {"model", "credentials", "max_retries"}
giga = GigaChat(env_file=False, **made.model_dump(exclude_none=True))
print(giga.config["model"], giga.config["max_retries"], giga.config["credentials"] == made.credentials)
""", GIGACHAT_CREDENTIALS="YTpi", GIGACHAT_MAX_RETRIES="7")
    assert said == ["M", "7", "True"]


def test_the_official_sdk_must_not_be_imported_before(tmp_path):
    (tmp_path / "gigachat.py").write_text("")
    assert child("-c", """
import sys
sys.path.insert(0, sys.argv[1])
import gigachat
from gigachat_lite import alias
try:
    alias.install()
except ImportError as error:
    assert "gigachat.py" in str(error) and "call gigachat_lite.alias.install() first" in str(error)
    print("refused")
""", str(tmp_path)) == ["refused"]


@pytest.mark.long
@pytest.mark.parametrize("package", STEPS)
def test_packages_for_the_official_sdk_run_on_ours(tmp_path, package):
    if not found(package):
        pytest.skip(f"{package} is not installed")
    said = child(str(pathlib.Path(__file__).parent / "integrations.py"), package, cwd=str(tmp_path))
    assert said.count("ok") == STEPS[package]
