"""`report`: what a finished run did, as one page to read and one file of numbers.

counts     keep-lists and columns of the corpus, once, to counts
look       which rows are read again, and what their texts say: pairs, clusters, a sample
problems   what is wrong with a text
template   what the rows of a cluster have in common
drawing    counts to SVG
page       all of it to HTML
card       all of it to a paragraph for a dataset card
run        the command
"""
