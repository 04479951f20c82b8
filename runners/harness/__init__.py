"""The worker boot: how an engine without containers starts a worker."""
