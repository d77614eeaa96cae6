"""Write every error message of the pack into tests/fixtures/messages.json: `python scripts/build_messages.py`.

The messages are read from the syntax trees of lumina_core and nodes, with {} for each inserted value.
tests/core/test_messages.py compares the file with the code, and checks each message's form.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "fixtures" / "messages.json"
PACKAGES = ("lumina_core", "nodes")
BASE = "LuminaError"
FILLED_IN = "{}"


@dataclass(frozen=True)
class Message:
    """One place in the code that creates an error.

    Args:
        module: path of its file in the repository.
        error: the class.
        field, kind: source text of these arguments; None if they are not given.
        text: the message; None if it is built elsewhere.
    """

    module: str
    error: str
    field: str | None
    kind: str | None
    text: str | None


def catalogue() -> list[Message]:
    """Every place in the pack that creates a LuminaError or one of its subclasses, by file and line."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in _files()}
    errors = _errors(trees.values())
    return [
        message
        for file, tree in trees.items()
        for message in _messages(tree, file.relative_to(ROOT).as_posix(), errors)
    ]


def text_of(messages: list[Message]) -> str:
    """The file's content."""
    return json.dumps([asdict(message) for message in messages], indent=1, ensure_ascii=False) + "\n"


def _files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def _errors(trees) -> set[str]:
    """Names of the base class and of those derived from it."""
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = {BASE}
    while more := {each.name for each in classes if found & {ast.unparse(base) for base in each.bases}} - found:
        found |= more
    return found


def _messages(tree: ast.Module, module: str, errors: set[str]) -> Iterator[Message]:
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    for call in sorted((call for call in calls if call.func.id in errors), key=lambda call: call.lineno):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        text = _template(call.args[0], constants) if call.args else None
        yield Message(module, call.func.id, given.get("field"), given.get("kind"), text)


def _template(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    """The text of an expression, with the module's own constants inserted; None if it has no text of its own."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part, constants) or FILLED_IN for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _template(node.value, constants) if isinstance(node.value, ast.Name) else None
    if isinstance(node, ast.Name) and node.id in constants:
        return _template(constants[node.id], constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return "".join(_template(side, constants) or FILLED_IN for side in (node.left, node.right))
    return None


if __name__ == "__main__":
    FILE.write_text(text_of(catalogue()), encoding="utf-8")
    print(FILE)
