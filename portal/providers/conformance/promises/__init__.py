"""One file an area; every function marked with @promise is one promise, its name the sentence."""
