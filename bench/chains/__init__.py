"""Two real option chains: puts priced from the volatility of the call of the same strike, and whole chains margined."""
