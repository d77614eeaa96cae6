"""Server routes for the page's timeline. The nodes work without them."""

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
    """Register the routes with the running server, if there is one."""
    server = prompt_server()
    if server is None:
        return

    async def answer(request, work: Callable[[Any], dict]):
        """Run ``work`` on the body outside of the server's event loop; status 400 for a body that it rejects."""
        try:
            body = await request.json()
        except ValueError:
            return json_response({"error": "The body is not JSON; send a JSON object."}, status=400)
        try:
            return json_response(await asyncio.to_thread(work, body))
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


def change_remembered(body: Any) -> dict:
    """Change the stored run times by a body of ``remember`` (bool), ``erase`` (bool) or both; see `change`.

    Raises BadRequest for any other body.
    """
    known = isinstance(body, dict) and body and set(body) <= {"remember", "erase"}
    if not known or not all(isinstance(value, bool) for value in body.values()):
        raise BadRequest('Send {"remember": true or false}, {"erase": true} or both.')
    return change(**body)
