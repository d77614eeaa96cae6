"""Run by a host's Python, in the host's folder: import the pack as the host does and print one line of JSON.

{"seconds": time of the import, "node_ids": in menu order, "plan_inputs": widgets
of a plan by node, "new_packages": top-level packages that it brought in}
"""

import asyncio
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).absolute().parents[2]
MODULE = "lumina_video_under_test"


def import_pack() -> dict:
    """Import the host's modules, then the pack; the report above. `sys.path` and `sys.argv` are the host's already."""
    import comfy.options

    # Before any other import of the host: a torch built for CUDA fails there without a GPU.
    comfy.options.enable_args_parsing()
    import comfy.sd  # noqa: F401
    import comfy_api.latest  # noqa: F401

    import nodes  # noqa: F401

    before = set(sys.modules)
    start = time.perf_counter()
    spec = importlib.util.spec_from_file_location(
        MODULE, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    pack = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = pack
    spec.loader.exec_module(pack)
    seconds = time.perf_counter() - start

    known = {name.partition(".")[0] for name in before}
    new = {name.partition(".")[0] for name in set(sys.modules) - before}

    async def ids() -> list[str]:
        extension = await pack.comfy_entrypoint()
        return [node.GET_SCHEMA().node_id for node in await extension.get_node_list()]

    graph = importlib.import_module(f"{MODULE}.nodes.page.graph")
    plan_inputs = {kind: list(node.plan_inputs) for kind, node in graph.PLAN_NODES.items()}

    return {
        "seconds": seconds,
        "node_ids": asyncio.run(ids()),
        "plan_inputs": plan_inputs,
        "new_packages": sorted(new - known - {MODULE} - set(sys.stdlib_module_names)),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = [sys.argv[0], "--cpu"]
    print(json.dumps(import_pack()))
