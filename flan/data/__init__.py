"""Text → tensors: rows, the mixture, token ids, packs and the stream of training steps."""
