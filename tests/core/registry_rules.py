"""What may be in published Python files: the registry's policy and our own rule of imports, checked on the syntax tree.

Each rule yields "line: what" for a module's tree; `broken_rules` runs those that apply to a path.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

FORBIDDEN_MODULES = {
    "subprocess", "multiprocessing", "pty", "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "ctypes",
    "socket", "ssl", "ftplib", "smtplib", "telnetlib", "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub",
    "urllib.request", "http.client", "http.server", "xmlrpc", "sqlite3",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
FORBIDDEN_OS = {"system", "popen", "putenv", "unsetenv", "fork", "kill", "startfile"}
FORBIDDEN_OS_PREFIXES = ("exec", "spawn", "posix_spawn")
ENVIRONMENT_WRITERS = {"update", "setdefault", "pop", "popitem", "clear"}
CORE_ANYWHERE = {"torch", "einops", "safetensors"}
FAMILIES_ANYWHERE = {"torch", "comfy_api", "lumina_core"}
CORE_IN_FUNCTIONS = {
    "transformers", "diffusers", "tokenizers", "av", "PIL", "numpy", "cv2", "torchaudio", "tqdm", "flash_attn",
    "flash_attn_interface",
    "yaml", "matplotlib",
}  # fmt: skip


def broken_rules(path: str, source: str) -> list[str]:
    """Every breach in a published file, as "path:line: what"; `path` is relative to the repository, with slashes."""
    tree = ast.parse(source)
    found = [*_forbidden_imports(tree), *_forbidden_calls(tree), *_unsafe_loads(tree), *_environment_writes(tree)]
    room = PurePosixPath(path).parts[0]
    if room == "lumina_core":
        found += _core_imports(tree, len(PurePosixPath(path).parts) - 1)
    elif room == "nodes":
        if "host" not in PurePosixPath(path).parts:
            found += _family_imports(tree)
        found += [
            f"{line}: nodes import {name}: say ..{name}, or the host takes another package of that name"
            for line, name, level, _ in _imports(tree)
            if not level and name.partition(".")[0] == "lumina_core"
        ]
    return [f"{path}:{breach}" for breach in found]


def _imports(tree: ast.AST) -> Iterator[tuple[int, str, int, bool]]:
    """(line, module, level of a relative import, whether at module level) of every import."""
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level, id(node) not in inside
            for alias in node.names:
                # `from urllib import request` is an import of urllib.request.
                if not node.level:
                    yield node.lineno, f"{node.module}.{alias.name}", 0, id(node) not in inside


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _forbidden_imports(tree: ast.AST) -> Iterator[str]:
    for line, name, level, _ in _imports(tree):
        parts = name.split(".")
        if not level and any(".".join(parts[:end]) in FORBIDDEN_MODULES for end in range(1, len(parts) + 1)):
            yield f"{line}: import of {name}"


def _forbidden_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield f"{node.lineno}: call of {node.func.id}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if node.attr in FORBIDDEN_OS or node.attr.startswith(FORBIDDEN_OS_PREFIXES):
                yield f"{node.lineno}: use of os.{node.attr}"


def _unsafe_loads(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func) == "torch.load":
            given = [word.value for word in node.keywords if word.arg == "weights_only"]
            if not (given and isinstance(given[0], ast.Constant) and given[0].value is True):
                yield f"{node.lineno}: torch.load without weights_only=True"


def _environment_writes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            if _dotted(node.value) == "os.environ":
                yield f"{node.lineno}: write to os.environ"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if _dotted(node.func.value) == "os.environ" and node.func.attr in ENVIRONMENT_WRITERS:
                yield f"{node.lineno}: write to os.environ"


def _family_imports(tree: ast.AST) -> Iterator[str]:
    """Node families and page routes see the host through its public API; what needs more of it lies in nodes/host."""
    for line, name, level, _ in _imports(tree):
        top = name.partition(".")[0]
        if not level and top not in sys.stdlib_module_names and top not in FAMILIES_ANYWHERE:
            yield f"{line}: a node family imports {name}; put the adapter into nodes/host"


def _core_imports(tree: ast.AST, depth: int) -> Iterator[str]:
    """`depth` is the number of packages that a module lies in: a relative import may climb as far, no further."""
    for line, name, level, at_module_level in _imports(tree):
        top = name.partition(".")[0]
        if level > depth:
            yield f"{line}: the core reaches out of its package"
        elif level or top in sys.stdlib_module_names or top in CORE_ANYWHERE:
            continue
        elif top not in CORE_IN_FUNCTIONS:
            yield f"{line}: the core imports {name}"
        elif at_module_level:
            yield f"{line}: the core imports {name} at module level; move it into the function that needs it"
