from hypothesis import HealthCheck, settings

# On a busy machine drawing values takes its time, which is no fault of what is tested.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
