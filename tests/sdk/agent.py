"""Drives `objlib mcp` with the official Python client of the Model Context Protocol, as an agent does.

Everything is done twice: by the revision of the protocol with a handshake, and by the one without. Exit 0 only
if all checks pass. Usage: agent.py PATH_TO_OBJLIB
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback
import urllib.request
import warnings

import anyio
from mcp import Client, MCPDeprecationWarning, MCPError, StdioServerParameters

KEY = "a-key-of-nobody"
LOOKING = ["search", "list_libraries", "status", "list_documents", "verify"]
SENDING = ["upload_start", "upload_status"]


class Emulator:
    def __init__(self, objlib, folder, *flags):
        self.process = subprocess.Popen(
            [objlib, "emulator", "--port", "0", "--data", str(folder / "service.db"), *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening on "), line
        self.url = line.removeprefix("listening on ")

    def ledger(self):
        with urllib.request.urlopen(self.url + "/_emulator/ledger") as answer:
            return json.load(answer)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Session:
    """A connection, and the checks of what comes over it."""

    def __init__(self, client):
        self.client = client

    async def done(self, tool, **arguments):
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        assert result.content[0].type == "text" and result.content[0].text
        return result.structured_content

    async def refused(self, tool, *words, **arguments):
        result = await self.client.call_tool(tool, arguments)
        text = result.content[0].text
        assert result.is_error and "\n" not in text, text
        for word in words:
            assert word in text, f"{word!r} is not in {text!r}"
        return result.structured_content["exit"]

    async def uploaded(self, **arguments):
        """Starts an upload, and asks until it has ended."""
        started = await self.done("upload_start", **arguments)
        assert started["pid"] > 0, started
        while True:
            now = await self.done("upload_status")
            if now["state"] == "ended":
                return now
            await anyio.sleep(0.05)


async def begins(session, read_only):
    client = session.client
    assert client.server_info.name == "objlib"
    assert "never as instructions" in client.instructions
    listed = await client.list_tools()
    names = [tool.name for tool in listed.tools]
    assert names == LOOKING + ([] if read_only else SENDING), names
    for tool in listed.tools:
        assert tool.input_schema["type"] == "object" and tool.description, tool
        assert tool.annotations.read_only_hint == (tool.name != "upload_start"), tool


async def uploads(session, place, emulator):
    notes, law = str(place / "notes"), str(place / "law")
    plan = await session.done("upload_start", path=notes, dry_run=True)
    assert plan["files"] == 2, plan
    assert emulator.ledger()["documents"] == []
    first = await session.uploaded(path=notes)
    assert (first["exit"], first["indexed"], first["status"]["indexed"]) == (0, 2, 2), first
    second = await session.uploaded(path=law, library="the law", store_name="law")
    assert (second["exit"], second["indexed"], second["store"]) == (0, 1, "law"), second
    await session.refused("upload_start", "it is not absolute", path="notes")
    await session.refused("upload_start", "cannot be used", path=str(place / "nowhere"))
    await session.refused("upload_start", "did you mean `path`?", paths=notes)
    again = await session.uploaded(path=notes)
    assert (again["exit"], again["indexed"]) == (0, 0), again
    assert len(emulator.ledger()["documents"]) == 3


async def searches(session):
    found = await session.done("search", query="Who approves travel?")
    cited = found["citations"]
    assert found["text"].startswith("Travel is approved by the team lead."), found
    assert [(c["library"], c["path"]) for c in cited] == [("notes", "rules/travel.md")], cited
    assert cited[0]["passage"] in pathlib.Path(cited[0]["local_path"]).read_text()
    both = await session.done("search", query="travel", store_name=["objlib", "law"], top_k=10)
    assert {c["library"] for c in both["citations"]} == {"notes", "the law"}, both
    one = await session.done("search", query="travel", store_name=["objlib", "law"], library="the law")
    assert {c["library"] for c in one["citations"]} == {"the law"}, one
    two = await session.done(
        "search", query="travel", metadata_filter='objlib_path = "lunch.md"', model="models/gemini-3.5-flash"
    )
    assert two["exit"] == 3 and two["citations"] == [], two
    assert await session.refused("search", "argument `query`: it is needed") == 2
    assert await session.refused("search", "did you mean `metadata_filter`?", query="a", metadata_filtr="b") == 2
    assert await session.refused("search", "from 1 to 1000", query="a", top_k="many") == 2
    await session.refused("search", "position", "metadata_filter", query="a", metadata_filter="a = ")
    await session.refused("search", "there is no store of this name", query="a", store_name="nowhere")


async def looks(session):
    libraries = (await session.done("list_libraries"))["libraries"]
    goes = {one["name"]: [store["display_name"] for store in one["stores"]] for one in libraries}
    assert goes == {"notes": ["objlib"], "the law": ["law"]}, goes
    await session.refused("list_libraries", "it takes nothing", store_name="law")
    status = await session.done("status", store_name="law")
    assert (status["indexed"], status["files"]) == (1, 1), status
    await session.refused("status", "a text is expected", store_name=3)
    paths, token = [], None
    while True:
        page = await session.done("list_documents", page_size=1, page_token=token)
        paths += [pathlib.Path(one["local_path"]) for one in page["documents"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert sorted(path.name for path in paths) == ["lunch.md", "travel.md"], paths
    assert all(path.is_file() for path in paths)
    await session.refused("list_documents", "next_page_token", page_token="nonsense")
    await session.refused("list_documents", "from 1 to 20", page_size=0)
    same = await session.done("verify")
    assert (same["exit"], same["matching"], same["differences"]) == (0, 2, []), same
    await session.refused("verify", "it takes `store_name`", repair=True)


async def tells_of_progress(session):
    heard = []

    async def hear(progress, total, message):
        heard.append((progress, message))

    result = await session.client.call_tool("search", {"query": "travel"}, progress_callback=hear)
    assert not result.is_error
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard}), heard
    assert "Travel" in "".join(message for _, message in heard), heard


async def refuses_what_is_no_tool(session):
    try:
        await session.client.call_tool("serch", {})
        raise AssertionError("it was called")
    except MCPError as error:
        assert error.error.code == -32602 and "did you mean `search`?" in error.error.message, error
    try:
        await session.client.list_resources()
        raise AssertionError("there are resources")
    except MCPError as error:
        assert error.error.code == -32601, error


async def cancels(session):
    """More searches than the server has threads: each would take a minute."""
    for _ in range(8):
        with anyio.move_on_after(0.2) as scope:
            await session.client.call_tool("search", {"query": "a", "store_name": "fileSearchStores/a-1"})
        assert scope.cancelled_caught
    with anyio.fail_after(20):
        assert await session.done("list_libraries") == {"libraries": []}


async def everything(objlib, mode, version):
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "notes/rules").mkdir(parents=True)
        (place / "law").mkdir()
        (place / "notes/rules/travel.md").write_text("# Travel\n\nTravel is approved by the team lead.\n")
        (place / "notes/lunch.md").write_text("Lunch is at noon.\n")
        (place / "law/travel.md").write_text("Travel needs a passport.\n")
        emulator = Emulator(objlib, place, "--operation-delay-ms", "50")
        (place / "slow").mkdir()
        slow = Emulator(objlib, place / "slow", "--latency-ms", "60000")

        def connected(url, *flags, db="library.db"):
            server = StdioServerParameters(
                command=objlib,
                args=["mcp", "--db", str(place / db), "--endpoint", url, *flags],
                env={"GEMINI_API_KEY": KEY},
            )
            return Client(server, mode=mode)

        try:
            async with connected(emulator.url) as client:
                assert client.protocol_version == version, client.protocol_version
                session = Session(client)
                if mode == "legacy":  # later revisions have no ping
                    warnings.simplefilter("ignore", MCPDeprecationWarning)
                    await client.send_ping()
                await begins(session, read_only=False)
                await uploads(session, place, emulator)
                await searches(session)
                await looks(session)
                await tells_of_progress(session)
                await refuses_what_is_no_tool(session)
            async with connected(emulator.url, "--read-only") as client:
                await begins(Session(client), read_only=True)
                await searches(Session(client))
            async with connected(slow.url, db="none.db") as client:
                await cancels(Session(client))
        finally:
            emulator.stop()
            slow.stop()


def main():
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "GEMINI_", "OBJLIB_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    objlib = os.path.abspath(sys.argv[1])
    failed = 0
    for mode, version in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        try:
            asyncio.run(asyncio.wait_for(everything(objlib, mode, version), 120))
            print(f"ok    an agent's session, {version}")
        except Exception:  # every failure is reported, whatever it is
            failed += 1
            print(f"FAIL  an agent's session, {version}\n{traceback.format_exc()}")
    sys.exit(1 if failed else 0)


main()
