"""Messages to the page and responses to its requests. Without a running server all of this does nothing."""

from __future__ import annotations

import sys
from typing import Any

from comfy_execution.utils import get_executing_context

# Names of the events that the page listens for.
PROGRESS, RESULT = "lumina-video.progress", "lumina-video.result"


def executing_node() -> str | None:
    """Id of the node that is executing; None outside of an execution."""
    context = get_executing_context()
    return context.node_id if context else None


def send(event: str, content: dict[str, Any]) -> None:
    """Send an event to the page that queued the prompt."""
    server = prompt_server()
    if server is not None:
        server.send_sync(event, content, server.client_id)


def send_text(node: str, text: str) -> None:
    """Show the host's line of progress text on a node."""
    server = prompt_server()
    if server is not None:
        server.send_progress_text(text, node, server.client_id)


def prompt_server() -> Any | None:
    """The host's running server; None if there is none."""
    return getattr(_from_server("PromptServer"), "instance", None)


def json_response(content: dict[str, Any], status: int = 200) -> Any:
    """A JSON response in the form of the host's web framework."""
    return _from_server("web").json_response(content, status=status)


def _from_server(name: str) -> Any:
    """An attribute of the host's ``server`` module, which is imported only if a server runs."""
    return getattr(sys.modules.get("server"), name, None)
