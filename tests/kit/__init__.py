"""Small real things that tests of several rooms share.

servers.py     a real PostgreSQL and Redis for the session, an own database for each test
fake_rank.py   a rank without torch: speaks the run-directory protocol, trains a chain of hashes
machine.py     a worker process with its FLAN_HOME, and ways to break it
trainers.py    what a fault test needs to know of the program it runs, and the fake rank as one
killing.py     what to kill, and what must hold of a job that survived
platform.py    the whole of `flan up`, as people start it, and ways to break it
real_trainer.py  the ranks that really train, for the same tests as the fake one
"""
