"""Write workflows/*.json and their screenshots from workflows/api/*.json, with the front end of a real ComfyUI.

    python scripts/build_workflows.py [NAME ...]
The text of workflows/api/NAME.md, if it exists, becomes a note in the graph. Needs a ComfyUI (COMFYUI_PATH),
Node.js, Chromium, and `npm install` in tests/web. The oldest ComfyUI found is used: newer front ends read older files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "host"), str(ROOT / "scripts")]

from frontend import run_frontend, same_prompt  # noqa: E402
from hosts import HOW_TO_POINT, Host, find_hosts  # noqa: E402
from server import HostServer  # noqa: E402
from workflow_extras import add_extras  # noqa: E402

from lumina_core.media.writer import write_video  # noqa: E402
from lumina_core.mini.draw import draw  # noqa: E402
from lumina_core.mini.world import Scene  # noqa: E402

WORKFLOWS = ROOT / "workflows"
API = WORKFLOWS / "api"
# Suffix of the entries of bundled models.
BUNDLED = "(bundled)"
# Model folders by the input that names a file in them.
FOLDERS = {"model_name": "diffusion_models", "clip_name": "text_encoders", "vae_name": "vae", "folder": "text_encoders"}
TIMELINES = {
    f"LuminaVideo{name}"
    for name in ("PatchSchedule", "Guidance", "Guider", "MotionScore", "Preset", "SplitSigmas", "MultiScaleSampler")
}
# Node width at which two entries of the cost legend fit side by side.
TIMELINE_WIDTH = 440
# The scene in the video that the workflows load, for the screenshots.
CLIP = Scene("white", "circle", "navy", "right", 0.8, 12)


def main() -> None:
    names = sys.argv[1:] or sorted(file.stem for file in API.glob("*.json"))
    hosts, missed = find_hosts()
    if not hosts:
        sys.exit(" ".join(["No ComfyUI found.", *missed, HOW_TO_POINT]))
    prompts = {name: json.loads((API / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        build(min(hosts, key=_age), prompts, Path(folder))


def build(host: Host, prompts: dict[str, dict], models: Path) -> None:
    """Write the workflow and the screenshot of every prompt; exits if the front end reads a prompt differently."""
    _write_named_files(models, prompts)
    with HostServer(host, models) as server:
        _write_videos(server, models, prompts)
        made = run_frontend(server.url, [{"build": prompt, "note": _note(name)} for name, prompt in prompts.items()])
        for result in made:
            widen(result["workflow"]["nodes"])
        screenshots = [str(WORKFLOWS / f"{name}.jpg") for name in prompts]
        jobs = [
            {"load": r["workflow"], "screenshot": screenshot} for r, screenshot in zip(made, screenshots, strict=True)
        ]
        results = run_frontend(server.url, jobs)
    for (name, prompt), result in zip(prompts.items(), results, strict=True):
        if differences := same_prompt(prompt, result["output"]):
            sys.exit(f"{name}: the front end made another graph of it: {'; '.join(differences)}")
        add_extras(result["workflow"])
        file = WORKFLOWS / f"{name}.json"
        file.write_text(json.dumps(result["workflow"], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(file)


def widen(nodes: list[dict]) -> None:
    """Widen nodes with a timeline so that its text fits, and move the columns to their right."""
    shift = 0.0
    for x in sorted({node["pos"][0] for node in nodes}):
        column = [node for node in nodes if node["pos"][0] == x]
        before = max(node["size"][0] for node in column)
        for node in column:
            if node["type"] in TIMELINES:
                node["size"][0] = max(node["size"][0], TIMELINE_WIDTH)
            node["pos"][0] = x + shift
        shift += max(node["size"][0] for node in column) - before


def _age(host: Host) -> list[int]:
    return [int(part) for part in host.version.split(".") if part.isdigit()]


def _note(name: str) -> str:
    file = API / f"{name}.md"
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def _write_named_files(models: Path, prompts: dict[str, dict]) -> None:
    """Write empty files with the names in the prompts, so that the loaders list them and screenshots show no error."""
    for prompt in prompts.values():
        for node in prompt.values():
            for name, folder in FOLDERS.items():
                value = node["inputs"].get(name)
                if isinstance(value, str) and not value.endswith(BUNDLED):
                    # A folder is listed only if it contains a config.json.
                    file = models / folder / value / ("config.json" if name == "folder" else "")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.touch()


def _write_videos(server: HostServer, folder: Path, prompts: dict[str, dict]) -> None:
    """Write a clip for every video that a prompt loads into the host's input folder."""
    nodes = [node for prompt in prompts.values() for node in prompt.values()]
    names = {node["inputs"]["file"] for node in nodes if node["class_type"] == "LoadVideo"}
    for name in names:
        server.put_input(write_video(folder / name, draw(CLIP), 8).path)


if __name__ == "__main__":
    main()
