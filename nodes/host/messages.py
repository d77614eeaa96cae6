"""What the page is told while a sampler runs. Nothing is sent in a process without a server."""

from __future__ import annotations

import sys
from typing import Any

from comfy_execution.utils import get_executing_context

PROGRESS, RESULT = "lumina-video.progress", "lumina-video.result"


def executing_node() -> str | None:
    """Id of the node that runs now."""
    context = get_executing_context()
    return context.node_id if context else None


def send(event: str, content: dict[str, Any]) -> None:
    """Send to the page that queued the prompt."""
    server = _server()
    if server is not None:
        server.send_sync(event, content, server.client_id)


def send_text(node: str, text: str) -> None:
    """The host's own line of text on a node."""
    server = _server()
    if server is not None:
        server.send_progress_text(text, node, server.client_id)


def _server():
    module = sys.modules.get("server")
    return getattr(module and module.PromptServer, "instance", None)
