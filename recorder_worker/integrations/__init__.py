"""One file per outside system. Each speaks to the recorder through events alone."""
