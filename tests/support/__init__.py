"""What tests share."""

WITHOUT_EXTRA = 'needs Flax and Orbax: pip install -e ".[test]"'
