"""``train``: recipes become trained models."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..mini import audio_codec as sound_codec
from ..mini import audio_encoders as sound_encoders
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
from .options import INTERRUPTED
from .stages import Stage, read_stages

NAME = "train"
USAGE = "RECIPE [RECIPE ...]"
HELP = "Train a model, or a LoRA on one, by a recipe."
EXAMPLES = """examples:
  python -m lumina_core train recipes/lora.yaml
  python -m lumina_core train recipes/mini
  torchrun --nproc-per-node 8 -m lumina_core train recipes/2-f8F32R256.yaml

A folder stands for its .yaml files in the order of their names. All recipes are checked before the first one starts.
Interrupted or killed, the same command goes on where the last saved state is; what is finished is not done again.
docs/training.md explains the recipes. The last line on stdout is the folder of the last result."""
_SECONDS_IN_A_LOG = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help=".yaml file, or a folder of them")


def run(arguments: argparse.Namespace) -> int:
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
            with _bar(stage, recipe.steps, trainer.step, dist) as show, _whole_steps(dist) as asked_to_stop:

                def after_step(report: StepReport) -> None:
                    show(_losses(report))
                    if asked_to_stop():
                        trainer.save()
                        raise KeyboardInterrupt

                trainer.run(after_step)
        except KeyboardInterrupt:
            return _interrupted(recipe.out, dist)
        if dist.is_main:
            _tell_held_out(recipe.out)
            print(newest_state(recipe.out), flush=True)
    return 0


def _tell_held_out(run: Path) -> None:
    """List the sources by their held-out loss, where it was measured, and draw it over t."""
    means = source_means(read_losses(run))
    if not means:
        return
    listed = ", ".join(f"{source} {loss:.4g}" for source, loss in means.items())
    print(f"Held-out loss of the sources, best first: {listed}.", file=sys.stderr)
    try:
        print(f"It is drawn in {plot_losses(run)}.", file=sys.stderr)
    except LuminaError as error:
        print(error, file=sys.stderr)


@contextmanager
def _whole_steps(dist: DistContext) -> Iterator[Callable[[], bool]]:
    """Until its end a first interrupt is only noted, so that no state is half of one step; a second one acts at once.

    Several processes are interrupted at once: noting it, they would stop in different steps and wait for one another.
    """
    if dist.size > 1:
        yield lambda: False
        return
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nStopping after this step; interrupt again to drop it.", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(run: Path, dist: DistContext) -> int:
    if dist.is_main:
        last = newest_state(run)
        print(f"Interrupted; the same command goes on from {last or 'the start'}.", file=sys.stderr)
    return INTERRUPTED


def _train_autoencoder(stage: Stage) -> int:
    if _done(stage, "config.json"):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = train_autoencoder(stage.recipe, lambda step, loss: show(f"loss {loss:.4f}"))
    return _tell(stage, figures)


def _train_text_encoder(stage: Stage) -> int:
    if _done(stage, FIGURES):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = train_text_encoder(stage.recipe, lambda step, loss: show(f"loss {loss:.3f}"))
    return _tell(stage, figures)


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
    if _done(stage, sound_codec.FIGURES):
        return 0
    with _bar(stage, stage.recipe.steps) as show:
        figures = sound_codec.train_audio_codec(stage.recipe, lambda step, loss: show(f"loss {loss:.3f}"))
    return _tell(stage, figures)


def _train_audio_encoders(stage: Stage) -> int:
    if _done(stage, sound_encoders.FIGURES):
        return 0
    with _bar(stage, stage.recipe.clip_steps + stage.recipe.sync_steps) as show:
        figures = sound_encoders.train_audio_encoders(
            stage.recipe, lambda encoder, step, loss: show(f"{encoder}, loss {loss:.3f}")
        )
    return _tell(stage, {f"{part} {name}": value for part, found in figures.items() for name, value in found.items()})


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
    """A bar with the time left on stderr; gives the function that moves it on by one."""
    if dist is not None and not dist.is_main:
        yield lambda text: None
        return
    from tqdm import tqdm

    # In a log file every update is one more line.
    interval = 0.1 if sys.stderr.isatty() else _SECONDS_IN_A_LOG
    with tqdm(
        total=total, initial=done, desc=stage.file.stem, file=sys.stderr, mininterval=interval, dynamic_ncols=True
    ) as bar:

        def show(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield show


def _losses(report: StepReport) -> str:
    return ", ".join(f"{name} {loss:.3f}" for name, loss in report.losses.items())


def _done(stage: Stage, last_file: str) -> bool:
    if not (stage.recipe.out / last_file).is_file():
        return False
    _finished(stage)
    return True


def _finished(stage: Stage, dist: DistContext | None = None) -> None:
    if dist is None or dist.is_main:
        print(f"{stage.file.stem} is finished: {stage.recipe.out}", flush=True)


def _tell(stage: Stage, figures: dict[str, float]) -> int:
    words = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    print(f"{stage.file.stem}: {words}", file=sys.stderr)
    print(stage.recipe.out, flush=True)
    return 0
