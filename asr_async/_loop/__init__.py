"""Tools of the event loop for thousands of sessions: a shared timer, an event without a queue, a set of tasks."""
