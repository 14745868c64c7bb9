"""What is compiled for the processor at hand, where it can be."""

from collections.abc import Iterator

import pytest
import torch

from flan.model.kernel import is_available, library


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Nothing is known of an earlier compilation, here or in the tests that follow."""
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "true"])
def test_without_what_was_compiled_pytorch_does_it(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler, one that fails, and a library that cannot be loaded are all no error."""
    monkeypatch.setenv("CC", compiler)

    assert library() is None
    assert not is_available(torch.float32, torch.device("cpu"))
