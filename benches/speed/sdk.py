"""What an ordinary program does with the official SDK: eight uploads at once, each followed by polls of its
operation, a second apart. Usage: sdk.py URL FOLDER; prints seconds and processor seconds."""

import asyncio
import os
import pathlib
import resource
import sys
import time

for name in list(os.environ):
    if name.startswith(("GOOGLE_", "GEMINI_")) or name.lower().endswith("_proxy"):
        del os.environ[name]

from google import genai
from google.genai import types

AT_ONCE = 8
POLL_SECONDS = 1


async def main(url, folder):
    options = types.HttpOptions(base_url=url, api_version="v1beta")
    client = genai.Client(api_key="a-key-of-nobody", http_options=options)
    store = await client.aio.file_search_stores.create(config={"display_name": "sdk"})
    free = asyncio.Semaphore(AT_ONCE)

    async def upload(path):
        async with free:
            operation = await client.aio.file_search_stores.upload_to_file_search_store(
                file=str(path),
                file_search_store_name=store.name,
                config={
                    "display_name": path.name,
                    "custom_metadata": [{"key": "path", "string_value": str(path)}],
                },
            )
            while not operation.done:
                await asyncio.sleep(POLL_SECONDS)
                operation = await client.aio.operations.get(operation)

    files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    began = time.monotonic()
    await asyncio.gather(*(upload(path) for path in files))
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(seconds, used.ru_utime + used.ru_stime)


asyncio.run(main(sys.argv[1], sys.argv[2]))
