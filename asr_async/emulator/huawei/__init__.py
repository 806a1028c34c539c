"""The emulated Huawei SIS endpoints: RASR, signatures and tokens, hot-word tables."""
