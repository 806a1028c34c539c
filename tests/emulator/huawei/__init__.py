"""Tests of the emulated Huawei protocols."""
