"""A retrieval program in the ordinary way: nothing in it knows that the service is a local one.

Creates a store, uploads ten notes with metadata and chunking, waits until they are indexed, asks with a filter,
streams an answer, cites its sources, and deletes everything. Address and key come from GOOGLE_GEMINI_BASE_URL and
GEMINI_API_KEY. `run.sh` compares all that it prints with `program.txt`.
"""

import pathlib
import tempfile
import time

from google import genai
from google.genai import errors, types

MODEL = "gemini-3.5-flash"
# Name, author, year, text.
NOTES = [
    ("ferns", "Ada", 1902, "Ferns grow in the shade of old walls. They need no flowers: spores carry them."),
    ("mosses", "Ada", 1904, "Mosses have no roots. They drink the rain through their leaves."),
    ("lichens", "Ben", 1911, "Lichens are two beings in one, a fungus and an alga. They grow slowly on bare stone."),
    ("ivy", "Ben", 1911, "Ivy climbs old walls with small roots along its stem, and does not feed on them."),
    ("clover", "Ada", 1920, "Clover feeds the soil: in its roots live bacteria that take nitrogen from the air."),
    ("orchids", "Cleo", 1931, "Orchids have the smallest seeds. Each needs a fungus to sprout."),
    ("reeds", "Cleo", 1933, "Reeds clean the water they stand in. Their stems are hollow and bring air to the roots."),
    ("thistles", "Ben", 1946, "Thistles send their seeds with the wind, each under a parachute of hair."),
    ("willows", "Ada", 1950, "A willow's branch in wet ground becomes a tree. Its bark was a remedy for pain."),
    ("yews", "Cleo", 1968, "Yews grow for a thousand years. All of the tree is poison but the red flesh of the berry."),
]


def write_notes(folder):
    for name, author, year, text in NOTES:
        path = folder / f"{name}.md"
        path.write_text(f"# {name.capitalize()}\n\n{text}\n")
        yield path, author, year


def upload(client, store, path, author, year):
    return client.file_search_stores.upload_to_file_search_store(
        file_search_store_name=store.name,
        file=path,
        config=types.UploadToFileSearchStoreConfig(
            display_name=path.name,
            custom_metadata=[
                types.CustomMetadata(key="author", string_value=author),
                types.CustomMetadata(key="year", numeric_value=year),
            ],
            chunking_config=types.ChunkingConfig(
                white_space_config=types.WhiteSpaceConfig(max_tokens_per_chunk=40, max_overlap_tokens=5)
            ),
        ),
    )


def wait(client, operation):
    while not operation.done:
        time.sleep(0.1)
        operation = client.operations.get(operation)
    if operation.error:
        raise RuntimeError(operation.error)
    return operation.response.document_name


def file_search(store, **more):
    tool = types.FileSearch(file_search_store_names=[store.name], **more)
    return types.GenerateContentConfig(tools=[types.Tool(file_search=tool)])


def cite(chunks, supports):
    """Each statement of an answer with the notes that it rests on."""
    for support in supports:
        sources = [chunks[i].retrieved_context.title for i in support.grounding_chunk_indices]
        print(f"  {support.segment.text.strip()!r} <- {', '.join(sources)}")


def main():
    client = genai.Client()
    store = client.file_search_stores.create(config={"display_name": "plants"})
    print(f"created {store.display_name}, {store.name}")

    with tempfile.TemporaryDirectory() as folder:
        operations = [upload(client, store, *note) for note in write_notes(pathlib.Path(folder))]
    for operation in operations:
        document = client.file_search_stores.documents.get(name=wait(client, operation))
        metadata = {m.key: m.string_value or m.numeric_value for m in document.custom_metadata}
        print(f"{document.display_name} {document.size_bytes} bytes {document.state.name} {metadata}")
    documents = list(client.file_search_stores.documents.list(parent=store.name, config={"page_size": 4}))
    store = client.file_search_stores.get(name=store.name)
    print(f"listed {len(documents)}, active {store.active_documents_count}, {store.size_bytes} bytes")

    question = "Which plants grow on old walls?"
    print(f"\n{question} (author Ben)")
    answer = client.models.generate_content(
        model=MODEL, contents=question, config=file_search(store, metadata_filter='author = "Ben" AND year < 1940', top_k=2)
    )
    print(answer.text.strip())
    grounding = answer.candidates[0].grounding_metadata
    cite(grounding.grounding_chunks, grounding.grounding_supports)

    question = "What do fungus and seeds have to do with orchids?"
    print(f"\n{question} (as a stream)")
    chunks, supports = [], []
    for piece in client.models.generate_content_stream(model=MODEL, contents=question, config=file_search(store, top_k=3)):
        print(f"  piece {piece.text!r}")
        # Each piece has only the sources that are new.
        if grounding := piece.candidates[0].grounding_metadata:
            chunks += grounding.grounding_chunks or []
            supports += grounding.grounding_supports or []
    cite(chunks, supports)

    print("\nWhat was refused:")
    for refused in [
        lambda: client.file_search_stores.delete(name=store.name),
        lambda: client.models.generate_content(
            model=MODEL, contents=question, config=file_search(store, metadata_filter="author == 'Ben'")
        ),
    ]:
        try:
            refused()
        except errors.ClientError as e:
            print(f"  {e.code} {e.status}: {e.message.strip()}")

    client.file_search_stores.documents.delete(name=documents[0].name, config={"force": True})
    print(f"\ndeleted {documents[0].display_name}")
    client.file_search_stores.delete(name=store.name, config={"force": True})
    print(f"deleted {store.display_name}, {len(list(client.file_search_stores.list()))} stores left")


main()
