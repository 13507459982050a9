//! What a colour means, the same on every page: green is done, cyan under way, yellow waits, red has failed,
//! and dim is by the way.

use std::fmt::Display;

use console::Style;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Done,
    UnderWay,
    Waits,
    Failed,
    ByTheWay,
    Heading,
}

impl Tone {
    /// `color`: the text goes to somebody who sees colours.
    pub fn paint(self, text: impl Display, color: bool) -> String {
        if !color {
            return text.to_string();
        }
        let style = Style::new().force_styling(true);
        let style = match self {
            Tone::Done => style.green(),
            Tone::UnderWay => style.cyan(),
            Tone::Waits => style.yellow(),
            Tone::Failed => style.red(),
            Tone::ByTheWay => style.dim(),
            Tone::Heading => style.bold(),
        };
        style.apply_to(text).to_string()
    }
}
