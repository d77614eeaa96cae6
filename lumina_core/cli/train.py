"""``train``: runs recipes, each of which trains a model or prepares its data."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..mini import audio_codec, audio_encoders
from ..mini.audio_bundling import write_audio_bundle
from ..mini.audio_dataset import write_audio_data
from ..mini.autoencoder import train_autoencoder
from ..mini.bundling import write_bundle
from ..mini.dataset import write_drawn_data
from ..mini.text_encoder import FIGURES, train_text_encoder
from ..train.audio.trainer import audio_trainer
from ..train.distributed import DistContext, init_distributed
from ..train.loop import StepReport, Trainer
from ..train.plot import plot_losses
from ..train.state import newest_state
from ..train.validate import read_losses, source_means
from ..train.video import video_trainer
from .bar import progress_bar
from .options import INTERRUPTED
from .stages import Stage, read_stages

NAME = "train"
USAGE = "RECIPE [RECIPE ...]"
HELP = "Train a model or a LoRA from recipes."
EXAMPLES = """examples:
  lumina-video train recipes/lora.yaml
  lumina-video train recipes/mini
  torchrun --nproc-per-node 8 -m lumina_core train recipes/2-f8F32R256.yaml

A folder means its .yaml files, sorted by name. All recipes are checked before the first one starts. If interrupted, run
the same command again to resume from the last saved state; finished recipes are skipped. docs/training.md explains the
recipes. The last line on stdout is the folder of the last result."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help=".yaml file, or a folder of them")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status. Raises LuminaError."""
    stages = read_stages(arguments.recipes)
    for stage in stages:
        if status := _RUNNERS[stage.kind](stage):
            return status
    return 0


def _train_network(make_trainer: Callable[[Any, DistContext], Trainer], stage: Stage) -> int:
    recipe = stage.recipe
    with init_distributed(recipe.device) as dist:
        trainer = make_trainer(recipe, dist)
        if trainer.step >= recipe.steps:
            _finished(stage, dist)
            return 0
        try:
            with _bar(stage, recipe.steps, trainer.step, dist) as show, _interrupt_after_step(dist) as stop_requested:

                def after_step(report: StepReport) -> None:
                    show(_losses(report))
                    if stop_requested():
                        trainer.save()
                        raise KeyboardInterrupt

                trainer.run(after_step)
        except KeyboardInterrupt:
            return _interrupted(recipe.out, dist)
        if dist.is_main:
            _report_held_out(recipe.out)
            print(newest_state(recipe.out), flush=True)
    return 0


def _report_held_out(run: Path) -> None:
    """Print the held-out loss of each source, if it was measured, and plot it over t."""
    means = source_means(read_losses(run))
    if not means:
        return
    listed = ", ".join(f"{source} {loss:.4g}" for source, loss in means.items())
    print(f"Held-out loss by source, best first: {listed}.", file=sys.stderr)
    try:
        print(f"Plot: {plot_losses(run)}", file=sys.stderr)
    except LuminaError as error:
        print(error, file=sys.stderr)


@contextmanager
def _interrupt_after_step(dist: DistContext) -> Iterator[Callable[[], bool]]:
    """Within the block a first interrupt only requests a stop, so that no step is cut short; a second one stops at
    once.

    Yields a function that returns whether a stop is requested. With several processes an interrupt always stops at
    once: they would stop after different steps and wait for one another.
    """
    if dist.size > 1:
        yield lambda: False
        return
    requests: list[int] = []

    def request(number: int, _: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)
        print("\nStopping after this step; interrupt again to discard it.", file=sys.stderr, flush=True)

    previous = signal.signal(signal.SIGINT, request)
    try:
        yield lambda: bool(requests)
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupted(run: Path, dist: DistContext) -> int:
    if dist.is_main:
        last = newest_state(run)
        print(f"Interrupted; the same command resumes from {last or 'the start'}.", file=sys.stderr)
    return INTERRUPTED


def _train_autoencoder(stage: Stage) -> int:
    if _done(stage, "config.json"):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = train_autoencoder(stage.recipe, lambda step, loss: show(f"loss {loss:.4f}"))
    return _report(stage, figures)


def _train_text_encoder(stage: Stage) -> int:
    if _done(stage, FIGURES):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = train_text_encoder(stage.recipe, lambda step, loss: show(f"loss {loss:.3f}"))
    return _report(stage, figures)


def _draw_data(stage: Stage) -> int:
    recipe = stage.recipe
    with _bar(stage, sum(recipe.counts())) as show:
        write_drawn_data(recipe, lambda name: show(name))
    print(recipe.out, flush=True)
    return 0


def _bundle(stage: Stage) -> int:
    print(write_bundle(stage.recipe), flush=True)
    return 0


def _train_audio_codec(stage: Stage) -> int:
    if _done(stage, audio_codec.FIGURES):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = audio_codec.train_audio_codec(stage.recipe, lambda step, loss: show(f"loss {loss:.3f}"))
    return _report(stage, figures)


def _train_audio_encoders(stage: Stage) -> int:
    if _done(stage, audio_encoders.FIGURES):
        return 0
    with _bar(stage, stage.recipe.clip_steps + stage.recipe.sync_steps) as show:
        figures = audio_encoders.train_audio_encoders(
            stage.recipe, lambda encoder, step, loss: show(f"{encoder}, loss {loss:.3f}")
        )
    return _report(stage, {f"{part} {name}": value for part, found in figures.items() for name, value in found.items()})


def _draw_audio_data(stage: Stage) -> int:
    with _bar(stage, sum(stage.recipe.counts())) as show:
        write_audio_data(stage.recipe, lambda name: show(name))
    print(stage.recipe.out, flush=True)
    return 0


def _audio_bundle(stage: Stage) -> int:
    print(write_audio_bundle(stage.recipe), flush=True)
    return 0


_RUNNERS = {
    "video": partial(_train_network, video_trainer),
    "sound": partial(_train_network, audio_trainer),
    "autoencoder": _train_autoencoder,
    "text_encoder": _train_text_encoder,
    "drawn_data": _draw_data,
    "bundle": _bundle,
    "sound_codec": _train_audio_codec,
    "sound_encoders": _train_audio_encoders,
    "sound_data": _draw_audio_data,
    "sound_bundle": _audio_bundle,
}


@contextmanager
def _bar(stage: Stage, total: int, done: int = 0, dist: DistContext | None = None) -> Iterator[Any]:
    """A progress bar on stderr. Yields a function that advances it by one and shows a text."""
    if dist is not None and not dist.is_main:
        yield lambda text: None
        return
    with progress_bar(total, initial=done, desc=stage.file.stem) as bar:

        def show(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield show


def _losses(report: StepReport) -> str:
    return ", ".join(f"{name} {loss:.3f}" for name, loss in report.losses.items())


def _done(stage: Stage, last_file: str) -> bool:
    """Whether the stage is finished already, which is then printed."""
    if not (stage.recipe.out / last_file).is_file():
        return False
    _finished(stage)
    return True


def _finished(stage: Stage, dist: DistContext | None = None) -> None:
    if dist is None or dist.is_main:
        print(f"{stage.file.stem} is finished: {stage.recipe.out}", flush=True)


def _report(stage: Stage, figures: Mapping[str, float]) -> int:
    """Print the figures and the folder of a finished stage."""
    listed = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    print(f"{stage.file.stem}: {listed}", file=sys.stderr)
    print(stage.recipe.out, flush=True)
    return 0
