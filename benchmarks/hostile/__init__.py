"""The parts of `adversary.py`: a source with known words, recognisers that behave badly, and the count of the words.

They share no code with the library and its emulator, so that a mistake made there is not made here too.
"""
