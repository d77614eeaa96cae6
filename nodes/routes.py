"""What the page may ask the server. Every node works without them; they are for seeing a plan before it runs."""

from __future__ import annotations

import asyncio
import sys

from .page_plan import describe

ROOT = "/lumina-video"


def add_routes() -> None:
    """Register them with the running server; does nothing in a process without one."""
    module = sys.modules.get("server")
    server = getattr(module and module.PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.post(f"{ROOT}/plan")
    async def plan(request):
        asked = await request.json()
        return module.web.json_response(await asyncio.to_thread(describe, asked))
