"""`python -m dice_jax evaluate`: scores of files of predictions against files of truth.

`pairs` finds the files, `labels` says what their numbers mean, `measures` scores one class of one
case, `summary` averages, `report` writes, `overlays` draws, and `command` reads the options.
"""
