"""Layers compiled for the machine they run on.

A layer at a time, not the whole network: all layers share one program, so the compiler works once; what has a
number of places that differs from step to step stays outside: the head, and the last layer where it ends early.
Packs have one shape in a run and the bounds of segments a few, so nothing is compiled again.
"""

import os
import shutil

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def compile_layers(network: PreTrainedModel) -> None:
    """From here on each layer of `network` runs compiled; the compiler works when it is first called."""
    for module in network.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(dynamic=False)


def lacks_compiler(device: torch.device) -> str | None:
    """Why layers cannot be compiled for `device`; None: they can."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r} on this machine: install g++, or name yours in CXX"
    return None
