"""Files by path or address; a file at an address is downloaded once and then read from a cache."""

from __future__ import annotations

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from needlework.errors import DataError
from needlework.storage import cache_folder, write_chunks

TIMEOUT = 60.0
"""Seconds without a byte from the server."""


def local(source: str) -> Path:
    """Return the path of a file that is given by path, or by an address that begins with http:// or https://.

    A download has its own name until it is whole, so an interrupted one is begun anew. Remove the file from
    `~/.cache/needlework` (or `$XDG_CACHE_HOME/needlework`) to download it again.

    Raises:
        DataError: If the address cannot be downloaded; says why.
    """
    if not source.lower().startswith(("http://", "https://")):
        return Path(source)
    # Files of one name at different addresses are different files.
    name = Path(re.split(r"[?#]", source)[0]).name
    path = cache_folder() / hashlib.sha256(source.encode()).hexdigest()[:16] / name
    if not path.exists():
        write_chunks(path, [_download(source)])
    return path


def _download(address: str) -> bytes:
    try:
        with urlopen(address, timeout=TIMEOUT) as response:
            content: bytes = response.read()  # raises where the connection ends before the file
    except HTTPError as error:
        reason = f"the server says {error.code} {error.reason}"
    except URLError as error:
        reason = str(error.reason)
    except (HTTPException, OSError, ValueError) as error:
        # A malformed address raises a ValueError.
        reason = str(error) or type(error).__name__
    else:
        return content
    raise DataError(f"cannot download {address}: {reason}. Try again, or give the path of a copy.")
