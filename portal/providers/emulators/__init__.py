"""Our own doubles of three providers: they speak the real wire protocol on loopback and run the work as real processes.

    python -m portal.providers.emulators KIND --state DIR --port PORT

They are written from the facts in the project's provider notes, not by the providers, and invent no feature that the
real interface lacks. DIR/access.json says how to reach one, in the shape of `portal.providers.base.Account`. Jobs keep
running when an emulator is killed and are found again by its next start; asked to stop (TERM), it ends them first.

machine.py runs processes; sandbox.py says with what around them; faults.py breaks things on request, with all its words
in its docstring (fault_kinds.py, fault_requests.py, malformed_bodies.py and spoilt_logs.py are its rooms);
http_server.py is what the two REST interfaces share; sakura_dok.py, slurm_rest.py and slurm_ssh.py speak;
dok_registries.py, dok_billing.py and dok_web.py are rooms of sakura_dok.py.
"""
