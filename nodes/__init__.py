"""The entry point through which the host gets the pack's nodes."""

from comfy_api.latest import ComfyExtension, io

from .catalog import NODE_CLASSES
from .page.routes import add_routes


class LuminaVideoExtension(ComfyExtension):
    """The pack as an extension of the host."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node class, in menu order."""
        return NODE_CLASSES


async def comfy_entrypoint() -> LuminaVideoExtension:
    """Called by the host when it loads the pack."""
    # The routes are added here, because the older host does not call on_load.
    add_routes()
    return LuminaVideoExtension()
