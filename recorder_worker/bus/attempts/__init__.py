"""Which messages kill their worker, or fail at it: counted, tried one at a time, and given up."""
