//! `metadataFilter`: the part of AIP-160 that is known to work.
//!
//! Comparisons of a bare key with a value, `:` for lists, joined by AND and OR; OR binds tighter.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Vec<Vec<Comparison>>);

#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    key: String,
    operator: String,
    value: String,
}

/// # Errors
/// What is wrong with it, in the service's manner.
pub fn parse(text: &str) -> Result<Filter, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let mut all = Vec::new();
    if tokens.peek().is_none() {
        return Ok(Filter(all));
    }
    loop {
        let mut any = Vec::new();
        loop {
            let mut next = |what: &str| {
                tokens
                    .next()
                    .ok_or_else(|| format!("Invalid filter: {what} expected"))
            };
            let key = next("a key")?;
            let operator = next("an operator")?;
            if !matches!(
                operator.as_str(),
                "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
            ) {
                return Err(format!("Invalid filter: unknown operator {operator}"));
            }
            let value = next("a value")?;
            if tokens.peek().is_some_and(|t| t == "(") {
                return Err("Invalid filter: rhs must be a value or phrase".to_owned());
            }
            any.push(Comparison {
                key,
                operator,
                value,
            });
            match tokens.peek().map(String::as_str) {
                Some("OR") => {
                    tokens.next();
                }
                _ => break,
            }
        }
        all.push(any);
        match tokens.next().as_deref() {
            None => return Ok(Filter(all)),
            Some("AND") => {}
            Some(other) => return Err(format!("Invalid filter: unexpected {other}")),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = String::new();
        match c {
            c if c.is_whitespace() => continue,
            '"' => {
                loop {
                    match chars.next() {
                        Some('\\') => token.extend(chars.next()),
                        Some('"') => break,
                        Some(c) => token.push(c),
                        None => return Err("Invalid filter: unclosed string".to_owned()),
                    }
                }
                tokens.push(token);
                continue;
            }
            '<' | '>' | '!' | '=' => {
                token.push(c);
                if c != '=' {
                    token.extend(chars.next_if_eq(&'='));
                }
            }
            ':' | '(' | ')' | ',' => token.push(c),
            c => {
                token.push(c);
                while let Some(c) = chars.next_if(|c| {
                    !c.is_whitespace()
                        && !matches!(c, '<' | '>' | '!' | '=' | ':' | '(' | ')' | ',')
                }) {
                    token.push(c);
                }
            }
        }
        tokens.push(token);
    }
    Ok(tokens)
}

impl Filter {
    /// `metadata`: the entries of a document. An unknown key matches nothing.
    pub fn matches(&self, metadata: &Value) -> bool {
        self.0
            .iter()
            .all(|any| any.iter().any(|c| c.matches(metadata)))
    }
}

impl Comparison {
    fn matches(&self, metadata: &Value) -> bool {
        let entries = metadata.as_array().into_iter().flatten();
        entries
            .filter(|e| e["key"] == self.key.as_str())
            .any(|e| self.holds(e))
    }

    fn holds(&self, entry: &Value) -> bool {
        if let Some(values) = entry["stringListValue"]["values"].as_array() {
            let has = values.iter().any(|v| v == self.value.as_str());
            return matches!(self.operator.as_str(), ":" | "=") && has;
        }
        let order = match (
            entry["numericValue"].as_f64(),
            entry["stringValue"].as_str(),
        ) {
            (Some(number), _) => match self.value.parse::<f64>() {
                Ok(value) => number.partial_cmp(&value),
                Err(_) => None,
            },
            (None, Some(text)) => Some(text.cmp(self.value.as_str())),
            (None, None) => None,
        };
        let Some(order) = order else { return false };
        match self.operator.as_str() {
            "=" | ":" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            _ => order.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn matches(filter: &str) -> bool {
        let metadata = json!([
            {"key": "dept", "stringValue": "peo\"ple"}, {"key": "year", "numericValue": 2026},
            {"key": "tags", "stringListValue": {"values": ["travel", "policy"]}}]);
        parse(filter).unwrap().matches(&metadata)
    }

    #[test]
    fn the_known_forms_work() {
        assert!(matches(""));
        assert!(matches(r#"dept = "peo\"ple" AND year>=2020"#));
        assert!(matches(r#"tags : "travel""#));
        assert!(!matches(r#"tags : "other""#));
        assert!(!matches("unknown = 1"));
        // OR binds tighter: (year = 1 OR year = 2026) AND dept = x.
        assert!(!matches("year = 1 OR year = 2026 AND dept = x"));
        assert!(
            parse(r#"key: ANY("a","b")"#)
                .unwrap_err()
                .contains("rhs must be")
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_parsed(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
