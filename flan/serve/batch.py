"""The sequences in flight, and the passes they share.

    join      waiting requests begin: a region of the cache for each sequence, with what is known of the prompt
    run       a pass: one token for each answer, and as much of prompts and options as there is room for beside them

Sequences join and leave at every pass; a long answer keeps no short one waiting, a long prompt is read in parts.
"""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from torch import Tensor

from flan.model.keys import Feed
from flan.model.load import Model
from flan.model.passes import Passes
from flan.model.regions import NOTHING, Region
from flan.model.sampling import draw_tokens, penalized, token_logprobs
from flan.model.scoring import NotFinite, OptionScore
from flan.serve.outcomes import fail
from flan.serve.sequences import AnswerRequest, Request, ScoreRequest, Scoring, Writing
from flan.serve.status import Tally
from flan.serve.waiting import Waiting

READ_TOKENS = 2_048
"""Tokens of prompts and options that are read in a pass when nobody is being written to."""
READ_BESIDE = 1_024
"""The same while others are: so much longer they wait for their next token."""


class _Asked(NamedTuple):
    """Options in a pass."""

    sequence: Scoring
    feeds: list[Feed]
    row: int
    """The first of its logits."""


class Batch:
    """At most `max_batch` sequences. One thread runs it; `changed` guards what others look at."""

    def __init__(
        self, model: Model, passes: Passes, max_batch: int, changed: threading.Condition, tally: Tally
    ) -> None:
        self._model, self._passes, self._max_batch = model, passes, max_batch
        self._changed, self._tally = changed, tally
        self._is_encoder_decoder = model.card.contract.architecture == "encoder_decoder"
        self.sequences: list[Writing | Scoring] = []

    def forget_ended(self) -> None:
        """Let go of sequences whose client has gone or waits no longer, and of those that failed."""
        self._keep([not sequence.request.future.done() for sequence in self.sequences])

    def join(self, waiting: Waiting) -> None:
        """Let waiting requests begin while there is room."""
        room = READ_TOKENS
        while len(self.sequences) < self._max_batch and room > 0:
            with self._changed:
                begun = self._begin(waiting)
            if begun is None:
                return
            request, region = begun
            if request.unbegun[0] == 0:
                request.began()
            if self._is_encoder_decoder and region.num_read == 0:
                self._passes.encode(region, request.prompt)
                self._tally.read_tokens += len(request.prompt)
                room -= len(request.prompt)
            with self._changed:
                number = request.unbegun.popleft()
                if isinstance(request, AnswerRequest):
                    self.sequences.append(Writing(request, number, region, self._model))
                elif isinstance(request, ScoreRequest):
                    self.sequences.append(Scoring(request, region))
                waiting.begun(request)

    def _begin(self, waiting: Waiting) -> tuple[Request, Region] | None:
        """The next request that can begin, and a region for its next sequence, with what is known of its prompt."""
        regions = self._passes.regions
        for request in waiting.in_turn():
            shared = regions.shared(request.prefixes)
            if not shared.is_ready:
                # Its beginning is being read for another: it will be there to be copied.
                continue
            region = regions.take(request.num_places, request.prefixes, shared)
            if region is None and shared.source is not None:
                # What it could have copied is in the way.
                shared = NOTHING
                region = regions.take(request.num_places, request.prefixes, shared)
            if region is None:
                # Nobody overtakes it: a large request would wait for ever.
                return None
            if shared.source is not None:
                self._passes.copy(shared.source, region, shared.length)
                self._tally.copied_tokens += shared.length
            return request, region
        return None

    def run(self) -> None:
        """Feed every sequence that there is room for, and tell each what the model says."""
        if not self.sequences:
            return
        fed = self._feeds()
        logits_UV = self._passes.run([feed for _, feeds in fed for feed in feeds])
        writers: list[Writing] = []
        rows: list[int] = []
        asked: list[_Asked] = []
        row = 0
        for sequence, feeds in fed:
            self._note_read(sequence, feeds)
            num_wanted = sum(feed.num_wanted for feed in feeds)
            if isinstance(sequence, Scoring):
                asked.append(_Asked(sequence, feeds, row))
            elif num_wanted:
                writers.append(sequence)
                rows.append(row)
            row += num_wanted
        if writers:
            self._write(writers, logits_UV if len(rows) == row else logits_UV[rows])
        if asked:
            self._score(asked, logits_UV)
        self._keep([not _has_ended(sequence) for sequence in self.sequences])

    def _feeds(self) -> list[tuple[Writing | Scoring, list[Feed]]]:
        """What each sequence is given in this pass; those that read take what room is left, the oldest first."""
        room = READ_TOKENS if all(sequence.is_reading for sequence in self.sequences) else READ_BESIDE
        fed: list[tuple[Writing | Scoring, list[Feed]]] = []
        for sequence in self.sequences:
            if sequence.is_reading and room <= 0:
                continue
            feeds = sequence.feeds(room)
            if sequence.is_reading:
                room -= sum(len(feed.tokens) for feed in feeds)
            fed.append((sequence, feeds))
        return fed

    def _note_read(self, sequence: Writing | Scoring, feeds: Sequence[Feed]) -> None:
        region, length = sequence.region, len(sequence.request.prompt)
        if region.num_read < length:
            self._tally.read_tokens += len(feeds[0].tokens)
            region.num_read += len(feeds[0].tokens)

    def _write(self, writers: Sequence[Writing], logits_BV: Tensor) -> None:
        """One token more for each of `writers`."""
        samplings = [writer.request.sampling for writer in writers]
        penalized_BV = logits_BV
        if any(sampling.repetition_penalty != 1 for sampling in samplings):
            seen = [
                writer.seen if writer.request.sampling.repetition_penalty != 1 else [] for writer in writers
            ]
            penalized_BV = penalized(logits_BV, samplings, seen)
        tokens_B, is_finite_B = draw_tokens(penalized_BV, samplings, [writer.noise for writer in writers])
        if any(writer.request.has_logprobs for writer in writers):
            logprobs = token_logprobs(logits_BV, tokens_B).tolist()
            for writer, logprob in zip(writers, logprobs, strict=True):
                if writer.request.has_logprobs:
                    writer.logprobs.append(logprob)
        for writer, token, is_number in zip(writers, tokens_B.tolist(), is_finite_B.tolist(), strict=True):
            if not is_number:
                fail(writer.request.future, NotFinite("the model's logits are not finite"))
                continue
            writer.push(token)
            if writer.finish_reason is not None:
                self._complete(writer)
        self._tally.tokens += len(writers)

    def _complete(self, writer: Writing) -> None:
        request = writer.request
        request.completions.append(writer.completion())
        if len(request.completions) == request.n:
            self._tally.answer(request.future, sorted(request.completions))

    def _score(self, asked: Sequence[_Asked], logits_UV: Tensor) -> None:
        """The log-probabilities of what the options of this pass expect."""
        scored = [sequence.scored(feeds) for sequence, feeds, _ in asked]
        rows = [each.row + own for each, found in zip(asked, scored, strict=True) for own in found.rows]
        tokens = [token for found in scored for token in found.tokens]
        logprobs: list[float] = []
        if rows:
            of_U = logits_UV.logsumexp(dim=-1)
            logprobs = (logits_UV[rows, tokens] - of_U[rows]).tolist()
        start = 0
        for (sequence, feeds, _), found in zip(asked, scored, strict=True):
            sequence.hear(feeds, logprobs[start : start + len(found.rows)])
            start += len(found.rows)
            if sequence.has_ended:
                self._answer_scores(sequence.request.future, sequence.scores())

    def _answer_scores(self, future: Future[Any], scores: list[OptionScore]) -> None:
        if not all(math.isfinite(score.logprob) for score in scores):
            fail(future, NotFinite("the model gives an option a log-probability that is no number"))
            return
        self._tally.answer(future, scores)

    def _keep(self, is_kept: Sequence[bool]) -> None:
        """Let go of the others; what was read of their prompts is remembered."""
        if all(is_kept):
            return
        with self._changed:
            for sequence, keep in zip(self.sequences, is_kept, strict=True):
                if not keep:
                    self._passes.regions.give_back(sequence.region)
            self.sequences = [each for each, keep in zip(self.sequences, is_kept, strict=True) if keep]


def _has_ended(sequence: Writing | Scoring) -> bool:
    is_written = isinstance(sequence, Writing) and sequence.finish_reason is not None
    return is_written or sequence.request.future.done()
