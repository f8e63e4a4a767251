"""Optimisers by name. Units: lr per step, weight_decay per unit of lr.

decay: what weight_decay holds for, all parameters, or the weights alone: not biases and norms (one dimension), as in
He et al. 2018, arXiv 1812.01187. Fused kernels where torch has them: two to five times faster on the CPU, the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from cvflow.errors import Fault, RequestError
from cvflow.registry import register

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Literal["all", "weights"]


@register("optimizer", "sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 0.1,
    momentum: Fraction = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    decay: Decay = "all",
) -> optim.Optimizer:
    """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""
    if nesterov and not momentum:
        raise RequestError(
            Fault(
                "train.optimizer.nesterov",
                "true with momentum 0",
                "a momentum above 0",
                "Type train.optimizer.momentum=0.9.",
            )
        )
    groups = grouped(parameters, decay)
    return restorable(
        optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True)
    )


@register("optimizer", "adagrad")
def adagrad(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 0.01,
    eps: Positive = 1e-10,
    weight_decay: NonNegative = 0.0,
    decay: Decay = "all",
) -> optim.Optimizer:
    """A step divided by the root of the sum of all squared gradients so far (Duchi et al. 2011, JMLR 12)."""
    return restorable(
        optim.Adagrad(grouped(parameters, decay), lr=lr, eps=eps, weight_decay=weight_decay, fused=True)
    )


@register("optimizer", "rmsprop")
def rmsprop(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1e-3,
    alpha: Fraction = 0.99,
    momentum: Fraction = 0.0,
    centered: bool = False,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    decay: Decay = "all",
) -> optim.Optimizer:
    """A step divided by a running root mean square of the gradients (Tieleman and Hinton 2012). alpha: of the running mean."""
    groups = grouped(parameters, decay)
    return optim.RMSprop(
        groups, lr=lr, alpha=alpha, momentum=momentum, centered=centered, eps=eps, weight_decay=weight_decay
    )


@register("optimizer", "adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1e-3,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    decay: Decay = "all",
) -> optim.Optimizer:
    """Running means of gradient and squared gradient (Kingma and Ba 2014, arXiv 1412.6980); its decay is part of the gradient."""
    groups = grouped(parameters, decay)
    return restorable(
        optim.Adam(groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)
    )


@register("optimizer", "adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1e-3,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
    decay: Decay = "all",
) -> optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101)."""
    groups = grouped(parameters, decay)
    return restorable(
        optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)
    )


class LBFGS(optim.LBFGS):
    """Its step evaluates the loss several times: it must be given a closure that does so and returns the loss over all ranks."""

    needs_closure = True

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        def evaluated() -> Tensor:
            loss = closure()
            for group in self.param_groups:
                for p in group[
                    "params"
                ]:  # torch's views the gradients as one vector, which those of channels_last do not allow
                    p.grad = None if p.grad is None else p.grad.contiguous()
            return loss

        loss: Tensor = super().step(evaluated)  # type: ignore[no-untyped-call]
        return loss


@register("optimizer", "lbfgs")
def lbfgs(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1.0,
    max_iter: Annotated[int, Field(gt=0)] = 20,
    history: Annotated[int, Field(gt=0)] = 10,
    line_search: Literal["strong_wolfe", "none"] = "strong_wolfe",
) -> LBFGS:
    """Limited-memory quasi-Newton steps (Liu and Nocedal 1989): for small models and batches of the whole train split.

    max_iter: iterations a step, each an evaluation of the batch or (line_search) several. history: past steps that model the curvature.
    """
    search = None if line_search == "none" else line_search
    return LBFGS(parameters, lr=lr, max_iter=max_iter, history_size=history, line_search_fn=search)


def grouped(parameters: Iterable[nn.Parameter], decay: Decay) -> list[dict[str, Any]]:
    """One group, or with ``weights`` two: those of several dimensions, and the others without decay."""
    listed = list(parameters)
    if decay == "all":
        return [{"params": listed}]
    weights, others = [p for p in listed if p.ndim > 1], [p for p in listed if p.ndim <= 1]
    return [
        group for group in ({"params": weights}, {"params": others, "weight_decay": 0.0}) if group["params"]
    ]


def restorable(optimizer: optim.Optimizer) -> optim.Optimizer:
    """Lay a loaded state out in memory as its parameters: fused kernels take that for granted, and a checkpoint has it contiguous."""
    optimizer.register_load_state_dict_post_hook(_as_the_parameters)
    return optimizer


def _as_the_parameters(optimizer: optim.Optimizer) -> None:
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                slots[name] = torch.empty_like(parameter).copy_(value)
