"""The automaton of sets of parser stacks under the matcher."""
