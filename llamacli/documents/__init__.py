"""Documents: files of other formats as text, with the places in them. What is hostile is read in a child (`backend.child`)."""
