"""`python -m workers`: run a worker on this machine."""

from workers.app import main

main()
