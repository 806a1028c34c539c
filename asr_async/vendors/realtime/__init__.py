"""The realtime protocol that OpenAI published and DashScope's Qwen realtime follows: the part that vendors share.

Not a vendor: the folders of the vendors have the options, the messages that only they know, and the services.
"""
