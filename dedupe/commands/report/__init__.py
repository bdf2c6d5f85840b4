"""`report`: what a finished run did, as one page to read and one file of numbers.

Keep-lists and columns are read once, then the rows that are shown:

    counts     keep-lists and columns of the corpus to counts
    look       which rows are read again: pairs, clusters, a sample
    problems   what is wrong with a text
    template   what the rows of a cluster have in common
    assemble   all of it to plain values, which report.json has
    drawing    counts to SVG
    page       these values to HTML
    plot       counts to a picture
    card       these values to a paragraph for a dataset card
    verdicts   what people say of pairs, to precision by similarity
    run        the command

Text of the corpus becomes HTML in the template alone, which escapes it.
"""
