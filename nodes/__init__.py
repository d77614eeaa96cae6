"""The pack's nodes, as the host asks for them."""

from comfy_api.latest import ComfyExtension, io

from .catalog import NODE_CLASSES
from .page.routes import add_routes


class LuminaVideoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODE_CLASSES


async def comfy_entrypoint() -> LuminaVideoExtension:
    # Here and not in on_load, which the older host does not call.
    add_routes()
    return LuminaVideoExtension()
