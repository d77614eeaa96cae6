"""Lumina-Video for ComfyUI: text to video by a multi-scale flow model, as native nodes.

Does nothing where ComfyUI is not importable, so that tests and the command line can use the folder as it is.
"""

import importlib.util

if importlib.util.find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
