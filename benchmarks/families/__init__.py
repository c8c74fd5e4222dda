"""The rows of the table, a module for every family; `registry` lists them."""
