"""The alliance's providers, behind one interface. Pure Python: no Django (registry.py apart), no Celery, no database.

What every adapter promises
    A key finds what it made. `submit` asks once and never repeats. An answer that cannot be read is `OutcomeUnknown`
    when a job may exist now, `Unavailable` when nothing happened. `cancel` may be repeated. Reading is bounded in time
    and bytes. Credentials, addresses and the user's environment stay out of every repr, log and error.

To add a provider
    1. A folder named for its interface, not for its brand: client.py speaks the wire and cites the manual,
       translation.py turns their words into ours with pure functions, adapter.py makes the `Adapter` of the two and
       inherits the abilities that the provider truly has. Its class is exported by the folder's __init__.py. Where
       jobs are told their own id, `id_variable` says by which variable, and `claim_attempt` in bootstrap.sh reads it.
    2. A line in registry.KINDS, and in those of its other sets that hold (prices, availability, logins, limits, who
       sends results); tests/providers/test_registry.py compares them with the abilities. In pyproject.toml the import
       contracts 5, 6 and 9 name the folder.
    3. Rows in catalog/seed.py: the provider in PROVIDERS, its machines' places in SITES, then its OFFERINGS (what the
       demo alone sells: DEMO_OFFERINGS), each fact with source and date. The demo's start wants the provider's row
       before its emulator.
    4. An emulator in emulators/, written from the facts, with no feature that the provider lacks; its docstring says
       what it had to choose because nothing is documented. `emulators/__main__.py`, EMULATORS in
       launcher/state_folder.py and PROVIDER_OF in home/demo.py name it.
    5. The conformance kit. tests/providers/emulated.py: the adapter and the plan that its samples run on;
       tests/providers/test_conformance.py: what its interface does not have (NOT_OFFERED), each with a reason that
       the provider's manual bears out. `python3 manage.py test tests/providers` holds it to all the rest.
    6. Tests beside the modules, tests/providers/<folder>/test_client.py, test_translation.py and test_adapter.py: the
       answers that the emulator never gives. tests/test_architecture.py misses each module that has none.
    7. `manage.py add_provider_account` and `manage.py check_provider SLUG`: the same kit against the real thing, with
       jobs of a few yen.

Decisions
    * What runs is the same everywhere: bootstrap.sh, which fetches its manifest, inputs and command by one address. A
      provider needs no file transfer of its own, and its limits on environment and command do not matter.
    * A job runs once because its first copy makes a directory and the second cannot. Where no two copies share a disk
      (DOK), each asks the portal first, which says yes to one of them; with a portal that machines cannot reach, the
      look before every repeat is what prevents the second.
    * Where a provider hands out log and output (DOK, SFTP), the adapter collects them; where it does not (slurmrestd),
      the bootstrap sends them to put addresses in the manifest.
    * Slurm knows no containers of its own: which program enters an image is a setting of the account, and both adapters
      share the shell around it (slurm_containers.py). Without one an image is not used, and `runs_images` says so.
    * What a plan's machines are is asked of the provider, and a job that was sold for others is refused before anything
      is sent (architectures.py). A provider that does not say is believed.
    * An array's element is a job with the array's key and its index in brackets, which no other job can be called.
"""
