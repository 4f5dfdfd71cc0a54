"""`python -m engine.fake DIRECTORY [PORT]`: prints its address, and stays until its standard input ends."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from engine.fake.server import Provider

if __name__ == "__main__":
    provider = Provider(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(provider.url, flush=True)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    sys.stdin.read()  # whoever started it is gone, however it went
