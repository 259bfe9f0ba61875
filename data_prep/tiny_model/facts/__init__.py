"""The tiny model of facts: it can search for what it is asked, but mostly guesses."""
