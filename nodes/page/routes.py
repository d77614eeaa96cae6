"""What the page may ask the server. Every node works without them; they are for seeing a plan before it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..host.messages import json_response, prompt_server
from ..host.timing_store import change, remembered
from .plan import describe
from .request import BadRequest

ROOT = "/lumina-video"


def add_routes() -> None:
    """Register them with the running server; does nothing in a process without one."""
    server = prompt_server()
    if server is None:
        return

    async def answer(request, work: Callable[[Any], dict]):
        """What ``work`` makes of the body, off the server's loop; 400 and a sentence for a body that it refuses."""
        try:
            asked = await request.json()
        except ValueError:
            return json_response({"error": "The body is not JSON."}, status=400)
        try:
            return json_response(await asyncio.to_thread(work, asked))
        except BadRequest as error:
            return json_response({"error": str(error)}, status=400)

    @server.routes.post(f"{ROOT}/plan")
    async def plan(request):
        return await answer(request, describe)

    @server.routes.get(f"{ROOT}/timings")
    async def timings(request):
        return json_response(await asyncio.to_thread(remembered))

    @server.routes.post(f"{ROOT}/timings")
    async def change_timings(request):
        return await answer(request, change_remembered)


def change_remembered(asked: Any) -> dict:
    """``{"remember": true or false}``, ``{"erase": true}`` or both; raises BadRequest for anything else."""
    known = isinstance(asked, dict) and asked and set(asked) <= {"remember", "erase"}
    if not known or not all(isinstance(value, bool) for value in asked.values()):
        raise BadRequest('Send {"remember": true or false}, {"erase": true} or both.')
    return change(**asked)
