"""The contract: the records that travel, the topics they travel on, their codecs and their identities."""
