"""The comparison of texts that were recognised from the same audio, word by word. Pure rules."""
