"""Other projects' task formats → our documents."""
