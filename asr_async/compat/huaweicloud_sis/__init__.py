"""The classes of Huawei Cloud's official SDK for real-time recognition (SIS), on this library.

A program changes the prefix of its imports, and nothing else:

    from asr_async.compat.huaweicloud_sis.client.rasr_client import RasrClient
    from asr_async.compat.huaweicloud_sis.bean.rasr_request import RasrRequest
    from asr_async.compat.huaweicloud_sis.bean.callback import RasrCallBack
    from asr_async.compat.huaweicloud_sis.bean.sis_config import SisConfig

Signatures, texts of exceptions and the order of callbacks are those of the line with AK/SK (1.7 and 1.8); programs for
the token line of 2020 run too. What differs from the original, and why:

- `..._stream_connect` sends START, with the request of that time, and `send_start` starts anew if the request has
  changed since: a session opens both. An option that the vendor refuses is an error of the connection.
- `close` returns at once. The original waits for 10 s, and for nothing.
- A lost connection is replaced, and audio without a result is sent again. In the original it is an error, and the audio
  is lost.
- An exception of a callback ends its session, and `on_error` has it. An ERROR without a trace id is reported with its
  code.
- `on_start` and `on_close` run in the thread that calls `send_start` and `close`; the others may block as before.
- The token is requested with the connection, not in the constructor, and a refused one is requested anew.
- Certificates are always verified, whatever `set_certificate_check` says.
- Nothing is written to the current directory or the root logger; the logger is `asr_async`.
- In the mode of one sentence `on_end` follows the sentence, and `send_end` does nothing then: the session is over.
- `sasr_stream_connect` and the clients of other services are missing: they are other interfaces.
"""
