"""Drives the emulator with the official google-genai SDK, as the documentation of the service does.

Every check names what it proves; one that fails is reported and the others go on. Exit 0 only if all
pass. Usage: check.py PATH_TO_OBJLIB
"""

import asyncio
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

for name in list(os.environ):
    if name.startswith(("GOOGLE_", "GEMINI_")) or name.lower().endswith("_proxy"):
        del os.environ[name]

from google import genai
from google.genai import errors, types

KEY = "a-key-of-nobody"
ANSWERS = [
    {
        "question": "(?i)opening hours",
        "text": "At nine.",
        "citations": [{"title": "shade/ferns.md", "passage": "We open at nine."}],
    }
]
passed, failed = 0, []


def check(what):
    """Runs the decorated function at once and counts how it ended."""

    def run(body):
        global passed
        try:
            body()
            passed += 1
            print(f"ok    {what}")
        except Exception:  # every failure is reported, whatever it is
            failed.append(what)
            print(f"FAIL  {what}\n{traceback.format_exc()}")

    return run


class Emulator:
    def __init__(self, objlib, folder):
        data = str(folder / "service.db")
        answers = folder / "answers.json"
        answers.write_text(json.dumps(ANSWERS))
        self.process = subprocess.Popen(
            [objlib, "emulator", "--port", "0", "--data", data, "--operation-delay-ms", "50",
             "--refuse-key", "a-refused-key", "--answers", str(answers)],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening on "), line
        self.url = line.removeprefix("listening on ")

    def ledger(self):
        with urllib.request.urlopen(self.url + "/_emulator/ledger") as answer:
            return json.load(answer)

    def faults(self, **plan):
        """This plan, and no other fault."""
        url = self.url + "/_emulator/faults"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()
        plan = json.dumps(plan).encode()
        urllib.request.urlopen(urllib.request.Request(url, plan, method="PUT")).close()

    def document(self, name):
        return next(d for d in self.ledger()["documents"] if d["name"] == name)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def client(emulator, version=None, key=KEY):
    options = types.HttpOptions(base_url=emulator.url, api_version=version)
    return genai.Client(api_key=key, http_options=options)


def finished(sdk, operation):
    until = time.monotonic() + 30
    while not operation.done:
        assert time.monotonic() < until, "the operation never ended"
        time.sleep(0.05)
        operation = sdk.operations.get(operation)
    return operation


def multipart(emulator, version, store, path):
    """The SDK does not upload so; the document's name."""
    metadata = {"displayName": "fern.md", "customMetadata": [{"key": "topic", "stringValue": "ferns"}]}
    body = b"".join(
        [
            b"--B\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n",
            json.dumps(metadata).encode(),
            b"\r\n--B\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
            path.read_bytes(),
            b"\r\n--B--\r\n",
        ]
    )
    headers = {
        "x-goog-api-key": KEY,
        "X-Goog-Upload-Protocol": "multipart",
        "Content-Type": "multipart/related; boundary=B",
    }
    url = f"{emulator.url}/upload/{version}/{store}:uploadToFileSearchStore"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        operation = json.load(answer)
    assert "done" not in operation, operation
    return operation["response"]["documentName"]


def refused(code, status, call):
    """The call must fail with this code and status, and with words."""
    try:
        call()
    except errors.APIError as e:
        assert (e.code, e.status) == (code, status), f"{e.code} {e.status}: {e.message}"
        assert e.message
        return e
    raise AssertionError(f"not refused; expected {code} {status}")


def everything(emulator, version, folder):
    sdk = client(emulator, version)
    label = version or "default version"
    stores = sdk.file_search_stores
    store = stores.create(config={"display_name": f"a store ({label})"})
    note = folder / "note.md"
    note.write_text("# Ferns\n\nFerns grow in the shade of old walls.\n")

    @check(f"{label}: a store that was created is found by get and list")
    def _():
        assert store.name.startswith("fileSearchStores/")
        got = stores.get(name=store.name)
        assert got.display_name == f"a store ({label})" and got.create_time
        assert store.name in [s.name for s in stores.list(config={"page_size": 1})]

    @check(f"{label}: direct upload with display name, metadata and chunking")
    def _():
        operation = stores.upload_to_file_search_store(
            file_search_store_name=store.name,
            file=str(note),
            config={
                "display_name": "shade/ferns.md",
                "mime_type": "text/markdown",
                "custom_metadata": [
                    {"key": "topic", "string_value": "ferns"},
                    {"key": "year", "numeric_value": 1902},
                    {"key": "tags", "string_list_value": {"values": ["green", "old"]}},
                ],
                "chunking_config": {
                    "white_space_config": {"max_tokens_per_chunk": 200, "max_overlap_tokens": 20}
                },
            },
        )
        operation = finished(sdk, operation)
        assert operation.error is None
        name = operation.response.document_name
        document = stores.documents.get(name=name)
        assert document.display_name == "shade/ferns.md"
        assert document.state == types.DocumentState.STATE_ACTIVE
        assert int(document.size_bytes) == note.stat().st_size
        assert document.mime_type == "text/markdown"
        values = {m.key: m for m in document.custom_metadata}
        assert values["topic"].string_value == "ferns"
        assert values["year"].numeric_value == 1902
        assert values["tags"].string_list_value.values == ["green", "old"]
        assert emulator.document(name)["sha256"] == hashlib.sha256(note.read_bytes()).hexdigest()

    @check(f"{label}: upload without any option")
    def _():
        operation = stores.upload_to_file_search_store(
            file_search_store_name=store.name, file=str(note)
        )
        assert finished(sdk, operation).response.document_name

    @check(f"{label}: a file of several chunks arrives byte for byte")
    def _():
        large = folder / "large.txt"
        with large.open("w") as out:
            for i in range(1_300_000):
                out.write(f"{i:>15}\n")
        assert large.stat().st_size > 2 * 8 * 1024 * 1024
        before = emulator.ledger()["requests"].get("upload.body", 0)
        operation = stores.upload_to_file_search_store(
            file_search_store_name=store.name, file=str(large), config={"mime_type": "text/plain"}
        )
        name = finished(sdk, operation).response.document_name
        assert emulator.ledger()["requests"]["upload.body"] - before == 3
        row = emulator.document(name)
        assert int(row["sizeBytes"]) == large.stat().st_size
        assert row["sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()

    @check(f"{label}: one multipart request, in the form that the live service takes")
    def _():
        before = emulator.ledger()["requests"].get("upload.multipart", 0)
        name = multipart(emulator, version or "v1", store.name, note)
        document = stores.documents.get(name=name)
        assert document.display_name == "fern.md" and document.mime_type == "text/plain"
        assert document.custom_metadata[0].string_value == "ferns"
        assert emulator.document(name)["sha256"] == hashlib.sha256(note.read_bytes()).hexdigest()
        assert emulator.ledger()["requests"]["upload.multipart"] - before == 1
        stores.documents.delete(name=name, config={"force": True})

    @check(f"{label}: a file whose size is a whole number of chunks")
    def _():
        exact = folder / "exact.txt"
        exact.write_bytes(b"0123456789abcdef" * (8 * 1024 * 1024 // 16))
        operation = stores.upload_to_file_search_store(
            file_search_store_name=store.name, file=str(exact), config={"mime_type": "text/plain"}
        )
        name = finished(sdk, operation).response.document_name
        assert int(emulator.document(name)["sizeBytes"]) == 8 * 1024 * 1024

    @check(f"{label}: Files API, then importFile with metadata")
    def _():
        file = sdk.files.upload(file=str(note), config={"display_name": "ferns"})
        until = time.monotonic() + 30
        while file.state == types.FileState.PROCESSING and time.monotonic() < until:
            time.sleep(0.05)
            file = sdk.files.get(name=file.name)
        assert file.state == types.FileState.ACTIVE
        assert file.name in [f.name for f in sdk.files.list()]
        operation = stores.import_file(
            file_search_store_name=store.name,
            file_name=file.name,
            config={"custom_metadata": [{"key": "topic", "string_value": "imported"}]},
        )
        # The service names an imported document without its store, unlike an uploaded one.
        bare = finished(sdk, operation).response.document_name
        assert "/" not in bare, bare
        document = stores.documents.get(name=f"{store.name}/documents/{bare}")
        assert document.custom_metadata[0].string_value == "imported"
        sdk.files.delete(name=file.name)
        # Google's way to say that there is no such file.
        refused(403, "PERMISSION_DENIED", lambda: sdk.files.get(name=file.name))

    @check(f"{label}: a file may choose its name, if it can be one")
    def _():
        file = sdk.files.upload(file=str(note), config={"name": "chosen-1"})
        assert file.name == "files/chosen-1", file.name
        sdk.files.delete(name=file.name)
        bad = {"name": "Not-A-Name-"}
        refused(400, "INVALID_ARGUMENT", lambda: sdk.files.upload(file=str(note), config=bad))

    @check(f"{label}: documents are listed page by page")
    def _():
        names = [d.name for d in stores.documents.list(parent=store.name, config={"page_size": 2})]
        assert len(names) == len(set(names)) == 5, names

    @check(f"{label}: generate_content with the file-search tool names its source")
    def _():
        answer = sdk.models.generate_content(
            model="gemini-2.5-flash",
            contents="Where do ferns grow?",
            config=types.GenerateContentConfig(
                tools=[
                    types.Tool(
                        file_search=types.FileSearch(
                            file_search_store_names=[store.name],
                            metadata_filter='topic = "ferns"',
                        )
                    )
                ]
            ),
        )
        assert answer.text
        chunks = answer.candidates[0].grounding_metadata.grounding_chunks
        assert [c.retrieved_context.title for c in chunks] == ["shade/ferns.md"]
        assert "shade of old walls" in chunks[0].retrieved_context.text

    def ask(question, model="gemini-3.5-flash", stream=False, **tool):
        tool = types.FileSearch(file_search_store_names=[store.name], **tool)
        config = types.GenerateContentConfig(tools=[types.Tool(file_search=tool)])
        call = sdk.models.generate_content_stream if stream else sdk.models.generate_content
        return call(model=model, contents=question, config=config)

    def grounding(answer):
        return answer.candidates[0].grounding_metadata

    @check(f"{label}: supports name bytes of the answer, and what they rest on")
    def _():
        answer = ask("Where do ferns grow?", metadata_filter='topic = "ferns"')
        found = grounding(answer)
        assert found.grounding_supports
        for support in found.grounding_supports:
            segment = support.segment
            said = answer.text.encode()[segment.start_index or 0 : segment.end_index].decode()
            assert said == segment.text, (said, segment)
            for i in support.grounding_chunk_indices:
                assert said in found.grounding_chunks[i].retrieved_context.text
        context = found.grounding_chunks[0].retrieved_context
        assert context.file_search_store == store.name
        values = {m.key: m.string_value or m.numeric_value or m.string_list_value for m in context.custom_metadata}
        assert values["topic"] == "ferns" and values["year"] == 1902, values
        assert answer.model_version == "gemini-3.5-flash" and answer.response_id
        usage = answer.usage_metadata
        assert usage.prompt_token_count == 4 and usage.tool_use_prompt_token_count > 0, usage
        assert answer.candidates[0].finish_reason == types.FinishReason.STOP

    @check(f"{label}: a question that was foreseen is answered as it was written, whole and as a stream")
    def _():
        for answer in [ask("Your Opening Hours?"), *ask("Your Opening Hours?", stream=True)]:
            assert answer.text == "At nine."
            [chunk] = grounding(answer).grounding_chunks
            assert chunk.retrieved_context.text == "We open at nine."
            assert chunk.retrieved_context.title == "shade/ferns.md"
            assert chunk.retrieved_context.custom_metadata, "of the document that is there"

    @check(f"{label}: a stream says the same in pieces, and each passage once")
    def _():
        whole, pieces = ask("Where do ferns grow?"), list(ask("Where do ferns grow?", stream=True))
        assert "".join(p.text or "" for p in pieces) == whole.text
        chunks = [c for p in pieces if grounding(p) for c in grounding(p).grounding_chunks]
        assert [c.retrieved_context.text for c in chunks] == [
            c.retrieved_context.text for c in grounding(whole).grounding_chunks
        ]
        assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP

    @check(f"{label}: filters join, nest and are refused with their position; top_k counts passages")
    def _():
        for met in ['(topic = "x" OR year >= 1900) AND tags : "old"', "year = 1902", ""]:
            assert grounding(ask("ferns", metadata_filter=met)).grounding_chunks, met
        for unmet in ['topic = "x"', 'year < 1900 AND tags : "old"', 'tags : "new"']:
            assert not grounding(ask("ferns", metadata_filter=unmet)), unmet
        e = refused(400, "INVALID_ARGUMENT", lambda: ask("ferns", metadata_filter="year => 3"))
        assert "at position 7" in e.message, e.message
        refused(400, "INVALID_ARGUMENT", lambda: list(ask("ferns", metadata_filter="(", stream=True)))
        assert len(grounding(ask("ferns", top_k=1)).grounding_chunks) == 1

    @check(f"{label}: an unknown model, a foreign store, no question; and an answer without the tool")
    def _():
        refused(404, "NOT_FOUND", lambda: ask("ferns", model="gemini-1"))
        refused(404, "NOT_FOUND", lambda: list(ask("ferns", model="gemini-1", stream=True)))
        other = types.FileSearch(file_search_store_names=["fileSearchStores/nowhere-1"])
        config = types.GenerateContentConfig(tools=[types.Tool(file_search=other)])
        plain = sdk.models.generate_content
        refused(403, "PERMISSION_DENIED", lambda: plain(model="gemini-3.5-flash", contents="x", config=config))
        refused(400, "INVALID_ARGUMENT", lambda: ask(" "))
        answer = plain(model="gemini-3.5-flash", contents="Where do ferns grow?")
        assert "no model" in answer.text and not grounding(answer)

    @check(f"{label}: the asynchronous client asks and streams")
    def _():
        tool = types.FileSearch(file_search_store_names=[store.name])
        config = types.GenerateContentConfig(tools=[types.Tool(file_search=tool)])

        async def both():
            asked = {"model": "gemini-3.5-flash", "contents": "Where do ferns grow?", "config": config}
            whole = await sdk.aio.models.generate_content(**asked)
            stream = await sdk.aio.models.generate_content_stream(**asked)
            return whole, [piece async for piece in stream]

        whole, pieces = asyncio.run(both())
        assert whole.text and whole.text == "".join(p.text or "" for p in pieces)
        assert grounding(whole).grounding_chunks

    @check(f"{label}: models are listed, got, and count tokens; a text has its vector")
    def _():
        names = [m.name for m in sdk.models.list(config={"page_size": 5})]
        assert "models/gemini-3.5-flash" in names and len(names) == len(set(names)) > 5, names
        assert "generateContent" in sdk.models.get(model="gemini-3.5-flash").supported_actions
        refused(404, "NOT_FOUND", lambda: sdk.models.get(model="gemini-1"))
        counted = sdk.models.count_tokens(model="gemini-3.5-flash", contents="Where do ferns grow?")
        assert counted.total_tokens == 4, counted
        texts = ["Ferns grow in the shade", "shade ferns", "a ship"]
        config = {"output_dimensionality": 64, "task_type": "RETRIEVAL_DOCUMENT"}
        vectors = sdk.models.embed_content(model="gemini-embedding-001", contents=texts, config=config)
        ferns, shade, ship = (e.values for e in vectors.embeddings)
        near = lambda a, b: sum(x * y for x, y in zip(a, b))
        assert len(ferns) == 64 and near(ferns, shade) > near(ferns, ship)

        async def all_of_it():
            models = [m.name async for m in await sdk.aio.models.list()]
            counted = await sdk.aio.models.count_tokens(model="gemini-3.5-flash", contents="one two")
            vectors = await sdk.aio.models.embed_content(model="gemini-embedding-001", contents="one")
            return models, counted.total_tokens, len(vectors.embeddings[0].values)

        models, tokens, length = asyncio.run(all_of_it())
        assert (sorted(models), tokens, length) == (sorted(names), 2, 3072)

    def interaction(api, **more):
        tool = {"type": "file_search", "file_search_store_names": [store.name], "top_k": 3}
        return api.interactions.create(
            model="gemini-3.5-flash", input="Where do ferns grow?", tools=[tool], **more
        )

    def citations(steps):
        found = [c for s in steps if s.type == "model_output" for c in s.content]
        return [a for c in found for a in c.annotations or []]

    @check(f"{label}: an interaction answers in steps and cites files")
    def _():
        whole = interaction(sdk)
        assert whole.status == "completed" and whole.id and whole.usage.total_tokens
        assert [s.type for s in whole.steps] == ["file_search_call", "file_search_result", "model_output"]
        cited = citations(whole.steps)
        assert cited and all(a.type == "file_citation" for a in cited), cited
        assert "shade/ferns.md" in [a.file_name for a in cited]
        for a in cited:
            said = whole.output_text.encode()[a.start_index or 0 : a.end_index].decode()
            assert said in a.source and a.document_uri == store.name
        assert next(a for a in cited if a.custom_metadata).custom_metadata["topic"]

    @check(f"{label}: an interaction streams the same, sync and async")
    def _():
        whole = interaction(sdk)
        events = list(interaction(sdk, stream=True))

        async def asynchronous():
            whole = await interaction(sdk.aio)
            return whole, [e async for e in await interaction(sdk.aio, stream=True)]

        whole_too, events_too = asyncio.run(asynchronous())
        assert whole_too.output_text == whole.output_text
        for events in [events, events_too]:
            kinds = [e.event_type for e in events]
            assert kinds[0] == "interaction.created" and kinds[-1] == "interaction.completed", kinds
            deltas = [e.delta for e in events if e.event_type == "step.delta"]
            assert "".join(d.text for d in deltas if d.type == "text") == whole.output_text
            cited = [a for d in deltas if d.type == "text_annotation_delta" for a in d.annotations]
            assert len(cited) == len(citations(whole.steps))

    @check(f"{label}: an interaction is refused in its own words")
    def _():
        try:
            sdk.interactions.create(model="gemini-1", input="x")
        except Exception as e:  # the SDK has a class of its own for each call
            assert "not found" in str(e), e
        else:
            raise AssertionError("not refused")

    @check(f"{label}: registered files, media and downloads are answered in words")
    def _():
        body = json.dumps({"uris": ["gs://bucket/a.txt"]}).encode()
        url = f"{emulator.url}/{version or 'v1'}/files:register"
        headers = {"x-goog-api-key": KEY, "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            name = json.load(answer)["files"][0]["name"]
        file = sdk.files.get(name=name)
        assert file.source == types.FileSource.REGISTERED and file.display_name == "a.txt"
        refused(400, "FAILED_PRECONDITION", lambda: sdk.files.download(file=name))
        sdk.files.delete(name=name)
        media = f"{store.name}/media/none"
        refused(404, "NOT_FOUND", lambda: stores.download_media(media_id=media))

    @check(f"{label}: the asynchronous client does what a retrieval program does")
    def _():
        async def program():
            aio = sdk.aio
            made = await aio.file_search_stores.create(config={"display_name": "async"})
            operation = await aio.file_search_stores.upload_to_file_search_store(
                file_search_store_name=made.name,
                file=str(note),
                config={"display_name": "n.md", "custom_metadata": [{"key": "k", "numeric_value": 0.1}]},
            )
            until = time.monotonic() + 30
            while not operation.done and time.monotonic() < until:
                await asyncio.sleep(0.05)
                operation = await aio.operations.get(operation)
            tool = types.FileSearch(file_search_store_names=[made.name], metadata_filter="k = 0.1")
            config = types.GenerateContentConfig(tools=[types.Tool(file_search=tool)])
            answer = await aio.models.generate_content(
                model="gemini-3.5-flash", contents="ferns", config=config
            )
            documents = aio.file_search_stores.documents
            listed = [d async for d in await documents.list(parent=made.name)]
            await aio.file_search_stores.delete(name=made.name, config={"force": True})
            return answer, listed

        answer, listed = asyncio.run(program())
        assert grounding(answer).grounding_chunks[0].retrieved_context.title == "n.md"
        assert [d.custom_metadata[0].numeric_value for d in listed] == [0.1]

    @check(f"{label}: without a key it is 403, and an ill-formed document is 400")
    def _():
        url = f"{emulator.url}/{version or 'v1'}/fileSearchStores"
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError as e:
            assert e.code == 403 and json.load(e)["error"]["status"] == "PERMISSION_DENIED"
        else:
            raise AssertionError("no key, and answered")
        other = client(emulator, version, key="a-refused-key")
        e = refused(400, "INVALID_ARGUMENT", lambda: list(other.file_search_stores.list()))
        assert e.details["error"]["details"][0]["reason"] == "API_KEY_INVALID", e.details
        bad = f"{store.name}/documents/_x"
        refused(400, "INVALID_ARGUMENT", lambda: stores.documents.get(name=bad))

    @check(f"{label}: a document goes only with force, and then is gone")
    def _():
        name = next(iter(stores.documents.list(parent=store.name))).name
        refused(400, "FAILED_PRECONDITION", lambda: stores.documents.delete(name=name))
        stores.documents.delete(name=name, config={"force": True})
        try:
            stores.documents.get(name=name)
        except errors.ClientError:
            pass
        else:
            raise AssertionError("still there")

    @check(f"{label}: a store with documents goes only with force, and then is forbidden")
    def _():
        refused(400, "FAILED_PRECONDITION", lambda: stores.delete(name=store.name))
        stores.delete(name=store.name, config={"force": True})
        refused(403, "PERMISSION_DENIED", lambda: stores.get(name=store.name))

    @check(f"{label}: a MIME type that is none surfaces as the service's error")
    def _():
        other = stores.create(config={"display_name": "short-lived"})
        refused(
            400,
            "INVALID_ARGUMENT",
            lambda: stores.upload_to_file_search_store(
                file_search_store_name=other.name, file=str(note), config={"mime_type": "nonsense"}
            ),
        )
        stores.delete(name=other.name)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        emulator = Emulator(sys.argv[1], folder)
        try:
            for version in [None, "v1beta"]:
                everything(emulator, version, folder)

            @check("the SDK tries again what fails, and gives up what takes too long")
            def _():
                # Bodies are tried three times only, with pauses of seconds.
                tried = ["store.create", "upload.start", "document.list"]
                emulator.faults(error_503=0.3, only_kinds=tried)
                retry = types.HttpRetryOptions(attempts=20, initial_delay=0.01, max_delay=0.02)
                options = types.HttpOptions(base_url=emulator.url, retry_options=retry)
                sdk = genai.Client(api_key=KEY, http_options=options)
                stores = sdk.file_search_stores
                before = emulator.ledger()["answers"].get("503", 0)
                store = stores.create(config={"display_name": "in bad weather"})
                for n in range(20):
                    note = io.BytesIO(f"note {n}".encode())
                    config = {"display_name": f"{n}.txt", "mime_type": "text/plain"}
                    stores.upload_to_file_search_store(
                        file_search_store_name=store.name, file=note, config=config
                    )
                names = [d.display_name for d in stores.documents.list(parent=store.name)]
                assert sorted(names) == sorted(f"{n}.txt" for n in range(20)), names
                assert emulator.ledger()["answers"]["503"] > before
                emulator.faults(latency_ms=5000)
                options = types.HttpOptions(base_url=emulator.url, timeout=200)
                hasty = genai.Client(api_key=KEY, http_options=options)
                try:
                    hasty.file_search_stores.get(name=store.name)
                except Exception as e:  # of the SDK's HTTP library
                    assert "timed out" in str(e), e
                else:
                    raise AssertionError("answered")
                emulator.faults()
                stores.delete(name=store.name, config={"force": True})

            @check("nothing that the SDK sent was out of order")
            def _():
                assert emulator.ledger()["violations"] == [], emulator.ledger()["violations"]

        finally:
            emulator.stop()
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


main()
