"""The commands of `flan` that speak to a server, one file per noun."""
