"""The emulator of Huawei SIS: RASR, signatures and tokens, hot-word tables."""
