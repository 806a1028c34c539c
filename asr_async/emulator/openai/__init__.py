"""The emulated endpoint of OpenAI: realtime transcription."""
