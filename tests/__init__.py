import pytest

# What the modules beside the tests assert is told as fully as what the tests do.
pytest.register_assert_rewrite("tests")
