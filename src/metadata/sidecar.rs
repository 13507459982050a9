//! A sidecar: a flat JSON object of texts, numbers and lists of texts beside the file that it describes.

use super::Problem;
use super::entry::{Flat, Keyed, json_error};
use crate::identity::Value;

/// What is larger was hardly written to describe one file.
pub const SIDECAR_BYTES_MAX: usize = 64 << 10;

/// What it gives. Whether the service takes it is not looked at.
///
/// # Errors
/// It is not one.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, Value)>, Problem> {
    let unusable = |why| Err(Problem::Sidecar { why });
    if bytes.len() > SIDECAR_BYTES_MAX {
        let size = bytes.len();
        return unusable(format!("{size} bytes, {SIDECAR_BYTES_MAX} is the limit"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(e) => {
            let before = &bytes[..e.valid_up_to()];
            let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
            return unusable(format!("line {line}: not UTF-8"));
        }
    };
    match serde_json::from_str::<Keyed<Flat>>(text) {
        Ok(Keyed(members)) => Ok(members.into_iter().map(|(k, Flat(v))| (k, v)).collect()),
        Err(e) => {
            let (line, why) = json_error(&e);
            unusable(format!("line {line}: {why}"))
        }
    }
}
