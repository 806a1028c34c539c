"""Tests of `huawei`."""
