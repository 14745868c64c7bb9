"""What to teach: templates, tasks and clusters. Pure Python; importing it costs milliseconds."""
