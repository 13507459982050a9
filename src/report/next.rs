//! What to type next: a whole command line, with all that makes it mean this database and this store.
//!
//! Promises: a line can be pasted into a shell as it is; it never holds a key.

use std::path::Path;

use crate::text::one_line;

/// The options that commands of this session share.
#[derive(Debug, Clone, Default)]
pub struct Next {
    /// Of every command.
    database: String,
    /// Of commands about a store.
    store: String,
    /// Of commands that talk to the service.
    remote: String,
}

impl Next {
    pub fn with_database(mut self, path: &Path) -> Next {
        self.database.push_str(&option("--db", &absolute(path)));
        self
    }

    pub fn with_store(mut self, name: &str) -> Next {
        self.store.push_str(&option("--store", name));
        self
    }

    pub fn with_emulator(mut self) -> Next {
        self.remote.push_str(" --emulator");
        self
    }

    pub fn with_endpoint(mut self, url: &str) -> Next {
        self.remote.push_str(&option("--endpoint", url));
        self
    }

    /// A file that goes along with every request: of the key, or of certificates.
    pub fn with_file(mut self, flag: &str, path: &Path) -> Next {
        self.remote.push_str(&option(flag, &absolute(path)));
        self
    }

    /// A text that names commands, as in "`objlib status` shows it", with the options that they need here.
    pub fn in_text(&self, text: &str) -> String {
        let mut parts = text.split('`');
        let mut whole = parts.next().unwrap_or_default().to_owned();
        // Every second part stands between two signs.
        for (part, is_quoted) in parts.zip([true, false].into_iter().cycle()) {
            let words = part
                .strip_prefix("objlib ")
                .filter(|_| is_quoted && !part.contains("--help"));
            whole = match words {
                Some(words) => whole + "`" + &self.without_twice(words).line(words),
                None => whole + "`" + part,
            };
        }
        whole
    }

    /// The options that these words do not have already.
    fn without_twice(&self, words: &str) -> Next {
        let words = format!("{words} ");
        let missing = |options: &str| {
            let flag = options.split_whitespace().next().unwrap_or_default();
            match words.contains(&format!(" {flag} ")) {
                true => String::new(),
                false => options.to_owned(),
            }
        };
        Next {
            database: missing(&self.database),
            store: missing(&self.store),
            remote: missing(&self.remote),
        }
    }

    /// `words`: the command and its own options.
    pub fn line(&self, words: &str) -> String {
        let Next {
            database,
            store,
            remote,
        } = self;
        match words.split(' ').next() {
            Some("store") => format!("objlib {words}{database}{remote}"),
            Some("scan" | "library") => format!("objlib {words}{database}"),
            Some("status") => format!("objlib {words}{database}{store}"),
            _ => format!("objlib {words}{database}{store}{remote}"),
        }
    }
}

fn option(flag: &str, value: &str) -> String {
    format!(" {flag} {}", quoted(value))
}

fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

/// As a shell reads it back. What would steer the terminal is spelled out, which bash, zsh and the newer
/// POSIX shells understand.
pub fn quoted(value: &str) -> String {
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
    fn a_text_gets_the_options_that_its_commands_lack() {
        let next = Next::default()
            .with_store("a b")
            .with_database(Path::new("/d"));
        for (text, whole) in [
            ("no command", "no command"),
            (
                "`objlib status` shows it",
                "`objlib status --db /d --store 'a b'` shows it",
            ),
            (
                "`objlib upload --store x`, `-`",
                "`objlib upload --store x --db /d`, `-`",
            ),
            ("`objlib library list`", "`objlib library list --db /d`"),
            ("see `objlib scan --help`", "see `objlib scan --help`"),
            (
                "`objlib status --db /e`",
                "`objlib status --db /e --store 'a b'`",
            ),
        ] {
            assert_eq!(next.in_text(text), whole);
            assert_eq!(next.in_text(whole), whole);
            assert_eq!(Next::default().in_text(text), text);
        }
    }

    #[test]
    fn a_value_is_quoted_only_where_a_shell_needs_it() {
        let next = Next::default()
            .with_store("my hand book")
            .with_database(Path::new("/a/b.db"))
            .with_emulator();
        assert_eq!(
            next.line("upload"),
            "objlib upload --db /a/b.db --store 'my hand book' --emulator"
        );
        assert_eq!(
            next.line("status --failed"),
            "objlib status --failed --db /a/b.db --store 'my hand book'"
        );
        assert_eq!(
            next.line("library list"),
            "objlib library list --db /a/b.db"
        );
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\u{202e}'b"), r"$'a\U0000202e\'b'");
    }
}
