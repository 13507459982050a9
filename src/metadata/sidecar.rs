//! A sidecar: a flat JSON object of texts, numbers and lists of texts beside the file that it describes.

/// What is larger was hardly written to describe one file.
pub const SIDECAR_BYTES_MAX: usize = 64 << 10;
