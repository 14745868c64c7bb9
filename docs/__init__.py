"""Pages that are written from the tasks themselves: `python -m docs.make`."""
