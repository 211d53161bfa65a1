"""Sampling from and training the PyTorch U-Net, with the algorithms of the JAX world model.

Everything is in the normalized channels of a window, observations first; there are no normalizers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.benchmark.peers.torch_unet import TemporalUNet, copy_parameters

WINDOWS = 100_000  # in the data that batches are drawn from


def signal_rate(steps: int) -> Tensor:
    """Alpha-bar of the cosine schedule, (steps + 1,)."""
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    curve = torch.cos((time + 0.008) / 1.008 * torch.pi / 2) ** 2
    beta = (1.0 - curve[1:] / curve[:-1]).clamp(max=0.999)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1.0 - beta).cumprod(0)])


class WorldModel(nn.Module):
    """The diffusion of windows, and its network."""

    def __init__(
        self,
        horizon: int,
        observation: int,
        action: int,
        width: int,
        multipliers: list[int],
        parameterization: str,
        state_input: bool,
        diffusion_steps: int,
        device: str,
        **_: Any,  # settings of training
    ):
        super().__init__()
        self.horizon, self.observation = horizon, observation
        self.state_input, self.device = state_input, device
        self.predicts_noise = {"epsilon": True, "x0": False}[parameterization]
        self.channels = observation + 2
        self.rates = signal_rate(diffusion_steps)
        inputs = self.channels + (observation if state_input else 0)
        self.network = TemporalUNet(inputs, self.channels, action, width, multipliers).to(device)

    def predict(self, x: Tensor, step: Tensor, keep: Tensor, context: dict[str, Tensor]) -> Tensor:
        """The network's output for x (B, channels, T), its first state set to the known one."""
        x = x.clone()
        x[:, : self.observation, 0] = context["known"]
        if self.state_input:
            state = context["state"][:, :, None].expand(-1, -1, self.horizon)
            x = torch.cat([x, state], dim=1)
        return self.network(x, step, context["return_to_go"], keep, context["action"])

    @torch.no_grad()
    def sample(
        self,
        context: dict[str, Tensor],
        sampling_steps: int,
        guidance_scale: float,
        temperature: float,
        low: Tensor | float = -5.0,
        high: Tensor | float = 5.0,
    ) -> Tensor:
        """Windows (B, channels, T), by strided ancestral sampling with classifier-free guidance."""
        batch = len(context["known"])
        last = len(self.rates) - 1
        visited = [last]
        if sampling_steps > 1:
            visited = (np.linspace(0, last - 1, sampling_steps).round() + 1).astype(int).tolist()
        shape = (batch, self.channels, self.horizon)
        keep = torch.ones(batch, device=self.device)
        x = temperature * torch.randn(shape, device=self.device)
        for now, before in zip(reversed(visited), [*reversed(visited[:-1]), 0], strict=True):
            a, b = self.rates[now].item(), self.rates[before].item()
            step = torch.full((batch,), float(now), device=self.device)
            out = self.predict(x, step, keep, context)
            if guidance_scale != 1.0:
                unconditional = self.predict(x, step, torch.zeros_like(keep), context)
                out = guidance_scale * out + (1.0 - guidance_scale) * unconditional
            x0 = (x - (1.0 - a) ** 0.5 * out) / a**0.5 if self.predicts_noise else out
            x0 = x0.clamp(low, high)
            alpha = a / b
            x = b**0.5 * (1.0 - alpha) / (1.0 - a) * x0 + alpha**0.5 * (1.0 - b) / (1.0 - a) * x
            deviation = ((1.0 - b) / (1.0 - a) * (1.0 - alpha)) ** 0.5
            x = x + temperature * deviation * torch.randn(shape, device=self.device)
        return x

    def loss(self, x0: Tensor, keep: Tensor, context: dict[str, Tensor]) -> Tensor:
        """Mean squared error of the prediction, without the known state."""
        step = torch.randint(1, len(self.rates), (len(x0),), device=self.device)
        rate = self.rates.to(self.device, torch.float32)[step][:, None, None]
        noise = torch.randn_like(x0)
        x = rate.sqrt() * x0 + (1.0 - rate).sqrt() * noise
        prediction = self.predict(x, step.float(), keep, context)
        mask = torch.ones_like(x0)
        mask[:, : self.observation, 0] = 0.0
        target = noise if self.predicts_noise else x0
        return (mask * (prediction - target) ** 2).sum() / mask.sum()


def _context(model: WorldModel, batch: int, action: int) -> dict[str, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=model.device)

    return {
        "known": draw(batch, model.observation),
        "state": draw(batch, model.observation),
        "return_to_go": draw(batch),
        "action": draw(batch, action),
    }


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def sample(
    batch_size: int,
    sampling_steps: int,
    guidance_scale: float,
    temperature: float,
    **job: Any,
) -> Callable[[], None]:
    """A function that samples `batch_size` windows."""
    model = WorldModel(**job)
    context = _context(model, batch_size, job["action"])

    def work() -> None:
        model.sample(context, sampling_steps, guidance_scale, temperature)
        _synchronize(model.device)

    return work


def train(
    steps: int,
    batch_size: int,
    condition_dropout: float,
    learning_rate: float,
    ema_decay: float,
    ema_every: int,
    **job: Any,
) -> Callable[[], None]:
    """A function that takes `steps` steps of Adam and updates the moving average of parameters."""
    model = WorldModel(**job)
    average = [parameter.detach().clone() for parameter in model.network.parameters()]
    optimizer = torch.optim.Adam(model.network.parameters(), lr=learning_rate)
    windows = torch.randn(WINDOWS, model.channels, model.horizon, device=model.device)
    contexts = _context(model, WINDOWS, job["action"])
    done = 0

    def work() -> None:
        nonlocal done
        for _ in range(steps):
            index = torch.randint(0, WINDOWS, (batch_size,), device=model.device)
            keep = (torch.rand(batch_size, device=model.device) > condition_dropout).float()
            context = {name: value[index] for name, value in contexts.items()}
            optimizer.zero_grad(set_to_none=True)
            model.loss(windows[index], keep, context).backward()
            optimizer.step()
            done += 1
            if done % ema_every == 0:
                parameters = [parameter.detach() for parameter in model.network.parameters()]
                torch._foreach_lerp_(average, parameters, 1.0 - ema_decay)
        _synchronize(model.device)

    return work


def check(file: str, **job: Any) -> Callable[[], None]:
    """A function that evaluates the model with the parameters and inputs in an .npz file.

    It writes <file>.torch.npz: "network" (B, T, C), and "sample" (B, T, C) at temperature 0.
    """
    with np.load(file) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored}
    model = WorldModel(**job)
    parameters = {name: value.numpy() for name, value in arrays.items() if "/" in name}
    copy_parameters(model.network, parameters)
    names = ("known", "state", "return_to_go", "action")
    context = {name: arrays[name] for name in names}
    low, high = arrays["low"].T, arrays["high"].T

    def work() -> None:
        with torch.no_grad():
            out = model.predict(arrays["x"].mT, arrays["step"], arrays["keep"], context)
        drawn = model.sample(context, 3, 1.2, 0.0, low, high)
        np.savez(f"{file}.torch.npz", network=out.mT.numpy(), sample=drawn.mT.numpy())

    return work
