"""What can be asked of a served model."""

from typing import Annotated, Literal

from pydantic import Field

from flan.spec.document import Document, Reference
from flan.spec.job import JobSpec, Precision


class Sampling(Document):
    """How an answer is drawn. The defaults are those of the samples shown in the paper."""

    temperature: float = Field(default=0.9, ge=0, le=100)
    """0 = always the most probable token."""
    top_k: int = Field(default=40, ge=0)
    """Only the k most probable tokens are drawn from; 0 = off."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    repetition_penalty: float = Field(default=1.0, ge=0.1, le=10)
    """Tokens of prompt and answer become so much less probable as they come again (Keskar et al. 2019); 1 = off."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """The answer is cut after this many tokens."""
    stop: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=16)
    """The answer ends before the first of these; it is not part of the text."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer; null = drawn, and reported in the answer."""


class ServeSpec(JobSpec):
    """Serve one model until the job is cancelled. Requests reach it by `name`."""

    kind: Literal["serve"] = "serve"
    """A job that serves."""
    model: Reference
    """What is served: a registered model (`name`, `name@3`, `name@alias`), a hub id or a folder."""
    precision: Precision = "fp32"
    """Of weights and computation."""
    max_batch: int = Field(default=32, ge=1, le=4096)
    """Sequences in flight at once; more wait."""
    max_waiting: int = Field(default=256, ge=0)
    """Requests that may wait; one more is refused with 429."""
    max_waiting_chars: int = Field(default=8 * 2**20, ge=1024)
    """Characters of all requests that are inside; more are refused with 429 until some have ended."""
    timeout_s: float = Field(default=300, gt=0, le=3_600)
    """An answer that is not there after so many seconds is given up; a request may ask for less."""
    max_waiting_tokens: int = Field(default=2**20, ge=1)
    """Tokens, prompts and what may be written, of all requests that wait; more are refused with 429."""
    cache_bytes: int = Field(default=2**30, ge=2**20)
    """Of keys and values: all that is in flight, and prompts that are remembered. It is taken at the start."""
    sampling: Sampling = Sampling()
    """Defaults of requests that do not say."""
