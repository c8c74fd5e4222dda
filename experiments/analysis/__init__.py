"""What the runs come to in numbers: tables, intervals, tests, and what theory says of an arm."""
