"""What `python3 manage.py` does around Django: makes .venv, runs every server the portal needs, runs the checks.

bootstrap       .venv from the hash-pinned lock, with nothing but the standard library
command_line    which command was meant, and in which environment Django gets it
supervisor      `start`: starts all, watches, restarts, stops in order
programs        the portal's own processes: emulators, web, workers, beat
restarts        when a child that died starts again
services        PostgreSQL, Valkey, S3 from wheels (postgres, valkey, s3); the tests start private ones here
processes       one child process: started, asked whether it is ready, stopped; left-overs of a killed start
state_folder    var/: lock, secrets, remembered ports, logs
environment     the variables that point Django at all that
checks, debian  `test`: the linters, pytest, and what they need from Debian
messages        every sentence shown, in English and Japanese; errors: the exception that carries one

Terms: a *program* is how to run something, a *child* is a running one, a *service* is a child others connect to.
Nothing here imports Django. Before .venv exists only the standard library is there.
"""
