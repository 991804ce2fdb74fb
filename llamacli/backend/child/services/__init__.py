"""What a child does for its parent. These modules are imported in the child only."""
