"""apply: the corpus again without the rows that its keep-list drops, in the formats that it has."""
