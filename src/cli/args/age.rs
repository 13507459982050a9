//! A length of time as it is typed: `30d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: a whole number and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(pub Duration);

/// As it is typed.
impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(7 * 86_400, "w"), (86_400, "d"), (3600, "h"), (60, "m")];
        let fits = units
            .into_iter()
            .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
        let (unit, name) = fits.unwrap_or((1, "s"));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Age, &'static str> {
        const USAGE: &str = "a number and its unit: s, m, h, d or w, as in 30d";
        let (number, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or(USAGE)?;
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return Err(USAGE),
        };
        let number: u64 = number.parse().map_err(|_| USAGE)?;
        let seconds = number.checked_mul(seconds).ok_or("that is too long")?;
        Ok(Age(Duration::from_secs(seconds)))
    }
}
