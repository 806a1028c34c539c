"""Foreign programs as witnesses: the vendors' official SDKs for the protocols, and ffmpeg for compressed audio.

The messages that this library sends equal those of the official SDKs: recorded ones for Paraformer, Fun-ASR, both Gummy
models and Huawei's modes (with the signing vectors of its SDK), and both side by side for Qwen-ASR. Qwen-Audio is
checked against the documents only.

The official SDKs complete against the emulator: sessions of Paraformer, Fun-ASR and Qwen-Audio (the latter two with a
context), of Qwen-ASR with server VAD and manual commits, and of Gummy with and without translation; hot words of both
generations and temporary keys of DashScope; Huawei's handshakes (its signer) and hot-word tables, but no sessions.

FunASR's own real-time server, the code of its wheel with stubs in place of its models, serves sessions of this library:
sentences, interims, hot words, commits, its modes, and lost connections.
"""
