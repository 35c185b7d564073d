"""`act2sal serve`: the detector as an HTTP service with its own web page."""
