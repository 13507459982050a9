//! `metadataFilter`: the part of AIP-160 that is known to work.
//!
//! Comparisons of a bare key with a value, `:` for lists, joined by AND and OR, of which OR binds tighter, with
//! parentheses. Promises: any text can be read; what is wrong is named with its position.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

/// Parentheses within parentheses: as deep as anybody needs, and no deeper than the stack.
const DEPTH_MAX: usize = 32;
const OPERATORS: [&str; 7] = ["=", "!=", "<", "<=", ">", ">=", ":"];

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Is(Comparison),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    key: String,
    operator: String,
    value: String,
}

/// # Errors
/// What is wrong with it, and at which character, counted from 1.
pub fn parse(text: &str) -> Result<Filter, String> {
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        end: text.chars().count() + 1,
        depth: 0,
    };
    if parser.tokens.peek().is_none() {
        return Ok(Filter::All(Vec::new()));
    }
    let filter = parser.all()?;
    match parser.tokens.next() {
        None => Ok(filter),
        Some(token) => Err(token.instead_of("AND, OR or the end")),
    }
}

struct Token {
    text: String,
    /// It stood in quotation marks.
    is_phrase: bool,
    /// Its first character, counted from 1.
    at: usize,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        !self.is_phrase && self.text == text
    }

    /// Neither a sign nor a word of the grammar.
    fn is_word(&self) -> bool {
        let reserved = OPERATORS.contains(&self.text.as_str())
            || ["(", ")", ",", "!", "AND", "OR"].contains(&self.text.as_str());
        !self.is_phrase && !reserved
    }

    fn instead_of(&self, expected: &str) -> String {
        wrong(
            self.at,
            &format!("{expected} expected, found {}", self.text),
        )
    }
}

fn wrong(at: usize, what: &str) -> String {
    format!("Invalid metadata_filter: syntax error at position {at}: {what}")
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    /// The position behind the last character.
    end: usize,
    depth: usize,
}

impl Parser {
    /// any {AND any}
    fn all(&mut self) -> Result<Filter, String> {
        let mut all = vec![self.any()?];
        while self.tokens.next_if(|token| token.is("AND")).is_some() {
            all.push(self.any()?);
        }
        Ok(Filter::All(all))
    }

    /// term {OR term}
    fn any(&mut self) -> Result<Filter, String> {
        let mut any = vec![self.term()?];
        while self.tokens.next_if(|token| token.is("OR")).is_some() {
            any.push(self.term()?);
        }
        Ok(Filter::Any(any))
    }

    /// "(" all ")", or a comparison
    fn term(&mut self) -> Result<Filter, String> {
        let Some(opening) = self.tokens.next_if(|token| token.is("(")) else {
            return self.comparison().map(Filter::Is);
        };
        if self.depth == DEPTH_MAX {
            return Err(wrong(opening.at, "too many parentheses within parentheses"));
        }
        self.depth += 1;
        let inner = self.all()?;
        self.depth -= 1;
        let closing = self.next("AND, OR or a closing parenthesis")?;
        match closing.is(")") {
            true => Ok(inner),
            false => Err(closing.instead_of("AND, OR or a closing parenthesis")),
        }
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let key = self.next("a key")?;
        if !key.is_word() {
            return Err(key.instead_of("a key"));
        }
        let operator = self.next("an operator")?;
        if operator.is_phrase || !OPERATORS.contains(&operator.text.as_str()) {
            return Err(operator.instead_of("an operator"));
        }
        let value = self.next("a value")?;
        if !value.is_phrase && !value.is_word() {
            return Err(value.instead_of("a value"));
        }
        match self.tokens.peek() {
            Some(next) if next.is("(") => Err(wrong(value.at, "rhs must be a value or phrase")),
            _ => Ok(Comparison {
                key: key.text,
                operator: operator.text,
                value: value.text,
            }),
        }
    }

    fn next(&mut self, expected: &str) -> Result<Token, String> {
        let end = self.end;
        self.tokens
            .next()
            .ok_or_else(|| wrong(end, &format!("{expected} expected, found the end")))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().zip(1..).peekable();
    while let Some((c, at)) = chars.next() {
        let mut token = Token {
            text: String::new(),
            is_phrase: c == '"',
            at,
        };
        match c {
            c if c.is_whitespace() => continue,
            '"' => loop {
                match chars.next() {
                    Some(('\\', _)) => token.text.extend(chars.next().map(|(c, _)| c)),
                    Some(('"', _)) => break,
                    Some((c, _)) => token.text.push(c),
                    None => return Err(wrong(at, "a string that does not end")),
                }
            },
            '<' | '>' | '!' => {
                token.text.push(c);
                token
                    .text
                    .extend(chars.next_if(|(c, _)| *c == '=').map(|(c, _)| c));
            }
            c if is_sign(c) => token.text.push(c),
            c => {
                token.text.push(c);
                let more = |(c, _): &(char, usize)| !c.is_whitespace() && !is_sign(*c);
                while let Some((c, _)) = chars.next_if(more) {
                    token.text.push(c);
                }
            }
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn is_sign(c: char) -> bool {
    matches!(c, '<' | '>' | '!' | '=' | ':' | '(' | ')' | ',' | '"')
}

impl Filter {
    /// `metadata`: the entries of a document. An unknown key matches nothing.
    pub fn matches(&self, metadata: &Value) -> bool {
        match self {
            Filter::All(all) => all.iter().all(|filter| filter.matches(metadata)),
            Filter::Any(any) => any.iter().any(|filter| filter.matches(metadata)),
            Filter::Is(comparison) => comparison.matches(metadata),
        }
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
            // Numbers have 32 bits here, so those of the filter must not have more.
            (Some(number), _) => match self.value.parse::<f32>() {
                Ok(value) => (number as f32).partial_cmp(&value),
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
        for met in [
            "",
            r#"dept = "peo\"ple" AND year>=2020"#,
            r#"tags : "travel""#,
            "tags:travel",
            "(year = 2026)",
            r#"year = 2026 AND (dept = "x" OR tags : "policy")"#,
            "(year = 1 AND dept = x) OR year = 2026",
            "year != 2025 AND year < 2027 AND year <= 2026 AND year > 2025",
        ] {
            assert!(matches(met), "{met}");
        }
        for unmet in [
            r#"tags : "other""#,
            "unknown = 1",
            "unknown != 1",
            "year = 1 OR year = 2026 AND dept = x",
            "custom_metadata.year = 2026",
            "Year = 2026",
        ] {
            assert!(!matches(unmet), "{unmet}");
        }
    }

    #[test]
    fn or_binds_tighter_than_and() {
        // As (a OR b) AND c; bound the other way round it would hold.
        assert!(!matches("year = 2026 OR year = 1 AND dept = x"));
        assert!(matches("year = 2026 OR (year = 1 AND dept = x)"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_position() {
        for (filter, at, what) in [
            ("year", 5, "an operator expected, found the end"),
            ("year =", 7, "a value expected, found the end"),
            ("year => 3", 7, "a value expected, found >"),
            (
                "year = 3 dept = x",
                10,
                "AND, OR or the end expected, found dept",
            ),
            ("a = 1 AND", 10, "a key expected, found the end"),
            ("AND a = 1", 1, "a key expected, found AND"),
            ("(a = 1", 7, "a closing parenthesis expected, found the end"),
            ("(a = 1 b", 8, "a closing parenthesis expected, found b"),
            ("a = 1)", 6, "the end expected, found )"),
            ("ä = 1 ö", 7, "found ö"),
            ("a = \"b", 5, "a string that does not end"),
            ("\"a\" = 1", 1, "a key expected"),
            (r#"key: ANY("a","b")"#, 6, "rhs must be a value or phrase"),
        ] {
            let said = parse(filter).unwrap_err();
            let expected = format!("at position {at}: ");
            assert!(
                said.contains(&expected) && said.contains(what),
                "{filter}: {said}"
            );
        }
        let deep = format!("{}a = 1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).unwrap_err().contains("position 33"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_parsed(text in "([a-c\"\\\\()=:<>!, ]|AND|OR|\\PC){0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_quoted_value_is_met_by_itself_alone(value in "\\PC{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = parse(&format!("k = \"{quoted}\"")).unwrap();
            let with = |value: &str| filter.matches(&json!([{"key": "k", "stringValue": value}]));
            prop_assert!(with(&value));
            let longer = value.clone() + "x";
            prop_assert!(!with(&longer));
        }
    }
}
