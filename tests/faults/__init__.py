"""The fault table: every effect of every stage, crossed with what can go wrong with it."""
