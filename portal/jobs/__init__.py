"""The life of a job, in the order of these files.

1. forms, estimates, past_runs, fitting, placement: what is asked, what it would and likely will cost, where it can run
   and where it shall go.
2. submission: in one transaction the job, its first attempt, the money held, the event and the audit link.
3. handoff: an attempt is taken by lease and epoch, given to the provider once, settled only if the epoch is ours.
4. tracking: what the provider says; a lost answer is looked up by our own key, never repeated blindly.
5. staging: inputs to the machine; log and results back into in-country storage. claims: one copy of it may run.
6. metering: running time becomes usage records up to a watermark, rated at once by billing.
7. cancellation: the wish to stop, until the provider confirms the end.
failure_rules, diagnosis, explaining, cures: why it failed, in plain words, and what could help now.
many: stop or copy many at once, each by the rules above. saved_views: filters of the list under a name.
tasks says what comes next and sweeps up what no message told. states has every state and transition.
"""
