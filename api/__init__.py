"""Speaks HTTP: documents and jobs come in, events and answers go out."""
