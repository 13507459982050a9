//! `embedContent` and `batchEmbedContents`: vectors without a model.
//!
//! Each word adds to one place of the vector, so texts that share words are near each other, and the same text has
//! the same vector always and everywhere. That is enough to try a program, and says nothing of a real model.

use serde_json::{Value, json};

use super::models::{self, text_of};
use crate::emulator::http::answer::{Answer, invalid};
use crate::emulator::service::{Call, Service};
use crate::emulator::strict::{check, shapes};

/// Of a vector, if the request does not say how many; and the most.
const DIMENSIONS: i64 = 3072;
/// Texts of one request.
const TEXTS_MAX: usize = 100;

pub fn embed(service: &Service, call: &Call<'_>) -> rusqlite::Result<Answer> {
    Ok(embedded(service, call).unwrap_or_else(|refused| refused))
}

fn embedded(service: &Service, call: &Call<'_>) -> Result<Answer, Answer> {
    let (model, verb) = models::named(call.path);
    models::check_embeds(service, model)?;
    if verb == "embedContent" {
        let request = check::read(&call.body, shapes::EMBED, service.loose)?;
        return Ok(Answer::json(&json!({"embedding": vector_of(&request)?})));
    }
    let request = check::read(&call.body, shapes::EMBED_BATCH, service.loose)?;
    let requests = request["requests"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if requests.is_empty() || requests.len() > TEXTS_MAX {
        return Err(invalid(&format!(
            "* BatchEmbedContentsRequest.requests: between 1 and {TEXTS_MAX} are required.\n"
        )));
    }
    let vectors: Result<Vec<Value>, Answer> = requests.iter().map(vector_of).collect();
    Ok(Answer::json(&json!({"embeddings": vectors?})))
}

fn vector_of(request: &Value) -> Result<Value, Answer> {
    let refuse = |text: &str| Err(invalid(&format!("* EmbedContentRequest.{text}.\n")));
    let texts = text_of(&request["content"]);
    if texts.is_empty() {
        return refuse("content: contents is not specified");
    }
    // What SDKs for the other platform call the same.
    let given = match &request["outputDimensionality"] {
        Value::Null => &request["embedContentConfig"]["outputDimensionality"],
        given => given,
    };
    let dimensions = match given.as_i64().unwrap_or(0) {
        0 => DIMENSIONS,
        n if (1..=DIMENSIONS).contains(&n) => n,
        _ => return refuse("output_dimensionality: it must be between 1 and 3072"),
    };
    let vector = vector(&texts.join(" "), dimensions as usize);
    let values: Vec<Value> = vector.into_iter().filter_map(check::shortest).collect();
    Ok(json!({ "values": values }))
}

/// Of length 1. A text without words points in a direction of its own.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        vector[hash(word) as usize % dimensions] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.into_iter().map(|x| x / length).collect()
}

/// FNV-1a, which is the same on every machine.
fn hash(word: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    word.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_words_are_near_each_other() {
        let near = |a: &str, b: &str| -> f32 {
            let pairs = vector(a, 768).into_iter().zip(vector(b, 768));
            pairs.map(|(x, y)| x * y).sum()
        };
        let (ferns, walls, ships) = ("Ferns grow in the shade", "shade, ferns!", "A ship sails");
        assert!((near(ferns, ferns) - 1.0).abs() < 1e-5);
        assert!(near(ferns, walls) > near(ferns, ships));
        assert!((near("", "…") - 1.0).abs() < 1e-5);
    }
}
