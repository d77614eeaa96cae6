"""docs/performance.md: each script replaces the section it measures and nothing else, and the order stays.

`section` makes the text of one, from its heading on; `write_section` puts it into the file.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

SECTIONS = {
    "forward": "Forward pass, ours beside the official one",
    "attention": "Attention kernels",
    "compile": "Compiled blocks",
    "schedule": "Whole schedules: the time column of the paper's Table 2",
    "approximate": "Approximate options",
    "context drop": "Context Drop",
    "host overhead": "The host's own share",
    "memory": "Memory of a forward pass",
    "plan": "Foretold memory beside measured",
    "offload": "Offloading",
    "decode": "Memory and time of decoding",
    "gpu": "On a GPU",
}
"""Name of a section: its heading. They stand in the document in this order; a new script adds its own line here."""


def machine(device: str = "cpu") -> str:
    """The class of the machine, without its name: GPU model or number of CPU cores, and torch's version."""
    import torch

    if device.startswith("cuda"):
        where = f"one {torch.cuda.get_device_name(torch.device(device))}"
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        where = f"{cores} shared CPU cores"
    return f"{where}, torch {torch.__version__.split('+')[0]}"


def section(name: str, *parts: str, command: str, device: str = "cpu") -> str:
    """Heading, how and when it was measured, and the parts (paragraphs and tables). Raises ValueError: unknown name."""
    if name not in SECTIONS:
        known = ", ".join(SECTIONS)
        raise ValueError(f"{name!r} is no section of docs/performance.md, expected one of {known}; add it to SECTIONS.")
    day = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    return "\n\n".join([f"## {SECTIONS[name]}", f"`{command}`", f"{day}, {machine(device)}.", *parts])


def write_section(file: Path, name: str, text: str) -> None:
    """Put a section in place of its old one, or before the first later one; nothing is half-written."""
    begin, end = _marks(name)
    marked = f"{begin}\n{text.strip()}\n{end}"
    document = file.read_text(encoding="utf-8") if file.is_file() else ""
    start, stop = document.find(begin), document.find(end)
    if 0 <= start < stop:
        new = document[:start] + marked + document[stop + len(end) :]
    else:
        place = _place(document, name)
        new = "\n\n".join(filter(None, [document[:place].strip(), marked, document[place:].strip()])) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    half.write_text(new, encoding="utf-8")
    half.replace(file)


def _place(document: str, name: str) -> int:
    """Where a section that is not there yet begins: at the first later one, else at the end."""
    names = list(SECTIONS)
    later = [document.find(_marks(other)[0]) for other in names[names.index(name) + 1 :]]
    return min((place for place in later if place >= 0), default=len(document))


def _marks(name: str) -> tuple[str, str]:
    """Comments before and behind a section."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
