"""What is wrong with the rows of a run: problems.parquet beside its keep-lists.

run    finds the problems of all rows, as tasks on any engine
job    what tasks know, and leave for one another
look   what a task sees of the rows of a slice
twins  prompts with several answers, and answers to many prompts
table  problems.parquet: written, and read
"""
