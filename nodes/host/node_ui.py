"""Text for the user, on the node itself and in the API."""

from __future__ import annotations

import logging

from comfy_api.latest import io, ui

from .messages import prompt_server

logger = logging.getLogger(__name__)


def show(node: type[io.ComfyNode], text: str) -> ui.PreviewText:
    """Show ``text`` on a node that has ``unique_id`` among its hidden inputs; returns the ``ui`` of its output."""
    server = prompt_server()
    if node.hidden.unique_id and server is not None:
        # This shows the text in both versions of the page; the returned value reaches only the API.
        server.send_progress_text(text, node.hidden.unique_id)
    return ui.PreviewText(text)


def note(title: str, texts: list[str]) -> ui.PreviewText | None:
    """Log the warnings of the node ``title`` and return them for its output; None if there are none."""
    if not texts:
        return None
    text = " ".join(texts)
    logger.warning("%s: %s", title, text)
    return ui.PreviewText(text)


def warn(node: type[io.ComfyNode], title: str, texts: list[str]) -> ui.PreviewText | None:
    """Like ``note``, and also show the warnings on the node."""
    text = note(title, texts)
    return show(node, " ".join(texts)) if text else None


def with_schedules(text: ui.PreviewText | None = None, **schedules: str) -> dict:
    """A node's ``ui``: the schedules it ran with, for timelines whose text comes from a link, and ``text`` if given."""
    return {**(text.as_dict() if text else {}), "lumina_schedules": [schedules]}
