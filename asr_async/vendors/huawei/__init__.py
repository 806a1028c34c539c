"""Huawei Cloud's Speech Interaction Service (SIS): real-time recognition (RASR) in its three modes."""
