"""MkDocs hook: use the README as the start page, and point links to files outside docs/ at the repository."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
BLOB = "https://github.com/lumina-video/ComfyUI-Lumina-Video/blob/main/"
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#:]+)(#[^)\s]*)?\)")


def relink(text: str, folder: str) -> str:
    """Markdown of a file in the repository as a page of the site.

    Args:
        text: the Markdown.
        folder: the file's folder, relative to the repository, with slashes; "" for its root.

    Returns:
        The Markdown with links between files of docs/ relative to docs/, and other relative links to the repository's
        page of the file. A link to a file that is not there stays, and MkDocs refuses it.
    """

    def changed(link: re.Match) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        parts: list[str] = []
        for part in (PurePosixPath(folder) / target).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        path = "/".join(parts)
        if not (ROOT / path).exists():
            return link[0]
        if parts[:1] == ["docs"]:
            return f"{label}({'/'.join(parts[1:])}{anchor})" if folder == "" else link[0]
        raw = "?raw=true" if label.startswith("!") else ""
        return f"{label}({BLOB}{path}{raw}{anchor})"

    return _LINK.sub(changed, text)


def on_files(files, config):
    """Add the README as the start page."""
    from mkdocs.structure.files import File

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite the links of one page."""
    source = page.file.src_uri
    folder = "" if source == "index.md" else str(PurePosixPath("docs") / PurePosixPath(source).parent)
    return relink(markdown, folder)
