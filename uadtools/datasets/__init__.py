"""Which files are meant: folders, lists, BIDS data sets, pairs; and which are written."""
