"""Every table and plot of the documentation, from corpora to pages; README.md is the map."""
