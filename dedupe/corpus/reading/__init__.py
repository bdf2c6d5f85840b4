"""Reading shards: a module for each format, which `dedupe.corpus.formats` names.

parquet, jsonl, csv_files, arrow_files, arrow_streams, text_lines, text_files, tables
           formats: see `formats.Reader`
ipc        what Arrow files and streams have in common
lines      the lines of JSON and plain text, in blocks
records    rows of JSON one by one
batches    the documents of what was decoded, in batches of the size that was asked for
"""
