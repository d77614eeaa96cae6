"""A real ComfyUI server in a throw-away base folder, with this repository as its only custom node.

Needs the standard library and websocket-client; never imports the host.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket
from hosts import REPOSITORY, Host, host_environment

PACK = "lumina-video"
BUNDLES = Path("lumina_core", "bundles")
# The host's event number for a preview picture: four bytes, then four of the image format, then the picture.
PREVIEW_EVENT = 1


class HostError(RuntimeError):
    """The host refused or failed a prompt. `details` is its own answer, `messages` what it said while running."""

    def __init__(self, text: str, details: Any, messages: list[dict] | None = None):
        super().__init__(text)
        self.details = details
        self.messages = messages or []


@dataclass
class Result:
    """What one prompt did: the history entry, every websocket message in order, and the preview pictures."""

    prompt_id: str
    base: Path
    history: dict = field(default_factory=dict)
    messages: list[dict] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)

    @property
    def interrupted(self) -> bool:
        return any(message["type"] == "execution_interrupted" for message in self.messages)

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that ran (not those taken from the cache), in order."""
        nodes = [message["data"].get("node") for message in self.messages if message["type"] == "executing"]
        return [node for node in nodes if node is not None]

    def outputs(self, node: str | int) -> dict:
        """What the node showed: lists by kind, such as {"images": [{"filename": ...}]}."""
        return self.history.get("outputs", {}).get(str(node), {})

    def files(self, node: str | int) -> list[Path]:
        """Paths of every file that the node wrote."""
        entries = [entry for kind in self.outputs(node).values() if isinstance(kind, list) for entry in kind]
        return [
            self.base / entry.get("type", "output") / entry.get("subfolder", "") / entry["filename"]
            for entry in entries
            if isinstance(entry, dict) and "filename" in entry
        ]


class HostServer:
    """`with HostServer(host, models) as server:` starts the host on the CPU and always ends it.

    With LUMINA_FRONT_END set, the host serves the front end in that folder (`static` of the package
    comfyui-frontend-package) in place of its own.

    `models` is a folder whose content is copied into the base folder's `models/`. `startup_log` is what the server had
    printed when it first answered. One server does for all tests: `bundle` and `no_models` change what it finds.
    """

    def __init__(self, host: Host, models: Path | None = None):
        self.host = host
        self.base = Path(tempfile.mkdtemp(prefix="lumina-host-"))
        self._models = models
        self._process: subprocess.Popen | None = None
        self.port = 0
        self.startup_log = ""

    def __enter__(self) -> HostServer:
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the server has printed, without colors."""
        path = self.base / "server.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self.base, ignore_errors=True)

    def get(self, path: str) -> bytes:
        """Body of a GET on `path`, such as "/object_info"; raises HostError with the status."""
        return self._request(urllib.request.Request(self.url + path))

    def object_info(self) -> dict[str, dict]:
        return json.loads(self.get("/object_info"))

    def put_input(self, source: Path, name: str | None = None) -> str:
        """Copy a file into the input folder; returns its name there."""
        name = name or source.name
        (self.base / "input").mkdir(exist_ok=True)
        shutil.copyfile(source, self.base / "input" / name)
        return name

    def interrupt(self) -> None:
        self._request(urllib.request.Request(self.url + "/interrupt", data=b""))

    def submit_error(self, graph: dict) -> dict:
        """The body of the refusal that `graph` gets when it is queued; AssertionError if it is accepted."""
        try:
            answer = self._submit(graph, uuid.uuid4().hex)
        except HostError as error:
            return error.details
        self.interrupt()
        raise AssertionError(f"the host accepted the prompt: {answer}")

    def prompt(
        self,
        graph: dict,
        *,
        timeout: float = 300,
        on_message: Callable[[dict, Result], None] | None = None,
        workflow: dict | None = None,
    ) -> Result:
        """Queue an API-format graph and wait for its end; raises HostError where a node refuses or fails.

        `workflow` is the same graph in the front end's format: the host writes it into the files that it saves.
        `on_message` sees every websocket message as it comes and the result so far (to interrupt within a step, say).
        An interrupted prompt is no error: see `Result.interrupted`.
        """
        client = uuid.uuid4().hex
        channel = websocket.create_connection(f"ws://127.0.0.1:{self.port}/ws?clientId={client}", timeout=60)
        # While the prompt runs, look now and then whether the server still does.
        channel.settimeout(5)
        try:
            result = Result(self._submit(graph, client, workflow)["prompt_id"], self.base)
            self._follow(channel, result, time.monotonic() + timeout, on_message)
        finally:
            channel.close()
        result.history = self._history(result.prompt_id)
        failed = [m["data"] for m in result.messages if m["type"] == "execution_error"]
        if failed:
            text = "{node_type} (node {node_id}): {exception_type}: {exception_message}".format_map(failed[0])
            raise HostError(text, failed[0], result.messages)
        return result

    @contextmanager
    def bundle(self, folder: Path) -> Iterator[None]:
        """Until the end of the block, the pack's bundle `mini` is the one in this folder."""
        place = self.base / "custom_nodes" / PACK / BUNDLES / "mini"
        aside = self.base / "bundles_aside" / uuid.uuid4().hex
        aside.parent.mkdir(exist_ok=True)
        place.rename(aside)
        _link(folder, place)
        self.forget()
        try:
            yield
        finally:
            _remove(place)
            aside.rename(place)
            self.forget()

    @contextmanager
    def no_models(self) -> Iterator[None]:
        """Until the end of the block, the model folders are empty; what is put there meanwhile goes with the block."""
        models, aside = self.base / "models", self.base / "models_aside"
        _move_contents(models, aside)
        try:
            yield
        finally:
            _move_contents(models, self.base / "models_of_the_block")
            _move_contents(aside, models)
            for folder in (aside, self.base / "models_of_the_block"):
                shutil.rmtree(folder)

    def forget(self) -> None:
        """Drop what the host keeps of earlier prompts: not every loader's result depends on the files' dates."""
        body = json.dumps({"unload_models": True, "free_memory": True}).encode()
        headers = {"Content-Type": "application/json"}
        self._request(urllib.request.Request(self.url + "/free", data=body, headers=headers))
        # The host does it before or after the next prompt, whichever its thread comes to first.
        image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
        show = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        self.prompt({"1": image, "2": show})

    def _prepare(self) -> None:
        pack = self.base / "custom_nodes" / PACK
        if self._models is not None:
            shutil.copytree(self._models, self.base / "models", dirs_exist_ok=True)
        # The repository, with a folder of bundles that can be changed.
        _link_contents(REPOSITORY, pack, without={BUNDLES.parts[0], ".git", ".venv", ".demo"})
        _link_contents(REPOSITORY / BUNDLES.parent, pack / BUNDLES.parent, without={BUNDLES.name})
        _link_contents(REPOSITORY / BUNDLES, pack / BUNDLES)

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            str(self.host.python), "main.py", "--cpu", "--port", str(self.port), "--base-directory", str(self.base),
            "--database-url", f"sqlite:///{(self.base / 'comfyui.db').as_posix()}", "--disable-auto-launch",
            "--disable-api-nodes", "--preview-method", "latent2rgb", "--disable-all-custom-nodes",
            "--whitelist-custom-nodes", PACK,
        ]  # fmt: skip
        if front_end := os.environ.get("LUMINA_FRONT_END"):
            command += ["--front-end-root", str(Path(front_end).expanduser())]
        with (self.base / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.host.path, env=host_environment(), stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                self.get("/system_stats")
                self.startup_log = self.log
                return
            except (OSError, HostError):
                time.sleep(0.2)
        raise HostError(f"ComfyUI {self.host.version} did not answer within 180 s.", self.log[-4000:])

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise HostError(f"ComfyUI {self.host.version} ended on its own:\n{self.log[-4000:]}", self.log)

    def _submit(self, graph: dict, client: str, workflow: dict | None = None) -> dict:
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow is not None else {}
        body = json.dumps({"prompt": graph, "client_id": client, "extra_data": extra}).encode()
        request = urllib.request.Request(self.url + "/prompt", data=body, headers={"Content-Type": "application/json"})
        return json.loads(self._request(request))

    def _request(self, request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            try:
                details = json.loads(body)
            except json.JSONDecodeError:
                details = body
            raise HostError(f"{request.full_url} answered {error.code}: {body[:2000]}", details) from None

    def _follow(
        self, channel: Any, result: Result, deadline: float, on_message: Callable[[dict, Result], None] | None
    ) -> None:
        ends = ("execution_success", "execution_error", "execution_interrupted")
        while time.monotonic() < deadline:
            try:
                received = channel.recv()
            except websocket.WebSocketTimeoutException:
                self._check_alive()
                continue
            if isinstance(received, bytes):
                if int.from_bytes(received[:4], "big") == PREVIEW_EVENT:
                    result.previews.append(received[8:])
                message = {"type": "binary", "data": {"bytes": len(received)}}
            else:
                message = json.loads(received)
                result.messages.append(message)
            if on_message is not None:
                on_message(message, result)
            if message["type"] in ends and message["data"].get("prompt_id") == result.prompt_id:
                return
        self.interrupt()
        raise HostError(f"the prompt did not end in time; the server's last words:\n{self.log[-4000:]}", None)

    def _history(self, prompt_id: str) -> dict:
        # The entry is written just after the last message is sent.
        for _ in range(100):
            if entry := json.loads(self.get(f"/history/{prompt_id}")).get(prompt_id):
                return entry
            time.sleep(0.05)
        raise HostError(f"no history for prompt {prompt_id}", None)


def _link_contents(source: Path, target: Path, without: frozenset[str] | set[str] = frozenset()) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.name not in without:
            _link(path, target / path.name)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        # Windows lets only some accounts make links.
        left_out = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(source, target, ignore=left_out) if source.is_dir() else shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    """Remove a link or a folder."""
    path.unlink() if path.is_symlink() else shutil.rmtree(path)


def _move_contents(source: Path, target: Path) -> None:
    """Move what lies in each folder of ``source`` into the folder of that name in ``target``; the folders stay."""
    for folder in [path for path in source.iterdir() if path.is_dir()]:
        (target / folder.name).mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.rename(target / folder.name / path.name)
