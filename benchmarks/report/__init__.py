"""Tables and plots of the pages, from result files."""
