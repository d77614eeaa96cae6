"""Every error message of the pack has the form that users and programs rely on, and none changes unseen.

Other tests assert an error's field and kind; how it is worded is held here, by tests/fixtures/messages.json.
"""

import ast
import re
from typing import get_args

import pytest

from lumina_core.errors import ErrorKind
from scripts.build_messages import BASE, FILE, FILLED_IN, Message, catalogue, text_of

# A message that names a fix asks for something, or says what is right.
FIX = re.compile(
    r"\b(add|allow|ask|begin|between|call|change|check|choose|close|connect|convert|copy|crop|cut|delete|download|drop|"
    r"encode|expect(s|ed)?|fetch|fields are|fix|free|give|install|keep|leave|link|list|load|lower|make|must|name|"
    r"need(s|ed)?|one of|only|pass|pick|point|put|raise|reduce|remove|rename|render|required|resize|restart|run|save|"
    r"say|see|select|send|set|share|shorten|start|such as|take(s|n)?|the latents have|train|trim|try|turn|update|use|"
    r"wait|want(s)?|write)\b|[;:] \{\}\.?$",
    re.IGNORECASE,
)
MESSAGES = catalogue()


def faults(message: Message) -> list[str]:
    """What a message lacks."""
    found = []
    if message.error == BASE:
        if message.field is None:
            found.append("no field (None where no single one is at fault)")
        if not is_literal(message.kind) or ast.literal_eval(message.kind) not in get_args(ErrorKind):
            found.append(f"kind {message.kind}, not one of ErrorKind as a literal")
    if message.text is not None:
        if not message.text.endswith((".", FILLED_IN)):
            found.append("no period at its end")
        if "\n" in message.text:
            found.append("more than one paragraph")
        if not FIX.search(message.text):
            found.append("no fix")
    return found


def is_literal(source: str | None) -> bool:
    return source is not None and isinstance(ast.parse(source, mode="eval").body, ast.Constant)


def by_module() -> dict[str, list[Message]]:
    modules: dict[str, list[Message]] = {}
    for message in MESSAGES:
        modules.setdefault(message.module, []).append(message)
    return modules


@pytest.mark.parametrize("module", by_module())
def test_messages_say_what_is_at_fault_and_how_to_fix_it(module):
    found = [(message.text, fault) for message in by_module()[module] for fault in faults(message)]
    assert found == []


def test_messages_are_those_of_the_file():
    assert FILE.read_text(encoding="utf-8") == text_of(MESSAGES), "run scripts/build_messages.py, and read the diff"


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"field": None}, "no field"),
        ({"kind": None}, "kind None"),
        ({"kind": "'odd'"}, "kind 'odd'"),
        ({"kind": "kind"}, "kind kind"),
        ({"text": "fps is {}; give more"}, "no period"),
        ({"text": "fps is {};\ngive more."}, "paragraph"),
        ({"text": "fps is bad."}, "no fix"),
    ],
)
def test_faults_are_found(changes, fault):
    good = {"module": "a.py", "error": BASE, "field": "'fps'", "kind": "'value'", "text": "fps is {}; give more."}
    assert faults(Message(**good)) == []
    (found,) = faults(Message(**{**good, **changes}))
    assert found.startswith(fault) or fault in found
