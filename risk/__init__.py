"""The rules: arrays in, arrays out, scenario axis first. No Beam, no clock, no randomness, no I/O."""
