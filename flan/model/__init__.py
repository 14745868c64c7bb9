"""The one forward pass: shared by training, evaluation and serving."""
