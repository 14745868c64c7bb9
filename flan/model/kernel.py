"""Attention of one query per sequence on a CPU, in C: PyTorch's takes ten times as long for it.

    # N tokens of a pass, H heads, G heads of keys and values, D width of a head, T places, M most keys of a bias

The sources beside this file are compiled for this very processor when they are first needed, in about two seconds.
Where there is no C compiler PyTorch does the same, to rounding; `is_available()` says which.
"""

import ctypes
import logging
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("attend.c", "layers.c")]
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-c")
# Linked apart: with -ffast-math it would also change how the whole process rounds tiny numbers.
LINK = ("-shared", "-fopenmp")
FEW_KEYS = 1_024
"""For fewer in all, another thread is not worth starting."""
log = logging.getLogger(__name__)


class _Work(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("queries", "keys", "values", "output")),
        *((name, ctypes.c_void_p) for name in ("tokens", "places", "counts", "bias")),
        *(
            (name, ctypes.c_int64)
            for name in ("bias_length", "num_rows", "heads", "repeats", "width", "is_half", "num_threads")
        ),
        ("scale", ctypes.c_float),
    )


class Rows:
    """Which token reads which keys: the `counts[i]` keys from `places[i]` on are those of token `tokens[i]`."""

    def __init__(self, tokens: Sequence[int], places: Sequence[int], counts: Sequence[int]) -> None:
        self.table = np.array([tokens, places, counts], dtype=np.int64)
        self.num_keys = int(self.table[2].sum())


def is_available(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether `attend_rows` works on such a cache."""
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and library() is not None


def attend_rows(
    queries_NHD: Tensor,
    keys_TGD: Tensor,
    values_TGD: Tensor,
    rows: Rows,
    scale: float,
    output_NHD: Tensor,
    bias_HM: Tensor | None = None,
) -> None:
    """Write into `output_NHD` what each token of `rows` finds. Queries, output and bias are fp32 and contiguous.

    The last columns of `bias_HM` are added to the scores: as many as a token has keys.
    """
    found = library()
    assert found is not None, "is_available() says whether it is"
    num_heads, width = keys_TGD.shape[1:]
    tokens, places, counts = rows.table
    work = _Work(
        queries_NHD.data_ptr(), keys_TGD.data_ptr(), values_TGD.data_ptr(), output_NHD.data_ptr(),
        tokens.ctypes.data, places.ctypes.data, counts.ctypes.data,
        None if bias_HM is None else bias_HM.data_ptr(), 0 if bias_HM is None else bias_HM.shape[1],
        len(tokens), num_heads, queries_NHD.shape[1] // num_heads, width,
        keys_TGD.dtype == torch.bfloat16,
        torch.get_num_threads() if rows.num_keys > FEW_KEYS else 1,
        scale,
    )  # fmt: skip
    found.attend(ctypes.byref(work))


@cache
def library() -> ctypes.CDLL | None:
    """What the sources were compiled to; None without a C compiler."""
    with tempfile.TemporaryDirectory(prefix="flan-kernel-") as folder:
        compiler, path = os.environ.get("CC", "cc"), f"{folder}/kernel.so"
        parts = [f"{folder}/{source.stem}.o" for source in SOURCES]
        commands = [[*FLAGS, str(source), "-o", part] for source, part in zip(SOURCES, parts, strict=True)]
        try:
            for command in (*commands, [*LINK, *parts, "-o", path, "-lm"]):
                subprocess.run([compiler, *command], check=True, capture_output=True)
            # A folder whose libraries may not be loaded is an error as well.
            found = ctypes.CDLL(path)
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.decode() if isinstance(error, subprocess.CalledProcessError) else str(error)
            log.warning("nothing could be compiled: answers come more slowly", extra={"error": said})
            return None
    for name in ("attend", "norm", "gate", "rotate"):
        function = getattr(found, name)
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return found
