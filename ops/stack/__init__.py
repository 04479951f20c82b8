"""The local stack: a real broker, real clusters and the services around them, as processes of this machine."""
