//! Rust, as far as it takes to find strings, brackets and the ends of statements.

use super::ANY;

/// Text in code: where strings and brackets are, character by character.
struct Code<'t> {
    chars: std::str::CharIndices<'t>,
    depth: i32,
}

enum Met {
    Char(usize, char),
    /// A whole string literal, as it is said.
    Text(String),
}

impl Iterator for Code<'_> {
    type Item = Met;

    fn next(&mut self) -> Option<Met> {
        let (at, c) = self.chars.next()?;
        match c {
            'r' if self.chars.as_str().starts_with("#\"") => return Some(Met::Text(self.raw())),
            '"' => return Some(Met::Text(self.literal())),
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth -= 1,
            // A character, not a lifetime.
            '\'' => {
                let rest = self.chars.as_str();
                let escaped = rest.starts_with('\\');
                let skip = match escaped {
                    true => rest[2..].find('\'').map(|end| end + 3),
                    false => rest.chars().nth(1).filter(|c| *c == '\'').map(|_| 2),
                };
                for _ in 0..skip.unwrap_or(0) {
                    self.chars.next();
                }
            }
            _ => {}
        }
        Some(Met::Char(at, c))
    }
}

impl<'t> Code<'t> {
    fn of(text: &'t str) -> Code<'t> {
        Code {
            chars: text.char_indices(),
            depth: 0,
        }
    }

    /// `r#"…"#`, where nothing is escaped.
    fn raw(&mut self) -> String {
        let rest = &self.chars.as_str()[2..];
        let text = rest[..rest.find("\"#").unwrap_or(rest.len())].to_owned();
        for _ in 0..text.chars().count() + 4 {
            self.chars.next();
        }
        text
    }

    fn literal(&mut self) -> String {
        let mut text = String::new();
        let mut in_place = false;
        while let Some((_, c)) = self.chars.next() {
            match c {
                '"' => break,
                '\\' => match self.chars.next() {
                    // The line goes on.
                    Some((_, '\n')) => {
                        let rest = self.chars.as_str();
                        let skip = rest.chars().take_while(|c| c.is_whitespace()).count();
                        for _ in 0..skip {
                            self.chars.next();
                        }
                    }
                    Some((_, 'n')) => text.push(' '),
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                '{' if self.chars.as_str().starts_with('{') => {
                    self.chars.next();
                    text.push('{');
                }
                '}' if !in_place && self.chars.as_str().starts_with('}') => {
                    self.chars.next();
                    text.push('}');
                }
                '{' if is_place(self.chars.as_str()) => in_place = true,
                '}' if in_place => {
                    in_place = false;
                    text += ANY;
                }
                c if !in_place => text.push(c),
                _ => {}
            }
        }
        text
    }
}

/// Whether a brace was met that stands for a value, and not for itself: `{name}`, `{:>4}`, `{}`.
fn is_place(rest: &str) -> bool {
    let inner = rest.split('}').next().unwrap_or_default();
    inner
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:.<>^?#+$".contains(c))
}

/// Of a text that begins with a parenthesis: what stands in it, part by part.
pub fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut from) = (Vec::new(), 1);
    let mut code = Code::of(text);
    while let Some(met) = code.next() {
        let Met::Char(at, c) = met else { continue };
        let ends = code.depth == 0;
        if ends || (c == ',' && code.depth == 1) {
            let part = text[from.min(at)..at].trim();
            if !part.is_empty() {
                parts.push(part.to_owned());
            }
            from = at + 1;
        }
        if ends {
            break;
        }
    }
    parts
}

pub fn end_of_statement(text: &str) -> usize {
    let mut code = Code::of(text);
    while let Some(met) = code.next() {
        if let Met::Char(at, c) = met
            && (code.depth < 0 || (c == ';' && code.depth == 0))
        {
            return at;
        }
    }
    text.len()
}

/// All strings in it but those that name a part of something: `value["part"]`.
pub fn literals(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ' ';
    for met in Code::of(expression) {
        match met {
            Met::Text(text) if before != '[' => found.push(text),
            Met::Text(_) => {}
            Met::Char(_, c) => before = c,
        }
    }
    found
}
