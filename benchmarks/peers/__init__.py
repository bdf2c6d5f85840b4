"""Other tools that deduplicate text, beside this one."""
