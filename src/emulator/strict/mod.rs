//! What a request is refused for: the shape of its JSON, limits, and the rules that can be switched off.

pub mod check;
mod relaxed;
pub mod rules;
pub mod shapes;
