"""The training loop: in each step every task takes its batch, and the gradients add up (paper, algorithm 1)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..checkpoint import LATENT_RGB, METADATA_KEY, SETTINGS
from ..devices import pick_device
from ..errors import LuminaError
from ..text import MAX_TOKENS, TextEncoder, load_text_encoder
from ..vae import load_video_vae
from .average import averaged, follow
from .batches import Pick, TaskBatches
from .chance import generator
from .distributed import ALONE, Processes, whole
from .items import TrainItem, make_item
from .log import TrainingLog
from .network import Trained, build_network
from .objective import item_losses, noised
from .recipe import Recipe, Task, one_patch
from .samples import draw_samples, write_samples
from .shards import EncodedSet
from .state import State, load_state, newest_state, optimizer_tensors, restore_optimizer, save_state
from .validate import HeldOut, write_losses


@dataclass(frozen=True)
class StepReport:
    """One step: its number counted from 1, the loss of each task, and the gradients' norm before clipping."""

    step: int
    losses: dict[str, float]
    norm: float


class Trainer:
    """One run of a recipe, from its newest saved state or from the start. Raises LuminaError for what does not fit."""

    def __init__(self, recipe: Recipe, processes: Processes = ALONE):
        self.recipe, self.processes = recipe, processes
        processes.check_batches(recipe.tasks.values())
        self.device = processes.device or pick_device(recipe.device)
        self.sets = {name: EncodedSet(source.encoded) for name, source in recipe.sources.items()}
        period = max(task.ratio for task in recipe.tasks.values())
        self.batches = [
            TaskBatches(task, recipe.sources, self.sets, recipe.seed, period) for task in recipe.tasks.values()
        ]
        self.encoder: TextEncoder = load_text_encoder(recipe.text_encoder, self.device)
        self.network: Trained = build_network(recipe, self.encoder.width, self.device, processes)
        self.held_out = HeldOut(recipe) if recipe.validation else None
        self.vae = load_video_vae(recipe.vae) if recipe.samples else None
        self._check_data()
        self.names = {parameter: name for name, parameter in self.network.trained()}
        settings = recipe.optimizer
        self.optimizer = torch.optim.AdamW(
            list(self.names), settings.learning_rate, settings.betas, settings.eps, settings.weight_decay
        )
        self.ema = {name: parameter.detach().clone() for parameter, name in self.names.items()} if recipe.ema else {}
        self.step = 0
        self._resume()
        self.log = TrainingLog(recipe.out if processes.first else None, self.step)

    def run(self, report: Callable[[StepReport], None] = lambda report: None) -> None:
        """Train to the recipe's last step; ``report`` is called after each step.

        Raises LuminaError when a loss is not finite; the last saved state stays.
        """
        since, started = self.step, time.perf_counter()
        while self.step < self.recipe.steps:
            done = self.train_step()
            if self._due(self.recipe.log_every):
                self._write_log(done.norm, (time.perf_counter() - started) / (self.step - since))
                since, started = self.step, time.perf_counter()
            report(done)
            if self._due(self.recipe.save_every):
                self.save()
            self._look()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.recipe.steps

    def _look(self) -> None:
        """Held-out losses and sample clips, where this step asks for them. All processes run the network."""
        validation, samples = self.recipe.validation, self.recipe.samples
        losses, latents = [], []
        if validation and self._due(validation.every):
            with averaged(self.network.module, self.ema, self.names):
                losses = self.held_out.losses(self.step, self._velocity)
        if samples and self._due(samples.every):
            with averaged(self.network.module, self.ema, self.names):
                latents = draw_samples(self.network.module, self.encoder, samples, self.device)
        if self.processes.first:
            write_losses(self.recipe.out, losses)
            if latents:
                write_samples(self.recipe.out, self.step, latents, self.vae, samples)

    def train_step(self) -> StepReport:
        """One step of the optimizer."""
        self.network.module.train()
        losses = {
            batches.task.name: self._accumulate(batches.task, batches.at(self.step))
            for batches in self.batches
            if batches.active(self.step)
        }
        settings = self.recipe.optimizer
        norm = float(whole(torch.nn.utils.clip_grad_norm_(list(self.names), settings.grad_clip)))
        # Summed first: when a loss of one process is not finite, all of them stop.
        totals = self.processes.sum(torch.tensor(list(losses.values()), dtype=torch.float64)).tolist()
        losses = dict(zip(losses, totals, strict=True))
        self._check_finite(losses, norm)
        self.optimizer.param_groups[0]["lr"] = settings.rate(self.step, self.recipe.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.recipe.ema and self.step % self.recipe.ema.every == 0:
            follow(self.ema, self.names, self.recipe.ema.decay)
        return StepReport(self.step, losses, norm)

    def save(self) -> None:
        """Write the state of the current step."""
        state = State(
            step=self.step,
            weights=self.network.whole(dict(self.network.saved())),
            ema=self.network.whole({**dict(self.network.saved()), **self.ema} if self.ema else {}),
            optimizer=self.network.whole(optimizer_tensors(self.optimizer, self.names)),
            lora=self.network.lora,
        )
        if self.processes.first:
            save_state(self.recipe.out, state, self._metadata(), self.recipe.keep)

    def _write_log(self, norm: float, seconds: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        rows = self.processes.sum(self.log.gathered()[1])
        self.log.write(self.step, rows, self.recipe.direction_weight, norm, rate, seconds)

    def _accumulate(self, task: Task, picks: list[Pick]) -> float:
        """Add the gradients of this process's share of a task's batch; returns its part of the batch's mean loss."""
        places = self.processes.share(len(picks))
        size, total = task.micro_batch or len(places), 0.0
        for start in range(0, len(places), size):
            items = [self._item(task, picks[place], place) for place in places[start : start + size]]
            loss = self._loss(task, items).sum() / task.batch
            # Gradients are averaged over the processes, and each holds only its part of the sum.
            (loss * self.processes.size).backward()
            total += float(loss.detach())
        return total

    def _item(self, task: Task, pick: Pick, place: int) -> TrainItem:
        chosen = self.sets[pick.source]
        source, entry = self.recipe.sources[pick.source], chosen.entries[pick.index]
        rng = generator(self.recipe.seed, task.name, self.step, place)
        return make_item(entry, chosen.latents(pick.index), pick.shape, source, task, self.recipe.drop, rng)

    def _loss(self, task: Task, items: list[TrainItem]) -> torch.Tensor:
        """Loss of each item, (B,)."""
        data = torch.stack([item.data for item in items]).to(self.device)
        noise = torch.stack([item.noise for item in items]).to(self.device)
        t = torch.stack([item.t for item in items])
        motion = torch.tensor([item.motion for item in items])
        x = noised(data, noise, t.to(self.device))
        velocity = self._velocity(x, t, [item.text for item in items], motion, task)
        squared, direction = item_losses(velocity, data, noise)
        patch = one_patch(task.patch)
        tokens = data[:, 0].numel() // (patch.frames * patch.space**2)
        self.log.add(task.name, task.patch, t, squared.detach().cpu(), direction.detach().cpu(), tokens)
        return squared + self.recipe.direction_weight * direction

    def _velocity(
        self, x: torch.Tensor, t: torch.Tensor, texts: list[str], motion: torch.Tensor, task: Task
    ) -> torch.Tensor:
        """The network's velocity of noised items (B, C, F, H, W), in the recipe's precision."""
        text, mask = self._encode(texts)
        x, t, motion = (tensor.to(self.device) for tensor in (x, t, motion))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.network.module(x, t, text, mask, motion, one_patch(task.patch))

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [row[:MAX_TOKENS] for row in self.encoder.token_ids(texts)]
        return self.encoder.encode_ids(rows)

    def _check_finite(self, losses: dict[str, float], norm: float) -> None:
        if all(map(math.isfinite, (*losses.values(), norm))):
            return
        worst = next((name for name, loss in losses.items() if not math.isfinite(loss)), "the gradients")
        last = newest_state(self.recipe.out)
        kept = f"the last saved state is {last}" if last else "no state was saved yet"
        raise LuminaError(
            f"Step {self.step + 1} gave a loss that is not a finite number ({worst}), and {kept}; "
            "lower the learning rate or check the data, and run again."
        )

    def _check_data(self) -> None:
        config, samples = self.network.config, self.recipe.samples
        held_out = self.held_out.sets if self.held_out else {}
        for name, found in [*self.sets.items(), *((f"{name}, held_out,", found) for name, found in held_out.items())]:
            if found.entries[0].shape[0] != config.channels:
                raise LuminaError(
                    f"Source {name} was encoded with {found.entries[0].shape[0]} channels, and the network has "
                    f"{config.channels}; encode it with the network's own VAE."
                )
        for task in self.recipe.tasks.values():
            config.check_patch(one_patch(task.patch))
        if samples:
            config.check_channels(self.vae.channels)
            config.check_size(samples.size.latent(), samples.sampling_plan().patches)

    def _resume(self) -> None:
        folder = newest_state(self.recipe.out)
        state = load_state(folder) if folder else None
        self.processes.check_same_step(state.step if state else 0)
        if state is None:
            return
        self.network.load(dict(self.network.saved()), state.weights, folder)
        if self.ema:
            self.network.load(self.ema, {name: state.ema[name] for name in self.ema if name in state.ema}, folder)
        restore_optimizer(self.optimizer, self.names, self.network.parts(state.optimizer, self.names))
        self.step = state.step

    def _metadata(self) -> dict[str, str]:
        config = self.network.config
        settings = {name: getattr(config, name) for name in SETTINGS}
        if config.latent_rgb is not None:
            settings[LATENT_RGB] = config.latent_rgb
        return {METADATA_KEY: json.dumps(settings)}
