"""Where shall a job go that names its needs and no plan: a pure function of the needs, the offers and the rule.

The rule (also the public page /placement/): a plan that breaks a need is refused, with every reason. Of each other one
it is reckoned what the job costs there at most, and when its work can begin: the wait for a GPU and the time to bring
the data. They are ranked by yen, by that time, or by the bytes to bring, as the person wished; what ties is drawn by
lot. No provider's name enters: providers are opaque keys, compared for being the same and for nothing else.

No clock, no database, no Django. What goes in and what comes out has one spelling as JSON, so that anybody can
recompute a stored decision and compare bytes.

rule: needs, offers, and the ranking itself. spelling: as JSON and back. nearest: what comes nearest where nothing fits.
"""
