"""A bounded interpreter for the part of Jinja that templates of promptsource use."""
