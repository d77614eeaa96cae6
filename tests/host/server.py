"""A real ComfyUI server in a throw-away base folder, with this repository as its only custom node.

Needs the standard library and websocket-client; never imports the host.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket
from hosts import REPOSITORY, Host, host_environment

PACK = "lumina-video"
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
    """`with HostServer(host, models) as server:` starts the host on the processor and always ends it.

    `models` is a folder whose content is copied into the base folder's `models/`. `bundle` is the folder of a bundle
    that the pack is given in place of its own. `startup_log` is what the server had printed when it first answered.
    """

    def __init__(
        self, host: Host, models: Path | None = None, extra_args: tuple[str, ...] = (), bundle: Path | None = None
    ):
        self.host = host
        self.base = Path(tempfile.mkdtemp(prefix="lumina-host-"))
        self._models = models
        self._bundle = bundle
        self._extra_args = extra_args
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
        """Everything the server has printed, without colours."""
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
        channel = websocket.create_connection(f"ws://127.0.0.1:{self.port}/ws?clientId={client}", timeout=5)
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

    def _pack_with_bundle(self, pack: Path) -> None:
        """A pack of the repository's own files, with a bundle in place of those in the repository."""
        for name in ("lumina_core", "nodes", "web"):
            shutil.copytree(REPOSITORY / name, pack / name, ignore=shutil.ignore_patterns("__pycache__", "bundles"))
        shutil.copy(REPOSITORY / "__init__.py", pack)
        shutil.copytree(self._bundle, pack / "lumina_core" / "bundles" / "mini")

    def _prepare(self) -> None:
        nodes = self.base / "custom_nodes"
        nodes.mkdir()
        if self._models is not None:
            shutil.copytree(self._models, self.base / "models", dirs_exist_ok=True)
        if self._bundle is not None:
            self._pack_with_bundle(nodes / PACK)
            return
        try:
            (nodes / PACK).symlink_to(REPOSITORY, target_is_directory=True)
        except OSError:
            # Windows lets only some accounts make links.
            left_out = shutil.ignore_patterns(".git", ".venv", ".demo", "node_modules", "__pycache__")
            shutil.copytree(REPOSITORY, nodes / PACK, ignore=left_out)

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            str(self.host.python), "main.py", "--cpu", "--port", str(self.port), "--base-directory", str(self.base),
            "--database-url", f"sqlite:///{(self.base / 'comfyui.db').as_posix()}", "--disable-auto-launch",
            "--disable-api-nodes", "--preview-method", "latent2rgb", "--disable-all-custom-nodes",
            "--whitelist-custom-nodes", PACK, *self._extra_args,
        ]  # fmt: skip
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
