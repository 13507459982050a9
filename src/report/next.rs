//! What to type next: a whole command line, with all that makes it mean this database and this store.
//!
//! Promises: a line can be pasted into a shell as it is; it never holds a key.

use std::path::Path;

use crate::text::one_line;

/// The options that every command of this session shares.
#[derive(Debug, Clone, Default)]
pub struct Next {
    options: String,
}

impl Next {
    pub fn with(mut self, option: &str, value: &str) -> Next {
        self.options
            .push_str(&format!(" {option} {}", quoted(value)));
        self
    }

    pub fn with_path(self, option: &str, path: &Path) -> Next {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.with(option, &path.to_string_lossy())
    }

    pub fn flag(mut self, flag: &str) -> Next {
        self.options.push_str(&format!(" {flag}"));
        self
    }

    /// `words`: the command and its own options.
    pub fn line(&self, words: &str) -> String {
        format!("objlib {words}{}", self.options)
    }
}

/// As a shell reads it back. What would steer the terminal is spelled out, which bash, zsh and the newer
/// POSIX shells understand.
fn quoted(value: &str) -> String {
    if one_line(value) != value {
        let spelled = value.chars().map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if one_line(c.encode_utf8(&mut [0; 4])) == c.to_string() => c.to_string(),
            c => format!("\\U{:08x}", c as u32),
        });
        return format!("$'{}'", spelled.collect::<String>());
    }
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    match !value.is_empty() && value.chars().all(harmless) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_only_where_a_shell_needs_it() {
        let next = Next::default()
            .with("--store", "my hand book")
            .with("--db", "/a/b.db")
            .flag("--emulator");
        assert_eq!(
            next.line("upload"),
            "objlib upload --store 'my hand book' --db /a/b.db --emulator"
        );
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\u{202e}'b"), r"$'a\U0000202e\'b'");
    }
}
