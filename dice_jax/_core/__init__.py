"""What everything stands on: checks of arguments, safe arithmetic, ranks, optional imports."""
