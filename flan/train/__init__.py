"""Steps: from a spec and a run directory to a tuned model, on any number of ranks."""
