"""Messages to the page, and routes that it may ask. Nothing happens in a process without a server."""

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
    """Send an event to the page that queued the prompt."""
    server = prompt_server()
    if server is not None:
        server.send_sync(event, content, server.client_id)


def send_text(node: str, text: str) -> None:
    """Show the host's own line of text on a node."""
    server = prompt_server()
    if server is not None:
        server.send_progress_text(text, node, server.client_id)


def prompt_server() -> Any | None:
    """The host's running server, None where there is none."""
    return getattr(_from_server("PromptServer"), "instance", None)


def json_response(content: dict[str, Any], status: int = 200) -> Any:
    """An answer of a route, as the host's web framework takes it."""
    return _from_server("web").json_response(content, status=status)


def _from_server(name: str) -> Any:
    """A name of the host's ``server`` module, which is imported only where a server runs."""
    return getattr(sys.modules.get("server"), name, None)
