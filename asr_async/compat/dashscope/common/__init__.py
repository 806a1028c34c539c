"""The modules of `dashscope.common` that programs of real-time recognition import."""
