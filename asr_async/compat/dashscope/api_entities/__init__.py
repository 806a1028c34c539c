"""The modules of `dashscope.api_entities` that programs of real-time recognition import."""
