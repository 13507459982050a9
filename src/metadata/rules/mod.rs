//! The rules file: which path gives which entries.
//!
//! Each rule has a scope (globs), an expression that the whole path must match, entries that its groups give,
//! and constants. `parse` makes them of the JSON text; here they meet paths.
//! Promises: a match takes time in proportion to the path, whatever the expression.

use std::fmt;

use regex_lite::Regex;

use super::entry;
use crate::globs::Globs;
use crate::identity::{MetadataEntry, Value};

mod parse;
#[cfg(test)]
mod tests;

/// Thousands of rules have less. The database keeps the text, and every scan reads it.
pub const RULES_BYTES_MAX: usize = 1 << 20;
/// An expression that would need more memory is refused, and one with more groups. The time of a match is the
/// product of both and the length of the path: about a second at worst, for a path of 4,000 characters.
const EXPRESSION_BYTES_MAX: usize = 128 << 10;
const GROUPS_MAX: usize = 50;

/// Never none.
#[derive(Debug)]
pub struct Rules(Vec<Rule>);

#[derive(Debug)]
pub struct Rule {
    /// Where it begins in the file, from 1.
    pub line: usize,
    scope: Globs,
    expression: Option<Regex>,
    captured: Vec<Captured>,
    constants: Vec<MetadataEntry>,
}

/// An entry that a group gives.
#[derive(Debug)]
struct Captured {
    key: String,
    group: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Text,
    Number,
    List { separator: String },
}

/// An entry, or why it cannot be one.
pub type Given = (String, Result<Value, String>);

/// Why a text is no rules file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError {
    /// From 1.
    pub line: usize,
    pub reason: String,
    pub remedy: &'static str,
}

impl Rules {
    /// # Errors
    /// The first mistake in it.
    pub fn parse(text: &str) -> Result<Rules, RulesError> {
        parse::rules(text).map(Rules)
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

impl Rule {
    /// `path`: relative, in NFC. `None` if the rule does not meet it.
    pub fn give(&self, path: &str) -> Option<Vec<Given>> {
        if !self.scope.selects(path) {
            return None;
        }
        let captures = match &self.expression {
            Some(expression) => Some(expression.captures(path)?),
            None => None,
        };
        let captured = self.captured.iter().filter_map(|entry| {
            let text = captures.as_ref()?.name(&entry.group)?.as_str();
            let value = entry.form.value(text.trim())?;
            Some((entry.key.clone(), value))
        });
        let constants = self
            .constants
            .iter()
            .map(|entry| (entry.key.clone(), Ok(entry.value.clone())));
        Some(captured.chain(constants).collect())
    }
}

impl Form {
    /// `None` if there is nothing in the text.
    fn value(&self, text: &str) -> Option<Result<Value, String>> {
        let value = match self {
            _ if text.is_empty() => return None,
            Form::Text => Ok(Value::StringValue(text.to_owned())),
            Form::Number => number(text).map(Value::NumericValue),
            Form::List { separator } => {
                let items = text.split(separator.as_str()).map(str::trim);
                let values: Vec<String> = items
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect();
                if values.is_empty() {
                    return None;
                }
                Ok(Value::StringListValue { values })
            }
        };
        Some(value.and_then(entry::fit))
    }
}

/// Digits, with a sign and a fraction if need be; leading zeros say nothing.
fn number(text: &str) -> Result<f64, String> {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    match text.parse() {
        Ok(number) if is_plain => Ok(number),
        _ => Err(format!("{text:?} is not a number")),
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.reason, self.remedy)
    }
}
