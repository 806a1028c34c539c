"""Tests of the emulated realtime transcription of OpenAI."""
