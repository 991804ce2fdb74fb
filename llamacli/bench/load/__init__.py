"""Load tests of servers: many requests at once, and how fast each is answered."""
