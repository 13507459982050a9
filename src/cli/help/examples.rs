//! Examples of every command, for help and man pages; a test runs each of them.

/// The command, what the line is for, the line.
pub const ALL: &[(&str, &str, &str)] = &[
    (
        "",
        "Try it without a key or an account",
        "objlib upload --emulator docs",
    ),
    (
        "",
        "The same for good, into the store `handbook`",
        "objlib upload docs --store handbook",
    ),
    (
        "scan",
        "What is new, changed or gone since the last scan",
        "objlib scan docs",
    ),
    (
        "scan",
        "Only some files, and no drafts",
        "objlib scan docs --include '**/*.md' --exclude 'drafts/**'",
    ),
    (
        "scan",
        "What a document's metadata will be, and from where",
        "objlib scan docs --explain docs/note.md",
    ),
    (
        "upload",
        "Scan a folder, then send what is new",
        "objlib upload docs --store handbook",
    ),
    (
        "upload",
        "What would be sent, how long it takes and what it costs",
        "objlib upload docs --store handbook --dry-run",
    ),
    (
        "upload",
        "Every document with metadata to filter by",
        "objlib upload docs --set dept=law --set year=2026",
    ),
    (
        "upload",
        "Gently: half a megabyte a second, 60 requests a minute",
        "objlib upload docs --bwlimit 500K --rpm 60",
    ),
    (
        "upload",
        "Go on where the last run stopped, and try failed files again",
        "objlib upload --retry-failed",
    ),
    (
        "verify",
        "Does the store hold just what is recorded here?",
        "objlib verify --store handbook",
    ),
    (
        "verify",
        "Make them equal",
        "objlib verify --store handbook --repair",
    ),
    (
        "purge",
        "What would be deleted of files that are gone",
        "objlib purge --store handbook --dry-run",
    ),
    (
        "purge",
        "Delete it, if the files have been gone for a month",
        "objlib purge --store handbook --older-than 30d --yes",
    ),
    (
        "search",
        "Ask a store",
        "objlib search --store handbook 'how long is the notice period?'",
    ),
    (
        "search",
        "Only documents of one department, and the passages themselves",
        "objlib search --filter 'dept = \"law\"' --passages 'notice period'",
    ),
    (
        "status",
        "What is done, what waits, and what to do next",
        "objlib status --store handbook",
    ),
    (
        "status",
        "Which files failed, and why",
        "objlib status --failed",
    ),
    (
        "report",
        "The last run as a page for a browser",
        "objlib report --html run.html",
    ),
    (
        "mcp",
        "An agent may look and search, and start no upload",
        "objlib mcp --store handbook --read-only",
    ),
    (
        "doctor",
        "Would an upload into this store work?",
        "objlib doctor --store handbook",
    ),
    ("doctor", "Without a request", "objlib doctor --offline"),
    (
        "library list",
        "Every folder that is known",
        "objlib library list",
    ),
    (
        "library show",
        "One of them, with what is kept for it",
        "objlib library show docs",
    ),
    (
        "library rename",
        "Another name; the documents are sent again under it",
        "objlib library rename docs papers",
    ),
    (
        "library forget",
        "Forget a folder; its documents stay in their stores",
        "objlib library forget papers",
    ),
    (
        "store list",
        "Every store of the account",
        "objlib store list",
    ),
    (
        "store show",
        "The service's counters beside those of the database",
        "objlib store show handbook",
    ),
    (
        "store create",
        "A store that takes images",
        "objlib store create pictures --embedding-model models/gemini-embedding-2",
    ),
    (
        "store delete",
        "With all its documents",
        "objlib store delete pictures --yes --force",
    ),
    (
        "completions",
        "For bash, from the next shell on",
        "objlib completions bash > ~/.local/share/bash-completion/completions/objlib",
    ),
    ("man", "Read the main page", "objlib man | man -l -"),
    (
        "man",
        "A page of every command, for `man objlib-upload`",
        "objlib man ~/.local/share/man/man1",
    ),
    (
        "emulator",
        "A service that other programs can be tested against",
        "objlib emulator --port 8765 --data service.db",
    ),
    (
        "emulator",
        "One that fails now and then, in a way that can be repeated",
        "objlib emulator --port 0 --seed 7 --error-503 0.1",
    ),
];

/// The examples of a command: comment and line.
pub fn of(path: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = ALL.iter().filter(move |(of, ..)| *of == path);
    all.map(|(_, comment, line)| (*comment, *line))
}

/// The words of an example, up to where its output goes elsewhere.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            '|' | '>' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
