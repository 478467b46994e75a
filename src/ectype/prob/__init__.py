"""Mathematics shared by two or more families."""
