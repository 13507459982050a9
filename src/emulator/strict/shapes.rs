//! The messages of the API, as far as they are read here: their fields and what these hold.

#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Text,
    /// float: 32 bits
    Number,
    /// int32
    Integer,
    Int64,
    /// Taken as it is.
    Any,
    List(&'static Shape),
    Object(&'static [(&'static str, Shape)]),
}

const STRING_LIST: Shape = Shape::Object(&[("values", Shape::List(&Shape::Text))]);
const METADATA: Shape = Shape::List(&Shape::Object(&[
    ("key", Shape::Text),
    ("stringValue", Shape::Text),
    ("numericValue", Shape::Number),
    ("stringListValue", STRING_LIST),
]));
const CHUNKING: Shape = Shape::Object(&[(
    "whiteSpaceConfig",
    Shape::Object(&[
        ("maxTokensPerChunk", Shape::Integer),
        ("maxOverlapTokens", Shape::Integer),
    ]),
)]);

pub const STORE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("displayName", Shape::Text),
    ("embeddingModel", Shape::Text),
    // Output only, so ignored.
    ("createTime", Shape::Text),
    ("updateTime", Shape::Text),
    ("activeDocumentsCount", Shape::Int64),
    ("pendingDocumentsCount", Shape::Int64),
    ("failedDocumentsCount", Shape::Int64),
    ("sizeBytes", Shape::Int64),
]);
pub const UPLOAD: Shape = Shape::Object(&[
    ("displayName", Shape::Text),
    ("customMetadata", METADATA),
    ("chunkingConfig", CHUNKING),
    ("mimeType", Shape::Text),
]);
pub const IMPORT: Shape = Shape::Object(&[
    ("fileName", Shape::Text),
    ("customMetadata", METADATA),
    ("chunkingConfig", CHUNKING),
]);
pub const CREATE_FILE: Shape = Shape::Object(&[(
    "file",
    Shape::Object(&[
        ("name", Shape::Text),
        ("displayName", Shape::Text),
        ("mimeType", Shape::Text),
        ("sizeBytes", Shape::Int64),
        // Output only, so ignored.
        ("createTime", Shape::Text),
        ("updateTime", Shape::Text),
        ("expirationTime", Shape::Text),
        ("sha256Hash", Shape::Text),
        ("uri", Shape::Text),
        ("downloadUri", Shape::Text),
        ("state", Shape::Text),
        ("source", Shape::Text),
        ("error", Shape::Any),
        ("videoMetadata", Shape::Any),
    ]),
)]);
const TOOL: Shape = Shape::Object(&[
    (
        "fileSearch",
        Shape::Object(&[
            ("fileSearchStoreNames", Shape::List(&Shape::Text)),
            ("metadataFilter", Shape::Text),
            ("topK", Shape::Integer),
        ]),
    ),
    ("codeExecution", Shape::Any),
    ("computerUse", Shape::Any),
    ("functionDeclarations", Shape::Any),
    ("googleMaps", Shape::Any),
    ("googleSearch", Shape::Any),
    ("googleSearchRetrieval", Shape::Any),
    ("urlContext", Shape::Any),
]);
pub const GENERATE: Shape = Shape::Object(&[
    ("contents", Shape::Any),
    ("tools", Shape::List(&TOOL)),
    ("systemInstruction", Shape::Any),
    ("generationConfig", Shape::Any),
    ("safetySettings", Shape::Any),
    ("toolConfig", Shape::Any),
    ("cachedContent", Shape::Any),
    ("model", Shape::Any),
    ("serviceTier", Shape::Any),
    ("store", Shape::Any),
    ("labels", Shape::Any),
]);
pub const COUNT_TOKENS: Shape = Shape::Object(&[
    ("contents", Shape::Any),
    ("generateContentRequest", GENERATE),
]);
/// One text; `batchEmbedContents` has a list of them.
pub const EMBED: Shape = Shape::Object(&[
    ("content", Shape::Any),
    ("model", Shape::Text),
    ("taskType", Shape::Text),
    ("title", Shape::Text),
    ("outputDimensionality", Shape::Integer),
    ("embedContentConfig", Shape::Any),
]);
pub const EMBED_BATCH: Shape = Shape::Object(&[("requests", Shape::List(&EMBED))]);
pub const REGISTER: Shape = Shape::Object(&[("uris", Shape::List(&Shape::Text))]);
pub const INTERACTION: Shape = Shape::Object(&[
    ("model", Shape::Text),
    ("input", Shape::Any),
    ("tools", Shape::List(&Shape::Any)),
    ("stream", Shape::Any),
    ("systemInstruction", Shape::Any),
    ("generationConfig", Shape::Any),
    ("safetySettings", Shape::Any),
    ("previousInteractionId", Shape::Any),
    ("responseFormat", Shape::Any),
    ("responseMimeType", Shape::Any),
    ("responseModalities", Shape::Any),
    ("cachedContent", Shape::Any),
    ("background", Shape::Any),
    ("environment", Shape::Any),
    ("webhookConfig", Shape::Any),
    ("serviceTier", Shape::Any),
    ("store", Shape::Any),
    ("labels", Shape::Any),
]);
/// The tool as Interactions have it.
pub const INTERACTION_SEARCH: Shape = Shape::Object(&[
    ("type", Shape::Text),
    ("fileSearchStoreNames", Shape::List(&Shape::Text)),
    ("metadataFilter", Shape::Text),
    ("topK", Shape::Integer),
]);
