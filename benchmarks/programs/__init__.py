"""The parts of `vendor_programs.py`."""
