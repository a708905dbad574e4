"""Has the helpers in this folder found by the tests in the folders below."""
