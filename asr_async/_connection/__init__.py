"""One connection: a vendor task on it, how it is opened, and the pool of idle ones."""
