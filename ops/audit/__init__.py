"""Reading the archive: what was so and known when, whether anything was changed, and what an examiner is given."""
