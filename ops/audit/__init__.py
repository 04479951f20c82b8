"""The audit trail: read, verified, re-derived (`margin audit`)."""
